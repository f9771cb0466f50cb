"""An unmodified Chromium, with a WAV file for a microphone, on the demo page or another one."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import soxr
from playwright.async_api import Page, async_playwright

from e2e.sound import RATE, Samples, write_wav
from e2e.waiting import until
from firsthop.bench import chromium as installed

_FLAGS = (*installed.FLAGS, *installed.MICROPHONE)

#: Keeps what the agent's track brings, from the page's first call on, with the time of each piece.
_RECORDER = """
() => {
  const recording = { pieces: [], rate: 0 };
  window.recording = recording;
  const timer = setInterval(() => {
    const track = TRACK;
    if (!track) return;
    clearInterval(timer);
    record(track).catch((error) => { recording.error = String(error); });
  }, 5);
  async function record(track) {
    const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      recording.rate = value.sampleRate;
      const plane = new Float32Array(value.numberOfFrames);
      value.copyTo(plane, { planeIndex: 0, format: "f32-planar" });
      value.close();
      recording.pieces.push({ atMs: performance.now(), plane });
    }
  }
}
"""

#: Everything recorded between two moments, as base64 of float32, and its rate.
_TAKE = """
([fromMs, toMs]) => {
  if (window.recording.error) throw new Error(window.recording.error);
  const pieces = window.recording.pieces.filter(({ atMs }) => atMs >= fromMs && atMs < toMs);
  const bytes = new Uint8Array(pieces.reduce((sum, { plane }) => sum + plane.byteLength, 0));
  let offset = 0;
  for (const { plane } of pieces) {
    bytes.set(new Uint8Array(plane.buffer), offset);
    offset += plane.byteLength;
  }
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return [btoa(text), window.recording.rate];
}
"""

_STATS = """
async () => [...(await window.firsthop.call.pc.getStats()).values()]
"""

_EVENTS = """
() => window.firsthop.events.map(({ receivedMs, event }) => ({ ...event, receivedMs }))
"""


class TalkingPage:
    """A page in a browser of its own, and what its agent says."""

    #: Name of the object that the page gives to tests, once it is there.
    HANDLE: ClassVar[str]
    #: JavaScript for the agent's track, undefined until there is one.
    TRACK: ClassVar[str]

    def __init__(self, page: Page) -> None:
        self.page = page

    async def open(self, url: str) -> None:
        """Load the page and record from its first call on."""
        await self.page.goto(url)
        await self.page.wait_for_function(f"() => window.{self.HANDLE} !== undefined")
        await self.record()

    async def record(self) -> None:
        """Record from the page's next call on."""
        await self.page.evaluate(_RECORDER.replace("TRACK", self.TRACK))

    async def heard(self, from_ms: float = 0, to_ms: float = 1e12) -> Samples:
        """Return what the agent's track brought between two moments of the page's time."""
        encoded, rate = await self.page.evaluate(_TAKE, [from_ms, to_ms])
        sound = np.frombuffer(base64.b64decode(encoded), dtype="<f4")
        if rate and rate != RATE:
            sound = soxr.resample(sound, rate, RATE)
        samples: Samples = (np.clip(sound, -1, 1) * 32767).astype(np.int16)
        return samples

    async def do(self, name: str, *arguments: object) -> Any:
        """Call a function of the page's object."""
        return await self.page.evaluate(
            f"([name, given]) => window.{self.HANDLE}[name](...given)", [name, arguments]
        )

    async def now_ms(self) -> float:
        """Return the page's time."""
        return float(await self.page.evaluate("() => performance.now()"))


class DemoPage(TalkingPage):
    """The demo page."""

    HANDLE = "firsthop"
    TRACK = "window.firsthop.call?.remoteStream?.getAudioTracks()[0]"

    async def start(self) -> None:
        """Place a call, and wait until its channel is open."""
        await self.page.click("#toggle")
        await self.event("session.created")

    async def state(self) -> str:
        """Return what the page shows the call to be."""
        return str(await self.page.evaluate("() => document.documentElement.dataset.state"))

    async def reaches(self, *states: str) -> str:
        """Wait for one of `states`."""

        async def reached() -> str | None:
            state = await self.state()
            return state if state in states else None

        return await until(reached, f"the page shows {' or '.join(states)}", 60)

    async def events(self) -> list[dict[str, Any]]:
        """Return the server's events so far, each with the page's time as ``receivedMs``."""
        events: list[dict[str, Any]] = await self.page.evaluate(_EVENTS)
        return events

    async def event(self, kind: str, *, number: int = 1) -> dict[str, Any]:
        """Wait for the `number`-th event of a type."""

        async def found() -> dict[str, Any] | None:
            assert await self.state() != "failed", await self.outcome()
            fitting = [event for event in await self.events() if event["type"] == kind]
            return fitting[number - 1] if len(fitting) >= number else None

        return await until(found, f"{kind}, {number} times", 60)

    async def outcome(self) -> object:
        """Return why the call is over."""
        return await self.page.evaluate("() => window.firsthop.call.outcome")

    async def stats(self) -> list[dict[str, Any]]:
        """Return the peer connection's statistics."""
        stats: list[dict[str, Any]] = await self.page.evaluate(_STATS)
        return stats

    async def answer(self) -> str:
        """Return the SDP answer."""
        return str(await self.page.evaluate("() => window.firsthop.call.pc.remoteDescription.sdp"))


@asynccontextmanager
async def demo_page(folder: Path, microphone: Samples) -> AsyncIterator[DemoPage]:
    """Run a browser whose microphone hears `microphone` once, from the call's start on."""
    async with empty_page(folder, microphone) as page:
        yield DemoPage(page)


@asynccontextmanager
async def empty_page(
    folder: Path,
    microphone: Samples,
    *,
    program: str | Path | None = None,
    flags: Sequence[str] = (),
) -> AsyncIterator[Page]:
    """Run such a browser with nothing loaded; in the end no page may have had an error.

    Args:
        folder: For its profile.
        microphone: What its microphone hears.
        program: What is started, if it is not the Chromium of this machine as it is.
        flags: For it, besides our own.
    """
    program = program or installed.program()
    assert program is not None, installed.MISSING
    wav = folder / "microphone.wav"
    write_wav(wav, microphone)
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            folder / "chromium",
            executable_path=program,
            args=[*_FLAGS, f"--use-file-for-fake-audio-capture={wav}%noloop", *flags],
        )
        try:
            problems: list[str] = []
            page = context.pages[0]
            page.on("pageerror", lambda error: problems.append(str(error)))
            yield page
            assert not problems, problems
        finally:
            await context.close()
