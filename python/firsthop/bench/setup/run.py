"""`firsthop bench setup`: calls servers from a browser, near and far, and makes rows of it.

Why it is measured as it is: ``docs/benchmarks.md``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from firsthop.bench import isolation, machine
from firsthop.bench.benchmark import Progress
from firsthop.bench.errors import BenchError, SkippedError
from firsthop.bench.report import Report
from firsthop.bench.setup import servers, stages
from firsthop.bench.setup.browser import Browser, CallPage, browser
from firsthop.bench.setup.network import browser_address
from firsthop.bench.setup.servers import Server, Way
from firsthop.bench.setup.stages import Reached

#: Calls of a server that may fail: more are no accident.
_MAX_FAILURES: Final = 3
_SEED: Final = 6


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    round_trips_ms: tuple[float, ...]
    """How far away servers are."""
    runs: int
    """Calls of each server at each distance that count, after one to warm up."""


FULL: Final = Scale(round_trips_ms=(0, 50, 100, 200), runs=5)
QUICK: Final = Scale(round_trips_ms=(0, 100), runs=2)


@dataclass
class _Calls:
    """What was seen."""

    reached: dict[float, dict[str, list[Reached]]] = field(default_factory=dict)
    agreed: dict[str, str] = field(default_factory=dict)
    """DTLS of each server."""
    failures: dict[str, list[str]] = field(default_factory=dict)
    browser: str = ""


def steps(scale: Scale) -> int:
    """Return how many times a run reports progress."""
    # One server is called in two ways.
    return (len(servers.MAKERS) + 1) * len(scale.round_trips_ms) * (scale.runs + 1)


def run(scale: Scale, folder: Path, progress: Progress) -> Report:
    """Measure everything. `folder` is for files that nobody needs afterwards.

    Raises:
        BenchError: Something that it needs is missing, or does not come up.
    """
    where = isolation.enter()
    host = browser_address(own_network=not any("loopback" in note for note in where.notes))
    remarks = [note for note in where.notes if "loopback" in note]
    with ExitStack() as running:
        called: list[Server] = []
        for make in servers.MAKERS:
            try:
                called += make(host, folder, running)
            except SkippedError as reason:
                remarks.append(str(reason))
        calls = asyncio.run(_measure(scale, called, host, folder, progress))
    for name, failures in calls.failures.items():
        remarks.append(f"{name}: {len(failures)} calls failed, and do not count: {failures[0]}")
    report = Report("setup", _about(scale, calls), remarks=remarks)
    report.rows = stages.rows(calls.reached)
    return report


def _about(scale: Scale, calls: _Calls) -> dict[str, str]:
    method = (
        f"medians of {scale.runs} calls each, in turns, after one to warm up; the answer counts "
        "from the POST on a warm connection, all else from the answer; round trips are what the "
        "distance adds, in tenths: (ms - ms at 0 ms) / RTT"
    )
    return {
        **machine.about(),
        "browser": f"Chromium {calls.browser}",
        "DTLS": ", ".join(f"{name} {dtls}" for name, dtls in sorted(calls.agreed.items())),
        "method": method,
    }


async def _measure(
    scale: Scale, called: Sequence[Server], host: str, folder: Path, progress: Progress
) -> _Calls:
    calls = _Calls()
    order = random.Random(_SEED)
    async with AsyncExitStack() as open_browsers:
        browsers: dict[tuple[str, ...], Browser] = {}
        for flags in dict.fromkeys(server.flags for server in called):
            profile = folder / f"chromium-{len(browsers)}"
            browsers[flags] = await open_browsers.enter_async_context(browser(profile, flags))
            calls.browser = browsers[flags].version
        for rtt_ms in scale.round_trips_ms:
            async with AsyncExitStack() as distance:
                lines = [
                    await _line(server, browsers[server.flags], host, rtt_ms, distance)
                    for server in called
                ]
                calls.reached[rtt_ms] = {server.name: [] for server in called}
                for number in range(scale.runs + 1):
                    for line in order.sample(lines, len(lines)):
                        progress(f"{stages.case_of(rtt_ms)}: {line.server.name}")
                        await line.call(calls, rtt_ms, counts=number > 0)
    return calls


@dataclass(frozen=True)
class _Line:
    """A server at a distance, and a page that calls it."""

    server: Server
    way: Way
    page: CallPage

    async def call(self, calls: _Calls, rtt_ms: float, *, counts: bool) -> None:
        """Place one call, and note what it reached.

        Raises:
            BenchError: Too many failed.
        """
        name = self.server.name
        try:
            found = await self.page.call(self.server.door, self.way.media)
            reached = Reached.of(found["reached"])
        except BenchError as error:
            failures = calls.failures.setdefault(name, [])
            failures.append(str(error))
            if len(failures) > _MAX_FAILURES:
                raise BenchError(f"{name}: {error}") from None
            return
        calls.agreed[name] = agreed(found["transport"])
        if counts:
            calls.reached[rtt_ms][name].append(reached)


async def _line(
    server: Server, caller: Browser, host: str, rtt_ms: float, distance: AsyncExitStack
) -> _Line:
    way = distance.enter_context(servers.way(server, host, rtt_ms))
    page = await distance.enter_async_context(caller.page(way.origin))
    return _Line(server, way, page)


def agreed(transport: dict[str, Any]) -> str:
    """Say in words what DTLS was agreed on, as the browser's statistics tell it.

    The server's role is told: ``passive`` is a DTLS server.
    """
    version = {"FEFC": "1.3", "FEFD": "1.2"}.get(str(transport.get("tlsVersion")), "unknown")
    role = {"client": "passive", "server": "active"}.get(str(transport.get("dtlsRole")), "unknown")
    return f"{version} {role}"
