"""Measures barge-in where it counts: in the browser, from the caller's first sample to silence.

    PYTHONPATH=tests .venv/bin/python -m e2e.barge_in

An agent sounds a steady tone; the microphone speaks into it again and again. The microphone's track
and the agent's are recorded as two channels of one, so both are on one clock. A figure is the time
from the caller's first loud millisecond to the agent's last: detection of speech, both ways over
the relay, and the browser's jitter buffer are in it.
"""

from __future__ import annotations

import asyncio
import base64
import statistics
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from e2e import network

network.enter()

# After it: their threads would be left outside.
import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
from playwright.async_api import Page  # noqa: E402

from e2e import sound  # noqa: E402
from e2e.chromium import demo_page  # noqa: E402
from e2e.pages import origin  # noqa: E402
from e2e.processes import Edge  # noqa: E402
from e2e.sdk_page import client_secret, sdk_page  # noqa: E402
from e2e.sound import RATE, Samples  # noqa: E402

INTERRUPTIONS = 12
#: From one time that the caller speaks to the next, in seconds: the agent must be at it again.
_PERIOD = 9.0
_HOP = RATE // 1000
#: As root mean square of a millisecond, of 1. The tone is far above; comfort noise is far below.
_LOUD = 0.01
#: What is silent for so long is over.
_OVER_MS = 400

_TAP = """
async () => {
  const pc = CONNECTION;
  const context = new AudioContext({ sampleRate: 48000 });
  const both = new ChannelMergerNode(context, { numberOfInputs: 2 });
  const tracks = [pc.getSenders()[0].track, pc.getReceivers()[0].track];
  for (const [number, track] of tracks.entries()) {
    context.createMediaStreamSource(new MediaStream([track])).connect(both, 0, number);
  }
  const tap = context.createMediaStreamDestination();
  both.connect(tap);
  window.tapped = [[], []];
  record(tap.stream.getAudioTracks()[0]);
  async function record(track) {
    const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
    for (;;) {
      const { value } = await reader.read();
      for (const [planeIndex, planes] of window.tapped.entries()) {
        const plane = new Float32Array(value.numberOfFrames);
        value.copyTo(plane, { planeIndex, format: "f32-planar" });
        planes.push(plane);
      }
      value.close();
    }
  }
}
"""

_TAKE = """
(number) => {
  const planes = window.tapped[number];
  const bytes = new Uint8Array(planes.reduce((sum, plane) => sum + plane.byteLength, 0));
  let offset = 0;
  for (const plane of planes) {
    bytes.set(new Uint8Array(plane.buffer), offset);
    offset += plane.byteLength;
  }
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return btoa(text);
}
"""

Caller = Callable[[Edge, Path, Samples], AbstractAsyncContextManager[Page]]


@asynccontextmanager
async def demo_caller(edge: Edge, folder: Path, microphone: Samples) -> AsyncIterator[Page]:
    """A call of the demo page, tapped."""
    process = await edge.dev("agents:siren")
    async with demo_page(folder, microphone) as page:
        await page.open(process.url)
        await page.start()
        await _tap(page.page, "window.firsthop.call.pc")
        yield page.page


@asynccontextmanager
async def sdk_caller(edge: Edge, folder: Path, microphone: Samples) -> AsyncIterator[Page]:
    """A call of the Agents SDK, tapped."""
    port = network.ports()
    process = await edge.dev("agents:siren", signaling__allowed_origins=[origin(port)])
    secret = await client_secret(process.url)
    async with sdk_page(folder, port, microphone) as page:
        await page.connect(process.url, secret, voice=False)
        await _tap(page.page, "window.app.connection()")
        yield page.page


async def measure(caller: Caller, name: str) -> None:
    """Let one kind of caller interrupt the agent, and print what it took."""
    words = sound.speech(sound.SENTENCE)
    pause = sound.silence(_PERIOD - len(words) / RATE)
    microphone = np.concatenate([sound.silence(3), *[words, pause] * (INTERRUPTIONS + 1)])
    with tempfile.TemporaryDirectory() as folder:
        edge = Edge(Path(folder))
        try:
            async with caller(edge, Path(folder), microphone) as page:
                await asyncio.sleep(len(microphone) / RATE)
                figures = _figures(*[await _loud(page, number) for number in (0, 1)])
        finally:
            await edge.stop()
    print(
        f"{name}: N={len(figures)}, median {statistics.median(figures):.0f} ms, "
        f"max {max(figures)} ms; all: {sorted(figures)}"
    )


async def _tap(page: Page, connection: str) -> None:
    await page.evaluate(_TAP.replace("CONNECTION", connection))


def _figures(caller: npt.NDArray[np.bool_], agent: npt.NDArray[np.bool_]) -> list[int]:
    """What each interruption took, in milliseconds."""
    over = _ends(agent)
    # The caller's first words interrupt nobody.
    starts = [at for at in _starts(caller) if at > 50 and agent[at - 50 : at].all()]
    return [int(over[over >= at][0] - at) for at in starts if (over >= at).any()]


async def _loud(page: Page, number: int) -> npt.NDArray[np.bool_]:
    """Whether each millisecond of a tap is loud."""
    planes = np.frombuffer(base64.b64decode(await page.evaluate(_TAKE, number)), dtype="<f4")
    pieces = planes[: len(planes) // _HOP * _HOP].reshape(-1, _HOP)
    loud: npt.NDArray[np.bool_] = np.sqrt(np.mean(pieces**2, axis=1)) > _LOUD
    return loud


def _starts(loud: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Where sound begins after silence: the first of each utterance."""
    at = np.flatnonzero(loud)
    return at[np.diff(at, prepend=-(10**6)) > _OVER_MS]


def _ends(loud: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Where sound is over."""
    at = np.flatnonzero(loud)
    return at[np.diff(at, append=len(loud)) > _OVER_MS]


async def main() -> None:
    """Measure both kinds of callers."""
    await measure(demo_caller, "demo page")
    await measure(sdk_caller, "Agents SDK")


if __name__ == "__main__":
    asyncio.run(main())
