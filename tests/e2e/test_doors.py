"""Doors besides the Realtime API's: pages and clients that know nothing of firsthop."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import websockets
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import VideoStreamTrack
from websockets.asyncio.client import ClientConnection

from e2e import agents, http, sound
from e2e.chromium import TalkingPage, empty_page
from e2e.peer import Microphone
from e2e.processes import Edge, Process
from e2e.waiting import DEADLINE_S, until

SDP = {"Content-Type": "application/sdp"}

#: Publishes by WHIP as the RFC tells: the offer at once, the candidates after it, in one request.
_WHIP = """
async ({ kinds }) => {
  const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
  const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  const client = (window.client = { pc, statuses: [] });
  pc.ontrack = ({ track, streams: [stream] }) => {
    if (track.kind !== "audio") return;
    client.player = Object.assign(new Audio(), { srcObject: stream, autoplay: true });
    client.track = track;
  };
  for (const kind of kinds) {
    const track = media.getTracks().find((track) => track.kind === kind);
    pc.addTransceiver(track, { direction: "sendrecv", streams: [media] });
  }
  const candidates = [];
  const gathered = new Promise((resolve) => {
    pc.onicecandidate = ({ candidate }) => {
      if (!candidate) resolve();
      else if (candidate.candidate) candidates.push(candidate.candidate);
    };
  });
  await pc.setLocalDescription();
  const offer = pc.localDescription.sdp;
  client.ask = async (url, method, headers, body) => {
    const response = await fetch(url, { method, headers, body });
    client.statuses.push(response.status);
    return response;
  };
  const placed = await client.ask("/whip", "POST", { "Content-Type": "application/sdp" }, offer);
  client.session = new URL(placed.headers.get("Location"), placed.url).href;
  await pc.setRemoteDescription({ type: "answer", sdp: await placed.text() });
  await gathered;
  const line = (start) => offer.split("\\r\\n").find((line) => line.startsWith(start));
  const fragment = [
    ...["a=group:", "a=ice-ufrag:", "a=ice-pwd:", "m=", "a=mid:"].map(line),
    ...candidates.map((candidate) => `a=${candidate}`),
    "a=end-of-candidates", "",
  ].join("\\r\\n");
  const headers = { "Content-Type": "application/trickle-ice-sdpfrag" };
  headers["If-Match"] = placed.headers.get("ETag");
  await client.ask(client.session, "PATCH", headers, fragment);
}
"""

#: Calls as FastRTC's documentation shows it to those who write pages.
_FASTRTC = """
async () => {
  const client = (window.client = { messages: [], candidates: [] });
  const pc = (client.pc = new RTCPeerConnection());
  const media = await navigator.mediaDevices.getUserMedia({ audio: true });
  for (const track of media.getTracks()) pc.addTrack(track, media);
  pc.addEventListener("track", ({ streams: [stream] }) => {
    client.player = Object.assign(new Audio(), { srcObject: stream, autoplay: true });
    client.track = stream.getAudioTracks()[0];
  });
  const channel = pc.createDataChannel("text");
  channel.onopen = () => channel.send("handshake");
  channel.onmessage = ({ data }) => client.messages.push(JSON.parse(data));
  const post = async (body) => {
    const headers = { "Content-Type": "application/json" };
    const response = await fetch("/webrtc/offer", {
      method: "POST", headers, body: JSON.stringify(body),
    });
    return await response.json();
  };
  const webrtc_id = Math.random().toString(36).substring(7);
  let placed;
  const answered = new Promise((resolve) => { placed = resolve; });
  pc.onicecandidate = async ({ candidate }) => {
    if (!candidate) return;
    await answered;
    const body = { candidate: candidate.toJSON(), webrtc_id, type: "ice-candidate" };
    client.candidates.push((await post(body)).status);
  };
  const offer = await pc.createOffer();
  await pc.setLocalDescription(offer);
  const answer = await post({ sdp: offer.sdp, type: offer.type, webrtc_id });
  placed();
  await pc.setRemoteDescription(answer);
}
"""


#: Whether more than a second of sound was heard, and then half a second of nothing.
_SPOKEN = """
() => {
  const { pieces } = window.recording;
  const loud = pieces.filter(({ plane }) => plane.some((sample) => Math.abs(sample) > 0.02));
  const quietMs = loud.length ? performance.now() - loud.at(-1).atMs : 0;
  return loud.length > 100 && quietMs > 500;
}
"""


class Page(TalkingPage):
    """A page without a line of ours, on the edge's own origin."""

    HANDLE = "client"
    TRACK = "window.client?.track"

    async def call(self, process: Process, script: str, given: object = None) -> None:
        """Run a script that places a call, and record what the agent says."""
        await self.page.goto(f"{process.url}/healthz")
        await self.page.evaluate(script, given)
        await self.record()
        await self.reaches("connected")

    async def reaches(self, state: str) -> None:
        """Wait for a state of the connection."""

        async def reached() -> bool:
            return bool(await self.get("pc.connectionState") == state)

        await until(reached, f"the page's connection is {state}")

    async def is_cut_off(self) -> None:
        """Wait until the other side has closed the connection."""

        async def closed() -> bool:
            state = "pc.getSenders().find(({ transport }) => transport).transport.state"
            return bool(await self.get(state) == "closed")

        await until(closed, "the page's connection is closed")

    async def get(self, name: str) -> Any:
        """Return something of the page's client."""
        return await self.page.evaluate(f"() => client.{name}")

    async def hears(self, said: sound.Samples, not_said: sound.Samples) -> None:
        """Wait until something was heard, and check that it is what was said."""
        await self.page.wait_for_function(_SPOKEN, polling=100)
        sound.check_words(await self.heard(), said, not_said)


@asynccontextmanager
async def talking(folder: Path, said: sound.Samples) -> AsyncIterator[Page]:
    """Run a browser that says this soon after the page has asked for the microphone."""
    microphone = np.concatenate((sound.silence(1.5), said, sound.silence(60)))
    async with empty_page(folder, microphone) as page:
        yield Page(page)


@pytest.mark.browser
async def test_a_page_talks_by_whip_and_ends_the_call(edge: Edge, tmp_path: Path) -> None:
    process = await edge.dev("agents:mirror")
    said = sound.speech(sound.SENTENCE)
    async with talking(tmp_path, said) as page:
        # Video first: then the BUNDLE's transport is that of a medium that nobody takes.
        await page.call(process, _WHIP, {"kinds": ["video", "audio"]})
        assert await page.get("statuses") == [201, 204]
        await page.hears(said, sound.speech(sound.OTHER_SENTENCE))

        assert await page.get("ask(client.session, 'DELETE').then(({ status }) => status)") == 200
        await page.is_cut_off()
        await ended(process, "hung_up")


@pytest.mark.browser
async def test_a_page_talks_by_fastrtcs_protocol(edge: Edge, tmp_path: Path) -> None:
    process = await edge.dev("agents:receptionist")
    async with talking(tmp_path, sound.speech("Hello there.")) as page:
        await page.call(process, _FASTRTC)
        await page.hears(sound.speech(agents.GREETING), sound.speech(agents.STORY))
        messages = await page.get("messages")
        assert [message["type"] for message in messages] == ["log"] * 4
        words = [message["data"] for message in messages]
        assert words == ["connected", "started_talking", "pause_detected", "response_starting"]
        statuses = await page.get("candidates")
        assert statuses
        assert set(statuses) == {"success"}

        await page.get("pc.close()")
        await ended(process, "client_closed")


async def test_an_encoder_that_only_sends_is_heard(edge: Edge) -> None:
    process = await edge.dev("agents:silent")
    microphone = Microphone()
    encoder = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        encoder.addTransceiver(microphone, "sendonly")
        encoder.addTransceiver(VideoStreamTrack(), "sendonly")
        await encoder.setLocalDescription(await encoder.createOffer())
        async with http.client(base_url=process.url) as client:
            offer = encoder.localDescription.sdp
            placed = await client.post("/whip", content=offer, headers=SDP)
            assert placed.status_code == 201, placed.text
            assert re.findall("a=(recvonly|inactive|sendrecv)", placed.text) == [
                "recvonly",
                "inactive",
            ]
            session = placed.headers["location"]
            async with sideband(process, session.rpartition("/")[2]) as events:
                answer = RTCSessionDescription(placed.text, "answer")
                await encoder.setRemoteDescription(answer)
                microphone.say(sound.speech("Hello there."))
                await heard(events, "input_audio_buffer.speech_stopped")
            assert (await client.delete(session)).status_code == 200
        await ended(process, "hung_up")
    finally:
        await encoder.close()


async def heard(events: ClientConnection, kind: str) -> None:
    """Wait for an event of this type."""
    async with asyncio.timeout(DEADLINE_S):
        while json.loads(await events.recv())["type"] != kind:
            pass


@asynccontextmanager
async def sideband(process: Process, call_id: str) -> AsyncIterator[ClientConnection]:
    """Join a call."""
    url = f"{process.url.replace('http', 'ws', 1)}/v1/realtime?call_id={call_id}"
    async with websockets.connect(url, proxy=None) as events:
        yield events


async def ended(process: Process, reason: str) -> None:
    """Wait until the only call is over."""

    async def over() -> bool:
        metrics = await process.metrics()
        return metrics.by("reason", "transceiver_calls_ended_total") == {reason: 1}

    await until(over, f"the call has ended: {reason}")
