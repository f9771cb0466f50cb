"""A browser far away, and its calls: how they come about, what they hear, and what is heard."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from firsthop.bench.errors import BenchError
from firsthop.bench.global_.speaker import REPORT
from firsthop.bench.global_.ways import DOOR, Way
from firsthop.bench.setup.browser import Browser, CallPage, browser
from firsthop.bench.world.world import World

#: What an answer tells of where the call is.
_CLUSTER: Final = re.compile(r"cluster=(\d+);")
_REPORT_SECONDS: Final = 5.0
_BROKEN_SECONDS: Final = 40.0
_POLL_SECONDS: Final = 0.05


@asynccontextmanager
async def browser_in(
    world: World, place: str, origins: Sequence[str], folder: Path
) -> AsyncIterator[Browser]:
    """Run a browser in a place.

    Args:
        world: Where it is.
        place: As ``sin.user``.
        origins: Whose pages may use the microphone, as if they came by HTTPS.
        folder: For its profile, and for what starts it.
    """
    flags = [f"--unsafely-treat-insecure-origin-as-secure={','.join(dict.fromkeys(origins))}"]
    async with browser(
        folder / f"profile-{place}", flags, lambda program: world.browser(place, program, folder)
    ) as running:
        yield running


@dataclass
class Call:
    """A call that goes on."""

    page: CallPage
    number: int
    cluster: int
    """The id of the cluster that it is in."""
    heard_ms: list[float] = field(default_factory=list)
    """What its agent heard, as far as that was asked for: Unix times of packets."""
    missing: int = 0

    @classmethod
    async def place(cls, page: CallPage, way: Way) -> Call:
        """Place a call.

        Raises:
            BenchError: It was refused.
        """
        found = await page.do("keep", way.how, DOOR)
        steered = _CLUSTER.match(found["steered"] or "")
        return cls(page, found["number"], int(steered[1]) if steered else 0)

    async def arrivals_ms(self) -> list[float]:
        """When packets of the agent came, in Unix ms."""
        found: list[float] = await self.page.do("arrivals", self.number)
        return found

    async def given_up(self) -> None:
        """Wait until the client takes its connection for broken.

        Raises:
            BenchError: It does not.
        """
        deadline = time.monotonic() + _BROKEN_SECONDS
        while (await self.page.do("state", self.number)) not in ("disconnected", "failed"):
            if time.monotonic() > deadline:
                raise BenchError("a client did not notice that its cluster is gone")
            await asyncio.sleep(_POLL_SECONDS)

    async def report(self) -> bool:
        """Ask the agent what it heard; whether it said so."""
        try:
            async with asyncio.timeout(_REPORT_SECONDS):
                told = await self.page.do("ask", self.number, {"type": REPORT})
        except (TimeoutError, BenchError):
            return False
        self.heard_ms += told["times_ms"]
        self.missing += told["missing"]
        return True

    async def stats(self, kind: str) -> list[dict[str, Any]]:
        """Statistics of a kind."""
        found: list[dict[str, Any]] = await self.page.do("stats", self.number)
        return [entry for entry in found if entry["type"] == kind]

    async def ingress(self) -> str:
        """Return where its media goes, as ip:port; empty while it goes nowhere."""
        entries: list[dict[str, Any]] = await self.page.do("stats", self.number)
        stats = {entry["id"]: entry for entry in entries}
        transport = next(entry for entry in entries if entry["type"] == "transport")
        pair = stats.get(transport.get("selectedCandidatePairId", ""))
        remote = stats.get(pair["remoteCandidateId"]) if pair else None
        return f"{remote['address']}:{remote['port']}" if remote else ""
