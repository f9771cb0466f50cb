"""A page of the tests' own that calls with sound that it makes, and shows what browsers can do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from playwright.async_api import Page

from e2e import sound
from e2e.chromium import TalkingPage, empty_page
from e2e.processes import Process
from e2e.waiting import until

_SCRIPT = """
async () => {
  const context = new AudioContext();
  // A tone of its own for each ear, loud enough for any codec.
  const microphone = (left, right = left) => {
    const out = context.createMediaStreamDestination();
    out.channelCount = 2;
    const merger = context.createChannelMerger(2);
    [left, right].forEach((frequency, ear) => {
      const oscillator = new OscillatorNode(context, { frequency });
      const gain = new GainNode(context, { gain: 0.3 });
      oscillator.connect(gain).connect(merger, 0, ear);
      oscillator.start();
    });
    merger.connect(out);
    return out.stream.getAudioTracks()[0];
  };
  const client = (window.client = { microphone, events: [], statuses: [] });
  const ask = async (url, method, headers, body) => {
    const response = await fetch(url, { method, headers, body });
    client.statuses.push(response.status);
    return response;
  };
  const munged = ({ sdp, type }, lines) => {
    const rtpmap = sdp.match(/a=rtpmap:(\\d+) opus/);
    const fmtp = rtpmap && new RegExp(`(a=fmtp:${rtpmap[1]} .*)`);
    if (lines.fmtp) sdp = sdp.replace(fmtp, `$1;${lines.fmtp}`);
    if (lines.media) sdp = sdp.replace(/(a=rtpmap:)/, `${lines.media}\\r\\n$1`);
    return { sdp, type };
  };
  // The doors by which a page may call, and by which it may offer again.
  const doors = {
    async realtime(offer) {
      const headers = { "Content-Type": "application/sdp" };
      const placed = await ask("/v1/realtime/calls", "POST", headers, offer);
      client.callId = placed.headers.get("Location")?.split("/").pop();
      return await placed.text();
    },
    async pipecat(offer) {
      const body = { sdp: offer, type: "offer", pc_id: client.callId ?? null, restart_pc: false };
      const headers = { "Content-Type": "application/json" };
      const placed = await ask("/api/offer", "POST", headers, JSON.stringify(body));
      const { sdp, pc_id } = await placed.json();
      client.callId = pc_id;
      return sdp;
    },
    async whip(offer) {
      const headers = { "Content-Type": "application/sdp" };
      const placed = await ask("/whip", "POST", headers, offer);
      client.location = placed.headers.get("Location");
      client.callId = client.location.split("/").pop();
      client.tag = placed.headers.get("ETag");
      return await placed.text();
    },
  };
  client.call = async (door, { tones, codecs, fmtp, media, answer }) => {
    client.pc?.close();
    await context.resume();
    Object.assign(client, { door, events: [], answerLines: answer });
    client.callId = client.track = undefined;
    const pc = (client.pc = new RTCPeerConnection());
    // What the agent says comes by the m-line that was there first.
    pc.ontrack = ({ track, streams: [stream] }) => {
      if (client.track) return;
      client.player = Object.assign(new Audio(), { srcObject: stream, autoplay: true });
      client.track = track;
    };
    const channel = (client.channel = pc.createDataChannel("oai-events"));
    channel.onmessage = ({ data }) => client.events.push(JSON.parse(data));
    const stream = new MediaStream([microphone(...tones)]);
    client.transceiver = pc.addTransceiver(stream.getAudioTracks()[0], { streams: [stream] });
    if (codecs) {
      const all = RTCRtpReceiver.getCapabilities("audio").codecs;
      const named = ({ mimeType }) => codecs.includes(mimeType.slice("audio/".length));
      client.transceiver.setCodecPreferences(all.filter(named));
    }
    client.offerLines = { fmtp, media };
    await client.offer();
  };
  client.offer = async (options) => {
    const { pc } = client;
    const offer = munged(await pc.createOffer(options), client.offerLines);
    await pc.setLocalDescription(offer);
    const sdp = await doors[client.door](offer.sdp);
    await pc.setRemoteDescription(munged({ sdp, type: "answer" }, client.answerLines ?? {}));
  };
  client.restartIce = async () => {
    client.pc.restartIce();
    await client.offer();
  };
  // A second offer before the first is answered: its answer is the one that counts.
  client.offerTwice = async () => {
    const { pc } = client;
    const answers = [];
    for (let n = 0; n < 2; n++) {
      await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
      answers.push(doors[client.door](pc.localDescription.sdp));
    }
    const [, sdp] = await Promise.all(answers);
    await pc.setRemoteDescription({ type: "answer", sdp });
  };
  // Another sender with an SSRC of its own, on an m-line of its own: the former one only listens.
  client.changeSender = async (...tones) => {
    client.pc.removeTrack(client.transceiver.sender);
    const sender = client.pc.addTrack(microphone(...tones), new MediaStream());
    client.transceiver = client.pc.getTransceivers().find((one) => one.sender === sender);
    await client.offer();
  };
  // As RFC 9725 tells: what is new of ICE goes there in a fragment, and comes back in one.
  client.restartByWhip = async () => {
    const { pc } = client;
    const answer = pc.currentRemoteDescription.sdp;
    pc.restartIce();
    await pc.setLocalDescription();
    const line = (sdp, start) => sdp.split("\\r\\n").find((line) => line.startsWith(start));
    const fragment = ["a=ice-ufrag:", "a=ice-pwd:", "m=", "a=mid:"]
      .map((start) => line(pc.localDescription.sdp, start)).join("\\r\\n") + "\\r\\n";
    const headers = { "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*" };
    const response = await ask(client.location, "PATCH", headers, fragment);
    const theirs = await response.text();
    client.tag = response.headers.get("ETag");
    let sdp = answer;
    for (const start of ["a=ice-ufrag:", "a=ice-pwd:"]) {
      sdp = sdp.replace(new RegExp(`${start}.*`, "g"), line(theirs, start));
    }
    await pc.setRemoteDescription({ type: "answer", sdp });
  };
  client.replaceMicrophone = (...tones) =>
    client.transceiver.sender.replaceTrack(microphone(...tones));
  client.mute = (muted) => { client.transceiver.sender.track.enabled = !muted; };
  client.stats = async () => [...(await client.pc.getStats()).values()];
}
"""


class CallerPage(TalkingPage):
    """A page that calls."""

    HANDLE = "client"
    TRACK = "window.client?.track"

    async def call(self, door: str, *tones: float, **options: object) -> None:
        """Place a call by a door, in place of the one before, with a tone for each ear.

        Args:
            door: realtime, pipecat or whip.
            tones: In Hz; one is for both.
            options: `codecs` are the only ones that are offered, by name; `fmtp` is added to Opus'
                parameters, and `media` a line to the m-line's; `answer` has the same of the answer.
        """
        await self.do("call", door, {"tones": tones, **options})
        await self.record()
        await self.reaches("connected")

    async def reaches(self, state: str) -> None:
        """Wait for a state of the connection."""

        async def reached() -> bool:
            return bool(await self.get("pc.connectionState") == state)

        await until(reached, f"the page's connection is {state}")

    async def get(self, name: str) -> Any:
        """Return something of the page's client."""
        return await self.page.evaluate(f"() => client.{name}")

    async def event(self, kind: str, number: int = 1) -> dict[str, Any]:
        """Wait for the `number`-th event of a type."""

        async def found() -> dict[str, Any] | None:
            fitting = [event for event in await self.get("events") if event["type"] == kind]
            return fitting[number - 1] if len(fitting) >= number else None

        return await until(found, f"{kind}, {number} times")

    async def ufrag(self) -> str:
        """Return the ufrag that the server has in the ICE session that is in use."""
        sdp: str = await self.get("pc.currentRemoteDescription.sdp")
        return next(
            line.partition(":")[2] for line in sdp.splitlines() if line.startswith("a=ice-ufrag:")
        )

    async def stats(self, kind: str) -> list[dict[str, Any]]:
        """Return the peer connection's statistics of a type."""
        return [entry for entry in await self.do("stats") if entry["type"] == kind]

    async def echoes(self, *tones: float) -> None:
        """Wait until tones, equally loud, are all that has been heard for half a second."""

        async def heard() -> bool:
            latest = await self._latest()
            shares = [share(latest, hertz) for hertz in tones]
            return sound.level(latest) > 500 and min(shares) > 0.8 / len(tones)

        await until(heard, f"its own {tones} Hz come back")

    async def hears_silence(self) -> None:
        """Wait until nothing has been heard for half a second."""

        async def silent() -> bool:
            return sound.level(await self._latest()) < 30

        await until(silent, "nothing comes back")

    async def _latest(self) -> sound.Samples:
        now = await self.now_ms()
        latest = await self.heard(now - 700)
        half = sound.RATE // 2
        return latest[-half:] if len(latest) >= half else sound.silence(0.5)


def share(samples: sound.Samples, hertz: float) -> float:
    """Return how much of the power of `samples` is within 20 Hz of a tone, from 0 to 1."""
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    near = np.abs(np.fft.rfftfreq(len(samples), 1 / sound.RATE) - hertz) < 20
    return float(power[near].sum() / max(power.sum(), 1.0))


@asynccontextmanager
async def caller_page(folder: Path, process: Process) -> AsyncIterator[CallerPage]:
    """Run a browser on the page, which comes from the calls' own origin."""
    async with empty_page(folder, sound.silence(1)) as page:
        yield await opened(page, process.url)


async def opened(page: Page, url: str) -> CallerPage:
    """Make a page that has nothing loaded one that calls `url`, and comes from there."""
    await page.goto(f"{url}/healthz")
    await page.evaluate(_SCRIPT)
    return CallerPage(page)
