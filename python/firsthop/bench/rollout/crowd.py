"""Callers of a rehearsal: `firsthop load` again and again, in a process of their own.

The process is started in the clients' namespace, is told a `Plan` by the first line of its standard
input, and begins to end when that is closed. It prints a line of JSON when all calls of a batch are
connected, and one when the batch has ended.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from types import TracebackType
from typing import Any, Final, Self

from firsthop.bench.environment import environment
from firsthop.bench.errors import BenchError
from firsthop.bench.isolation import put_before_neighbours
from firsthop.tasks import cancel

_COMMAND: Final = (sys.executable, "-c", "from firsthop.bench.rollout.crowd import main; main()")
_LONGEST_LINE: Final = 1 << 22
#: How long a batch may take beyond its calls.
_LATE_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Who calls, and for how long."""

    url: str
    key: str
    local: str
    """The address that callers send from."""
    callers: int
    """Of each batch."""
    seconds: float | None
    """How long a batch holds its calls; None: there is one batch, until all is over."""
    every_s: float = 0.0
    """From the beginning of one batch to that of the next."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of the calls of one batch."""

    began: float
    """Of `time.monotonic`, as all moments."""
    ended: float
    report: Mapping[str, Any]
    """As `firsthop load --json` has it."""

    @property
    def course(self) -> Sequence[Mapping[str, Any]]:
        """How it went, by the second; moments are since it began."""
        course: Sequence[Mapping[str, Any]] = self.report["course"]
        return course

    @property
    def calls(self) -> int:
        """Calls that it placed."""
        return int(self.report["calls"]["started"])

    @property
    def dropped(self) -> int:
        """Calls that stood, and ended before their time."""
        return int(self.report["calls"]["dropped"])

    @property
    def refused(self) -> int:
        """Calls that never stood."""
        return int(self.report["calls"]["failed"]) - self.dropped

    @property
    def moved(self) -> int:
        """How often calls went on elsewhere."""
        return int(self.report["handovers"]["moved"])

    @property
    def lost(self) -> int:
        """Packets that did not come, or that were sent and never came back, whichever are more."""
        media = self.report["media"]
        return max(int(media["lost"]), int(media["unreturned"] or 0))

    @property
    def received(self) -> int:
        """Packets that came."""
        return int(self.report["media"]["received"])

    @property
    def gap_ms(self) -> float:
        """The longest time between two packets of a call, moves included."""
        return max((float(second["longest_gap_ms"]) for second in self.course), default=0.0)

    @property
    def heard(self) -> int:
        """Calls of which packets came in its last second, as many as in one before.

        A call whose other end died is there for its client until consent is over, up to 30 s.
        """
        rates = [
            instant["received"] / (instant["at_s"] - before["at_s"])
            for before, instant in pairwise(self.course)
        ]
        # The first and the last second may be parts of one.
        whole = rates[1:-1]
        return round(self.calls * whole[-1] / max(whole)) if whole and max(whole) else 0

    def overlaps(self, began: float, ended: float) -> bool:
        """Whether its calls were there meanwhile."""
        return self.began < ended and self.ended > began


class Crowd:
    """The process, as who started it sees it. An async context manager; leaving ends it at once.

    Args:
        within: What goes before a command that is to run where callers are.
        plan: What they do.
    """

    def __init__(self, within: Sequence[str], plan: Plan) -> None:
        self._within = within
        self._plan = plan
        self.batches: list[Batch] = []
        """Those that have ended."""
        self._connected = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(*self._within, *_COMMAND),
            env=environment({}),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LONGEST_LINE,
            start_new_session=True,
        )
        put_before_neighbours(self._process.pid)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(self._plan)).encode() + b"\n")
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        await cancel(self._reading)
        await self._process.wait()

    async def standing(self) -> None:
        """Wait until all calls of a batch are connected.

        Raises:
            BenchError: They are not, in time.
        """
        try:
            await asyncio.wait_for(self._connected.wait(), _LATE_S)
        except TimeoutError:
            told = [batch.report["failures"] for batch in self.batches]
            raise BenchError(f"no calls stand; those that ended: {told}") from None

    async def finish(self) -> list[Batch]:
        """Begin no more batches, wait for those that go on, and return all.

        Raises:
            BenchError: The process failed, or does not end.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout((self._plan.seconds or 0) + _LATE_S):
                await self._reading
                await self._process.wait()
        except TimeoutError:
            raise BenchError("the callers do not end") from None
        if self._process.returncode != 0:
            raise BenchError(f"the callers ended with status {self._process.returncode}")
        return self.batches

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            if (told := json.loads(line)) is None:
                self._connected.set()
            else:
                self.batches.append(Batch(**told))


async def _call(plan: Plan, over: asyncio.Event) -> None:
    """Place the calls of one batch, and print what became of them."""
    # Who starts this process needs none of it.
    from firsthop.load import Load, Moment, door, report

    began = time.monotonic()
    connected = False

    def watch(moment: Moment) -> None:
        nonlocal connected
        if moment.connected == plan.callers and not connected:
            connected = True
            print("null", flush=True)

    load = Load(
        door(plan.url, "realtime", plan.key),
        callers=plan.callers,
        rate=10.0,
        # Who decodes what it hears takes more time than who does not.
        listeners=0,
        local=plan.local,
        probe=False,
        watch=watch,
    )
    ending = asyncio.create_task(_end_with(over, load)) if plan.seconds is None else None
    try:
        measured = await load.run(plan.seconds or 86_400.0)
    finally:
        if ending is not None:
            ending.cancel()
    found = Batch(began, time.monotonic(), report.as_json(measured))
    print(json.dumps(asdict(found)), flush=True)


async def _end_with(over: asyncio.Event, load: Any) -> None:
    await over.wait()
    load.end_early()


async def _crowd(plan: Plan, over: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as batches:
        batches.create_task(_call(plan, over))
        while plan.seconds is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), plan.every_s)
            if over.is_set():
                return
            batches.create_task(_call(plan, over))


async def _main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    plan = Plan(**json.loads(await reader.readline()))
    over = asyncio.Event()

    async def wait() -> None:
        await reader.read()
        over.set()

    waiting = asyncio.create_task(wait())
    await _crowd(plan, over)
    waiting.cancel()


def main() -> None:
    """Be the callers."""
    asyncio.run(_main())
