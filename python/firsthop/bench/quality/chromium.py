"""Chromium as a listener: what its playout (NetEq) makes of a track, in a page of its own."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from firsthop.bench import chromium as installed
from firsthop.bench.errors import BenchError, SkippedError
from firsthop.bench.isolation import put_before_neighbours
from firsthop.bench.quality.listeners import Listener
from firsthop.bench.quality.recording import Recording, recording

if TYPE_CHECKING:
    from playwright.async_api import Page

CHROMIUM: Final = "Chromium"
_PAGE: Final = Path(__file__).with_name("page.html")
#: Nobody is asked for it: Playwright answers. Pages need a secure origin to read tracks.
_URL: Final = "https://listener.test/"
_FLAGS: Final = (
    *installed.FLAGS,
    "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
)
#: How often the page is asked for its time, to find how its clock and ours differ.
_QUESTIONS: Final = 40


class Playout:
    """A page that takes calls."""

    name = CHROMIUM

    def __init__(self, page: Page) -> None:
        self._page = page

    async def answer(self, offer: str) -> tuple[str, str]:
        """Have the page answer an offer."""
        answer = await self._page.evaluate("(offer) => answer(offer)", offer)
        return answer["sdp"], str(answer["number"])

    async def heard(self, call: str) -> Recording:
        """Fetch what Chromium played in a call, and when it took that from its jitter buffer."""
        ahead_s = await self._ahead_s()
        kept: dict[str, Any] = await self._page.evaluate("(number) => heard(number)", int(call))
        rates = set(kept["rates"])
        if len(rates) != 1:
            raise BenchError(f"Chromium played at these rates in one call: {rates or 'none'}")
        samples = np.frombuffer(base64.b64decode(kept["sound"]), dtype="<i2").astype(np.int16)
        at_s = np.array(kept["us"]) / 1e6 + ahead_s
        played = recording(samples, rates.pop(), np.array(kept["lengths"]), at_s)
        return replace(played, concealed=_concealed(kept["stats"]))

    async def _ahead_s(self) -> float:
        """By how much our clock (`time.monotonic`) is ahead of the page's."""
        found = []
        for _ in range(_QUESTIONS):
            asked_s = time.monotonic()
            page_ms: float = await self._page.evaluate("() => performance.now()")
            took_s = time.monotonic() - asked_s
            found.append((took_s, asked_s + took_s / 2 - page_ms / 1000))
        return min(found)[1]


def _concealed(stats: Mapping[str, float]) -> float | None:
    """Return the part that was made up of what was heard; of pauses of the sender, nothing was."""
    made_up = stats["concealedSamples"] - stats["silentConcealedSamples"]
    whole = stats["totalSamplesReceived"] - stats["silentConcealedSamples"]
    return made_up / whole if whole else None


@asynccontextmanager
async def chromium(host: str, folder: Path) -> AsyncIterator[Listener]:
    """Run Chromium with one page that listens.

    Raises:
        SkippedError: Chromium or Playwright is missing.
    """
    if (program := installed.program()) is None:
        raise SkippedError("left out: Chromium, which is not installed: `apt-get install chromium`")
    try:
        from playwright.async_api import async_playwright
    except ImportError:
        raise SkippedError(
            "left out: Chromium, for want of Playwright: `pip install playwright`, or `make bench`"
        ) from None
    profile = folder / "chromium"
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            profile, executable_path=program, args=list(_FLAGS)
        )
        try:
            _put_before_neighbours(profile)
            page = context.pages[0]
            await page.route(_URL, lambda route: route.fulfill(path=_PAGE))
            await page.goto(_URL)
            yield Playout(page)
        finally:
            await context.close()


def _put_before_neighbours(profile: Path) -> None:
    """Give the browser with this profile the priority that other listeners have."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"--user-data-dir={profile}".encode() in (process / "cmdline").read_bytes():
                put_before_neighbours(int(process.name))
