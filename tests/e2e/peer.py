"""A second, independent WebRTC client: aiortc, which shares no code with browsers or with us."""

from __future__ import annotations

import asyncio
import contextlib
import fractions
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import av
import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError

from e2e import http
from e2e.sound import RATE, Samples
from e2e.waiting import DEADLINE_S, until

Event = dict[str, Any]

_FRAME = RATE // 50


class Microphone(MediaStreamTrack):
    """Sends what it is given to say, and silence in between, in real time."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._words = np.zeros(0, dtype=np.int16)
        self._sent = 0
        self._started = 0.0

    def say(self, samples: Samples) -> None:
        """Queue `samples`."""
        self._words = np.concatenate((self._words, samples))

    def say_nothing(self) -> None:
        """Forget what was not said yet."""
        self._words = np.zeros(0, dtype=np.int16)

    @property
    def silent(self) -> bool:
        """Whether everything was said."""
        return not len(self._words)

    async def recv(self) -> av.AudioFrame:
        """Give aiortc the next 20 ms when they are due."""
        if self.readyState != "live":
            raise MediaStreamError
        if not self._started:
            self._started = time.monotonic()
        # Pacing, not synchronisation: this clock is what a microphone is.
        await asyncio.sleep(self._started + self._sent / RATE - time.monotonic())
        piece, self._words = self._words[:_FRAME], self._words[_FRAME:]
        piece = np.pad(piece, (0, _FRAME - len(piece)))
        frame = av.AudioFrame.from_ndarray(piece.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = RATE
        frame.pts = self._sent
        frame.time_base = fractions.Fraction(1, RATE)
        self._sent += _FRAME
        return frame


class Peer:
    """One caller. Use it as an asynchronous context manager; leaving hangs up."""

    def __init__(self, channel_id: int | None = None) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.microphone = Microphone()
        self.events: list[Event] = []
        self.location = ""
        self.answer = ""
        self._channel_id = channel_id
        self.channel: RTCDataChannel = self.connection.createDataChannel(
            "oai-events", negotiated=channel_id is not None, id=channel_id
        )
        self._heard: list[Samples] = []
        self._listener: asyncio.Task[None] | None = None
        self.connection.addTrack(self.microphone)
        self.connection.on("track", self._listen)
        self.channel.on("message", self._take)

    async def __aenter__(self) -> Peer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.connection.close()
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener

    async def offer(self) -> str:
        """Return the SDP offer."""
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return str(self.connection.localDescription.sdp)

    async def call(self, url: str, credential: str | None = None) -> None:
        """Place a call, and wait until the session is there."""
        headers = {"Content-Type": "application/sdp"}
        if credential is not None:
            headers["Authorization"] = f"Bearer {credential}"
        query = {} if self._channel_id is None else {"data_channel_id": self._channel_id}
        async with http.client(timeout=DEADLINE_S) as client:
            response = await client.post(
                f"{url}/v1/realtime/calls",
                content=await self.offer(),
                headers=headers,
                params=query,
            )
        assert response.status_code == 201, response.text
        self.location = url + response.headers["Location"]
        self.answer = response.text
        await self.connection.setRemoteDescription(RTCSessionDescription(self.answer, "answer"))
        await self.event("session.created")

    @property
    def state(self) -> str:
        """The connection's state."""
        return str(self.connection.connectionState)

    def send(self, event: Mapping[str, object] | str) -> None:
        """Send an event, or text as it is."""
        self.channel.send(event if isinstance(event, str) else json.dumps(event))

    async def event(
        self, kind: str, matches: Callable[[Event], bool] = lambda event: True
    ) -> Event:
        """Wait for the first event of a type that matches."""

        def found() -> Event | None:
            fitting = (event for event in self.events if event["type"] == kind and matches(event))
            return next(fitting, None)

        return await until(found, f"a fitting {kind}")

    async def round_trip(self, word: str) -> Event:
        """Send an event that a mirror sends back, and wait for it."""
        self.send({"type": "test.word", "word": word})
        return await self.event("mirror.message", lambda event: event["event"]["word"] == word)

    @property
    def heard(self) -> Samples:
        """All sound so far."""
        return np.concatenate(self._heard) if self._heard else np.zeros(0, dtype=np.int16)

    def _take(self, text: object) -> None:
        self.events.append(json.loads(str(text)))

    def _listen(self, track: MediaStreamTrack) -> None:
        self._listener = asyncio.create_task(self._record(track))

    async def _record(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                assert isinstance(frame, av.AudioFrame)
                assert frame.sample_rate == RATE
                channels = len(frame.layout.channels)
                self._heard.append(frame.to_ndarray().reshape(-1)[::channels].astype(np.int16))
