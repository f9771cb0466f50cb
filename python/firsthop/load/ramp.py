"""Callers of one endpoint, from the first offer to the last hang-up."""

from __future__ import annotations

import asyncio
import ipaddress
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

import httpx

from firsthop._native import CallerReport, Callers
from firsthop.addresses import own_address
from firsthop.errors import OfferError
from firsthop.load import sound as sounds
from firsthop.load.doors import Door, Placed, Refused
from firsthop.load.errors import LoadError, UsageError
from firsthop.load.measured import Instant, Measured, Moment
from firsthop.load.own import OwnWatch
from firsthop.load.sound import Sound

MAX_CALLERS: Final = 20_000
#: Requests under way at once.
_REQUESTS: Final = 64
#: Files and sockets that are no callers'.
_OTHER_FILES: Final = _REQUESTS + 192
_TICK_S: Final = 0.25
_INSTANT_S: Final = 1.0
#: How long a call may take from its answer to being connected.
_CONNECT_S: Final = 15.0
#: Set-ups that are shown while it goes on.
_LATELY: Final = 1_000

#: What a caller's own failure is called where it was never told.
_NOT_CONNECTED: Final = "dtls"
_NOT_REACHED: Final = "ice"


@dataclass(slots=True)
class _Call:
    """One call, from its offer on."""

    caller: int | None = None
    """Its client; None before it is made, and once it is forgotten."""
    placed: Placed | None = None
    answer_ms: float = 0.0
    cause: str | None = None
    """Why it failed."""
    settled: bool = False
    """Whether it has been connected, or failed."""
    since_s: float = field(default_factory=time.monotonic)
    """When it was answered."""


class Load:
    """N calls to one endpoint: ramped up, held, measured, hung up.

    All in one::

        measured = await Load(door("http://localhost:8080/whip"), callers=100).run(seconds=30)

    or step by step, to look at the server meanwhile::

        async with Load(door(url), callers=100) as load:
            await load.ramp_up()
            load.measure()
            await load.hold(30)
            measured = load.measured()

    Leaving hangs up all calls. One object is good for one load.

    Args:
        door: Where calls are placed, and how.
        callers: How many, up to `MAX_CALLERS`.
        rate: How many are begun per second.
        sound: What they say in a loop; None: syllables that are made here.
        talks: Whether they say it; otherwise they send no audio.
        listeners: How many of them decode what they hear, to time the marks' echoes.
        threads: Of the clients, for media.
        local: The IP address that they send from; None: the one from which the endpoint's host is
            reached.
        channel: Label of the data channel; None: there is none.
        insecure: Whether any TLS certificate is taken.
        probe: Whether the first call goes ahead alone, and its final refusal ends the load at once.
        watch: Told how things stand, four times a second.

    Raises:
        UsageError: An argument is out of range, or `local` is no address of this machine.
        LoadError: There is no way to the endpoint.
    """

    def __init__(
        self,
        door: Door,
        *,
        callers: int = 100,
        rate: float = 20.0,
        sound: Sound | None = None,
        talks: bool = True,
        listeners: int = 20,
        threads: int = 1,
        local: str | None = None,
        channel: str | None = "oai-events",
        insecure: bool = False,
        probe: bool = True,
        watch: Callable[[Moment], None] | None = None,
    ) -> None:
        _check(callers, rate, threads)
        self._door = door
        self._asked = callers
        self._rate = rate
        self._sound = sound or sounds.built_in()
        self._talks = talks
        #: Evenly spread over all calls.
        self._listeners = min(listeners, callers) if talks and self._sound.marks else 0
        self._probe = probe
        self._watch = watch
        self._insecure = insecure
        local = local or _local_address(door.url)
        _check_local(local)
        _make_room(callers)
        self._callers = Callers(
            local=local,
            threads=threads,
            sound=self._sound.packets,
            marks=self._sound.marks,
            channel=channel,
        )
        self._calls: list[_Call] = []
        self._failures: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        #: Calls that were connected, and what became of the set-up of others: as it goes on.
        self._connected = 0
        self._setup_ms: list[float] = []
        self._instants: list[Instant] = []
        self._began = time.monotonic()
        self._measuring_since: float | None = None
        self._ramp_s = 0.0
        self._stop = asyncio.Event()
        self._slots = asyncio.Semaphore(_REQUESTS)
        self._own = OwnWatch()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def callers(self) -> Callers:
        """The clients themselves."""
        return self._callers

    async def run(self, seconds: float) -> Measured:
        """Ramp up, hold the calls for `seconds`, hang up, and return what was found.

        Raises:
            LoadError: The first call was refused for good.
        """
        async with self:
            await self.ramp_up()
            self.measure()
            await self.hold(seconds)
            return self.measured()

    def end_early(self) -> None:
        """Begin no more calls, and hold those that are there no longer."""
        self._stop.set()

    async def __aenter__(self) -> Load:
        limits = httpx.Limits(max_connections=_REQUESTS, max_keepalive_connections=_REQUESTS)
        # A proxy would be measured too, and takes no UDP.
        self._http = httpx.AsyncClient(
            verify=not self._insecure, limits=limits, trust_env=False, follow_redirects=False
        )
        self._began = time.monotonic()
        self._tasks = [asyncio.create_task(self._observe()), asyncio.create_task(self._own.run())]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self._hang_up()
        finally:
            await self._http.aclose()
            self._callers.stop()

    async def ramp_up(self) -> None:
        """Begin all calls at the rate, and wait until each is connected or has failed.

        Raises:
            LoadError: The first call was refused for good.
        """
        began = time.monotonic()
        first = 0
        if self._probe:
            refused = await self._place(0)
            if refused is not None and refused.final:
                raise LoadError(refused.message)
            first = 1
        ramp = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(first, self._asked):
                await self._until(ramp + (number - first) / self._rate)
                await self._slots.acquire()
                if self._stop.is_set():
                    self._slots.release()
                    break
                group.create_task(self._place_in_slot(number))
        self._ramp_s = time.monotonic() - began
        while not self._stop.is_set() and not all(call.settled for call in self._calls):
            self._settle()
            await self._until(time.monotonic() + _TICK_S / 5)

    def measure(self) -> None:
        """Begin to measure media: all counts start anew."""
        self._callers.measure()
        self._own.restart()
        self._measuring_since = time.monotonic()

    async def hold(self, seconds: float) -> None:
        """Let the calls go on, until the end, `end_early`, or none is left."""
        end = time.monotonic() + seconds
        while not self._stop.is_set() and (now := time.monotonic()) < end:
            await self._until(min(now + _TICK_S, end))
            totals = self._callers.totals()
            if totals["connected"] + totals["connecting"] == 0:
                break

    def measured(self) -> Measured:
        """Return what was found until now. Calls are still there."""
        now = time.monotonic()
        since = self._measuring_since or now
        totals, gaps = self._callers.totals(), self._callers.gaps()
        stages: dict[str, list[float]] = {}
        failures, examples = Counter[str](), dict(self._examples)
        reports: list[CallerReport] = []
        stood = unfinished = 0
        for call in self._calls:
            if call.placed is None or call.caller is None:
                unfinished += call.cause is None
                failures.update([call.cause] if call.cause else [])
                continue
            report = self._callers.call(call.caller)
            reports.append(report)
            for stage, took_ms in _stages(call, report).items():
                stages.setdefault(stage, []).append(took_ms)
            cause = call.cause or _cause(report)
            if cause is not None:
                failures[cause] += 1
            elif report.state == "connected":
                stood += 1
            else:
                unfinished += 1
        lively = [report for report in reports if report.received]
        trips = [report.round_trip_ms for report in reports if report.round_trip_ms is not None]
        return Measured(
            url=str(self._door.url),
            door=self._door.name,
            asked=self._asked,
            rate=self._rate,
            talks=self._talks,
            started=len(self._calls),
            stood=stood,
            unfinished=unfinished,
            failures=dict(failures.most_common()),
            examples=examples,
            ramp_s=self._ramp_s,
            seconds=now - since,
            ended_early=self._stop.is_set(),
            stages_ms=stages,
            totals=totals,
            gaps=gaps,
            jitter_ms=[report.jitter_ms for report in lively],
            round_trip_ms=trips,
            delays_ms=[delay for report in reports for delay in report.delays_ms],
            marks_missed=sum(report.marks_missed for report in reports),
            listeners=self._listeners,
            instants=tuple(self._instants),
            own=self._own.seen(totals),
        )

    async def _place_in_slot(self, number: int) -> None:
        try:
            await self._place(number)
        finally:
            self._slots.release()

    async def _place(self, number: int) -> Refused | None:
        """Place a call; the refusal, if it is one."""
        call = _Call()
        self._calls.append(call)
        try:
            caller, offer = self._callers.offer(
                talks=self._talks, listens=self._is_listener(number)
            )
        except OSError as error:
            return self._refused(call, Refused("no socket", f"no socket for it: {error}"))
        call.caller = caller
        asked = time.monotonic()
        try:
            call.placed = await self._door.place(self._http, offer)
            call.since_s = time.monotonic()
            call.answer_ms = (call.since_s - asked) * 1000
            self._callers.answer(caller, call.placed.answer)
        except Refused as refused:
            self._callers.refuse(caller)
            return self._refused(call, refused)
        except OfferError as error:
            problem = str(error).removeprefix("SDP offer: ")
            message = f"{self._door.url} answered with SDP, and {problem}"
            return self._refused(call, Refused("answer", message, final=True))
        return None

    def _refused(self, call: _Call, refused: Refused) -> Refused:
        call.caller = None
        call.cause = refused.cause
        call.settled = True
        self._failures[refused.cause] += 1
        self._examples.setdefault(refused.cause, refused.message)
        return refused

    def _is_listener(self, number: int) -> bool:
        return (number + 1) * self._listeners // self._asked > (
            number * self._listeners // self._asked
        )

    def _settle(self) -> None:
        """Notice which calls are connected, or will not be."""
        for call in self._calls:
            if call.settled or call.placed is None or call.caller is None:
                continue
            report = self._callers.call(call.caller)
            cause = _cause(report)
            if cause is None and report.state != "connected":
                if time.monotonic() - call.since_s < _CONNECT_S:
                    continue
                cause = _NOT_CONNECTED if "ice" in report.stages_ms else _NOT_REACHED
                call.cause = cause
            call.settled = True
            if cause is not None:
                self._failures[cause] += 1
            else:
                self._connected += 1
                self._setup_ms.append(call.answer_ms + report.stages_ms.get("connected", 0.0))
                del self._setup_ms[:-_LATELY]

    async def _observe(self) -> None:
        """Tell how things stand, and keep an instant of it every second."""
        before, next_instant = self._moment(), 0.0
        while True:
            await asyncio.sleep(_TICK_S)
            self._settle()
            moment = self._moment()
            if self._watch is not None:
                self._watch(moment)
            if moment.at_s >= next_instant:
                self._instants.append(_instant(before, moment))
                before, next_instant = moment, moment.at_s + _INSTANT_S - _TICK_S / 2

    def _moment(self) -> Moment:
        totals = self._callers.totals()
        asking = sum(call.placed is None and call.cause is None for call in self._calls)
        failures = Counter(self._failures)
        failures["lost"] += max(self._connected - totals["connected"], 0)
        return Moment(
            at_s=time.monotonic() - self._began,
            started=len(self._calls),
            asking=asking,
            connecting=totals["connecting"],
            connected=totals["connected"],
            failures=+failures,
            sent=totals["sent"],
            received=totals["received"],
            lost=totals["lost"],
            measuring=self._measuring_since is not None,
            setup_ms=tuple(self._setup_ms),
            gaps=self._callers.gaps(),
        )

    async def _until(self, moment: float) -> None:
        """Wait for a moment of `time.monotonic`, or `end_early`."""
        wait = moment - time.monotonic()
        if wait > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), wait)

    async def _hang_up(self) -> None:
        """End all calls: the server is told by HTTP where it can be, then each says goodbye."""
        slots = asyncio.Semaphore(_REQUESTS)

        async def end(call: _Call) -> None:
            if call.placed is None:
                return
            try:
                async with slots:
                    await self._door.hang_up(self._http, call.placed)
            finally:
                if call.caller is not None:
                    self._callers.hang_up(call.caller)

        await asyncio.gather(*(end(call) for call in self._calls))


def _check(callers: int, rate: float, threads: int) -> None:
    if not 1 <= callers <= MAX_CALLERS:
        raise UsageError("--callers", f"expected 1 to {MAX_CALLERS:,}")
    if not 0 < rate <= 10_000:
        raise UsageError("--rate", "expected calls per second, more than 0, up to 10,000")
    if not 1 <= threads <= 256:
        raise UsageError("--threads", "expected 1 to 256")


def _local_address(url: httpx.URL) -> str:
    """Return the address from which a host is reached, IPv4 if it has one."""
    towards = _address_towards(url)
    # A server on this machine mostly names the address that others reach it by, and nothing goes
    # there from loopback; from that address both can be reached.
    own = own_address()
    return own if _is_loopback(towards) and not _is_loopback(own) else towards


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def _address_towards(url: httpx.URL) -> str:
    try:
        found = socket.getaddrinfo(url.host, 9, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        raise LoadError(f"there is no host {url.host}: check the name in the URL") from None
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            # Nothing is sent: the kernel only chooses a route.
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise LoadError(f"no route to {url.host}: {error.strerror}") from None


def _check_local(local: str) -> None:
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(local).version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((local, 0))
    except ValueError:
        raise UsageError("--local", f"expected an IP address; got {local}") from None
    except OSError as error:
        raise UsageError("--local", f"cannot send from {local}: {error.strerror}") from None


def _make_room(callers: int) -> None:
    """Let this process have a socket for each caller."""
    needed = callers + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        most = max(hard - _OTHER_FILES, 0)
        raise UsageError(
            "--callers", f"each takes a socket, and there are {most:,} (`ulimit -Hn` is {hard:,})"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _stages(call: _Call, report: CallerReport) -> dict[str, float]:
    stages = {"answer": call.answer_ms, **report.stages_ms}
    if "connected" in stages:
        stages["in all"] = call.answer_ms + stages["connected"]
    return stages


def _cause(report: CallerReport) -> str | None:
    """Why a call is not there; None if it is, or may be yet."""
    if report.failure is not None:
        return report.failure
    state: str = report.state
    return state if state in {"failed", "closed"} else None


def _instant(before: Moment, now: Moment) -> Instant:
    # Counts began anew in between.
    anew = before.measuring != now.measuring
    return Instant(
        at_s=now.at_s,
        connecting=now.asking + now.connecting,
        connected=now.connected,
        failed=sum(now.failures.values()),
        received=max(now.received - (0 if anew else before.received), 0),
        lost=max(now.lost - (0 if anew else before.lost), 0),
    )
