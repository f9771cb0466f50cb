"""A Realtime server over WebSocket that does what a test tells it to.

It stands in for the models behind firsthop: it speaks tones, calls functions, hears turns by
loudness, honours cancel and truncate, and goes wrong on request. It shares no code with firsthop.

::

    async with RealtimeServer(api_key="sk-test") as server:
        server.replies = [Reply(transcript="One.", pcm=tone(440, 1000)), Reply(call=("now", "{}"))]
        ...                                     # FIRSTHOP_REALTIME__URL = server.url
        await server.event("response.create")   # the first such event that came in
        server.connections[0].heard             # PCM16LE, mono, 24 kHz

What it does by itself:

- each `response.create`, and each turn that it hears while its session's turn detection says so,
  gets the next of `replies`; the last one again and again;
- `dialect`: ``openai`` (GA), ``beta`` (flat sessions, ``response.audio.delta``), ``basic`` (GA
  without ``session.updated``, commit, clear, truncate and retrieve);
- `vad=False`: never hears a turn by itself, whatever the session says.

What it does when told to:

- ``Reply(hold_ms=200)`` stops after so much of the sound until `release` is called; ``speed=1.0``
  sends in real time instead of at once; ``piece_ms``, ``odd`` choose how the sound is cut;
- ``Reply(fate="close" | "abort" | "stall" | "garbage" | "no_done")`` goes wrong in the middle;
- `refuse = 401` (or any status) answers handshakes with it; `hang = True` never answers them;
- `await server.send({...})` or a text sends just that to the newest connection;
- `await server.drop()` breaks all connections off; `await server.stop()` also stops listening,
  and `await server.start()` listens again at the same port.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http
import json
import math
import socket
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

RATE = 24_000
#: Samples above this are speech; tests speak loudly.
_LOUD = 1_000
#: As much quiet ends a turn, in milliseconds of sound.
_QUIET_MS = 300

Event = dict[str, Any]
Dialect = Literal["openai", "beta", "basic"]
Fate = Literal["fine", "close", "abort", "stall", "garbage", "no_done"]

_BETA_NAMES = {
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "conversation.item.added": "conversation.item.created",
}
_BETA_CONTENT = {"output_audio": "audio", "output_text": "text"}
_BASIC_KNOWS = {
    "session.update",
    "input_audio_buffer.append",
    "conversation.item.create",
    "response.create",
    "response.cancel",
}


def tone(hertz: float, ms: int, *, rate: int = RATE) -> bytes:
    """Return a sine, PCM16LE, mono."""
    count = rate * ms // 1000
    return array(
        "h", (int(12_000 * math.sin(2 * math.pi * hertz * n / rate)) for n in range(count))
    ).tobytes()


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a response says or calls, and what goes wrong with it."""

    transcript: str = "This is a tone."
    pcm: bytes = field(default=b"", repr=False)
    """PCM16LE, mono, 24 kHz; empty: a second of 440 Hz."""
    text: str | None = None
    """Instead of sound: text."""
    call: tuple[str, str] | None = None
    """Instead of sound: the name of a function and its arguments as JSON."""
    piece_ms: int = 100
    """How much sound one delta has."""
    odd: bool = False
    """Whether deltas end within a sample."""
    hold_ms: int | None = None
    """After how much sound to wait for `RealtimeServer.release`."""
    speed: float | None = None
    """How many times as fast as real time; None: at once."""
    fate: Fate = "fine"
    """What happens after the first piece of sound."""


class Connection:
    """One connection: what came in on it, and the conversation on it."""

    def __init__(self, server: RealtimeServer, socket: ServerConnection) -> None:
        self._server = server
        self._socket = socket
        assert socket.request is not None
        self.path = socket.request.path
        """With the query."""
        self.headers = {name.lower(): value for name, value in socket.request.headers.raw_items()}
        self.received: list[Event] = []
        """All events but appended audio."""
        self.heard = b""
        """All audio appended, PCM16LE, mono."""
        self.session: Event = {}
        """What the client's session updates came to, in the dialect's own form."""
        self.items: list[Event] = []
        """The conversation."""
        self._buffer = b""
        self._speech_item: str | None = None
        self._quiet_ms = 0
        self._buffer_ms = 0
        self._response: asyncio.Task[None] | None = None
        self._sent_ms: dict[str, int] = {}

    @property
    def query(self) -> dict[str, str]:
        """The query of the URL."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}

    async def run(self) -> None:
        """Converse until the connection ends."""
        with contextlib.suppress(ConnectionClosed):
            await self.emit("session.created", session={"id": "sess_1", "object": "x"})
            async for text in self._socket:
                event = json.loads(text)
                await self._take(event)
        if self._response is not None:
            self._response.cancel()

    async def emit(self, kind: str, **fields: Any) -> None:
        """Send an event of the GA protocol in this server's dialect."""
        event: Event = {"type": kind, "event_id": self._server.new_id("event"), **fields}
        if self._server.dialect != "openai" and kind == "conversation.item.done":
            return
        if self._server.dialect == "basic" and kind == "conversation.item.added":
            event["type"] = "conversation.item.created"
        if self._server.dialect == "beta":
            event = _in_beta(event)
        await self._socket.send(json.dumps(event))

    async def send(self, data: Mapping[str, Any] | str | bytes) -> None:
        """Send this and nothing else."""
        await self._socket.send(data if isinstance(data, str | bytes) else json.dumps(data))

    def abort(self) -> None:
        """Break the connection off without a word."""
        self._socket.transport.abort()

    # What comes in.

    async def _take(self, event: Event) -> None:
        kind = event["type"]
        if kind == "input_audio_buffer.append":
            await self._hear(base64.b64decode(event["audio"]))
            self._server.note(None)
            return
        self.received.append(event)
        self._server.note(event)
        if self._server.dialect == "basic" and kind not in _BASIC_KNOWS:
            await self._refuse(event, "unknown_event", f"no such event: {kind}")
            return
        match kind:
            case "session.update":
                self.session = _merged(self.session, event["session"])
                if self._server.dialect != "basic":
                    await self.emit("session.updated", session=self.session)
            case "input_audio_buffer.commit":
                await self._commit(event)
            case "input_audio_buffer.clear":
                self._buffer, self._speech_item = b"", None
                await self.emit("input_audio_buffer.cleared")
            case "conversation.item.create":
                await self._add({"id": self._server.new_id("item"), **event["item"]})
            case "conversation.item.truncate":
                await self._truncate(event)
            case "conversation.item.delete":
                self.items = [item for item in self.items if item["id"] != event["item_id"]]
                await self.emit("conversation.item.deleted", item_id=event["item_id"])
            case "response.create":
                if self._responding:
                    code = "conversation_already_has_active_response"
                    await self._refuse(event, code, "a response is under way")
                else:
                    self._respond()
            case "response.cancel":
                if self._responding:
                    await self._cancel()
                else:
                    await self._refuse(event, "response_cancel_not_active", "nothing to cancel")
            case _:
                await self._refuse(event, "unknown_event", f"no such event: {kind}")

    async def _refuse(self, event: Event, code: str, message: str) -> None:
        error = {
            "type": "invalid_request_error",
            "code": code,
            "message": message,
            "param": None,
            "event_id": event.get("event_id"),
        }
        await self.emit("error", error=error)

    @property
    def _turn_detection(self) -> Event | None:
        """As the session has it; None: the client says when its turn ends."""
        if not self._server.vad:
            return None
        if self._server.dialect == "beta":
            found = self.session.get("turn_detection", {})
        else:
            found = self.session.get("audio", {}).get("input", {}).get("turn_detection", {})
        return found if found is None else dict(found)

    async def _hear(self, pcm: bytes) -> None:
        self.heard += pcm
        self._buffer += pcm
        samples = array("h", pcm)
        ms = len(samples) * 1000 // RATE
        self._buffer_ms += ms
        turns = self._turn_detection
        if turns is None:
            return
        if max(map(abs, samples), default=0) > _LOUD:
            self._quiet_ms = 0
            if self._speech_item is None:
                self._speech_item = self._server.new_id("item")
                at_ms = self._buffer_ms - ms
                await self.emit(
                    "input_audio_buffer.speech_started",
                    audio_start_ms=at_ms,
                    item_id=self._speech_item,
                )
                if turns.get("interrupt_response", True) and self._responding:
                    await self._cancel("turn_detected")
        elif self._speech_item is not None:
            self._quiet_ms += ms
            if self._quiet_ms >= _QUIET_MS:
                item_id = self._speech_item
                await self.emit(
                    "input_audio_buffer.speech_stopped",
                    audio_end_ms=self._buffer_ms,
                    item_id=item_id,
                )
                await self._commit({}, item_id)
                if turns.get("create_response", True) and not self._responding:
                    self._respond()

    async def _commit(self, event: Event, item_id: str | None = None) -> None:
        if not self._buffer:
            await self._refuse(event, "input_audio_buffer_commit_empty", "the buffer is empty")
            return
        self._buffer, self._speech_item = b"", None
        item_id = item_id or self._server.new_id("item")
        previous = self.items[-1]["id"] if self.items else None
        await self.emit("input_audio_buffer.committed", item_id=item_id, previous_item_id=previous)
        content = [{"type": "input_audio", "transcript": None}]
        await self._add({"id": item_id, "type": "message", "role": "user", "content": content})
        await self.emit(
            "conversation.item.input_audio_transcription.completed",
            item_id=item_id,
            content_index=0,
            transcript=self._server.transcript,
            usage={"type": "duration", "seconds": 1},
        )

    async def _add(self, item: Event) -> None:
        previous = self.items[-1]["id"] if self.items else None
        self.items.append(item)
        item = {"object": "realtime.item", "status": "completed", **item}
        await self.emit("conversation.item.added", item=item, previous_item_id=previous)
        await self.emit("conversation.item.done", item=item, previous_item_id=previous)

    async def _truncate(self, event: Event) -> None:
        sent = self._sent_ms.get(event["item_id"])
        if sent is None or event["audio_end_ms"] > sent:
            await self._refuse(event, "invalid_value", f"the audio is {sent} ms long")
            return
        await self.emit(
            "conversation.item.truncated",
            item_id=event["item_id"],
            content_index=event["content_index"],
            audio_end_ms=event["audio_end_ms"],
        )

    # What it says.

    @property
    def _responding(self) -> bool:
        return self._response is not None and not self._response.done()

    def _respond(self) -> None:
        self._response = asyncio.create_task(self._speak(self._server.next_reply()))

    async def _cancel(self, reason: str = "client_cancelled") -> None:
        assert self._response is not None
        self._response.cancel(reason)
        await asyncio.gather(self._response, return_exceptions=True)

    async def _speak(self, reply: Reply) -> None:
        call_id = self._server.new_call_id() if reply.call is not None else ""
        new_id = self._server.new_id
        response = _Response(new_id("resp"), new_id("item"), call_id, reply)
        status, reason = "completed", None
        try:
            await self.emit("response.created", response=response.object("in_progress"))
            await self.emit(
                "response.output_item.added",
                response_id=response.id,
                output_index=0,
                item=response.item("in_progress"),
            )
            await self.emit(
                "conversation.item.added", item=response.item("in_progress"), previous_item_id=None
            )
            await self._say(response)
            if reply.fate == "no_done":
                return
        except asyncio.CancelledError as error:
            status, reason = "cancelled", str(error)
            if reply.fate == "no_done":
                return
        except ConnectionClosed:
            return
        with contextlib.suppress(ConnectionClosed):
            await self._finish(response, status, reason)

    async def _say(self, response: _Response) -> None:
        reply = response.reply
        if reply.call is not None:
            name, arguments = reply.call
            place = {
                "response_id": response.id,
                "item_id": response.item_id,
                "output_index": 0,
                "call_id": response.call_id,
            }
            kind = "response.function_call_arguments"
            await self.emit(f"{kind}.delta", **place, delta=arguments)
            await self.emit(f"{kind}.done", **place, name=name, arguments=arguments)
            return
        spoken = reply.text is None
        part = {"type": "audio", "transcript": ""} if spoken else {"type": "text", "text": ""}
        await self.emit("response.content_part.added", **response.place, part=part)
        if reply.text is not None:
            await self.emit("response.output_text.delta", **response.place, delta=reply.text)
            return
        await self.emit(
            "response.output_audio_transcript.delta", **response.place, delta=reply.transcript
        )
        await self._send_sound(response)

    async def _send_sound(self, response: _Response) -> None:
        reply = response.reply
        pcm = reply.pcm or tone(440, 1000)
        size = RATE * reply.piece_ms // 1000 * 2 + (1 if reply.odd else 0)
        for at in range(0, len(pcm), size):
            ms = at * 1000 // (2 * RATE)
            if reply.hold_ms is not None and ms >= reply.hold_ms:
                await self._server.released.wait()
            delta = base64.b64encode(pcm[at : at + size]).decode()
            end_ms = min(at + size, len(pcm)) * 1000 // (2 * RATE)
            self._sent_ms[response.item_id] = end_ms
            await self.emit("response.output_audio.delta", **response.place, delta=delta)
            if reply.speed is not None:
                # Pacing, not synchronisation: a model that speaks as fast as this.
                await asyncio.sleep(reply.piece_ms / 1000 / reply.speed)
            if reply.fate != "fine" and at == 0:
                await self._go_wrong(reply.fate, response)

    async def _go_wrong(self, fate: Fate, response: _Response) -> None:
        match fate:
            case "close":
                await self._socket.close(1011, "secret detail at 10.1.2.3")
            case "abort":
                self.abort()
            case "stall":
                # Neither reads nor answers pings, as a machine that is gone.
                self._socket.transport.pause_reading()
                await asyncio.Event().wait()
            case "garbage":
                for data in (
                    "no JSON",
                    "[1, 2]",
                    "7",
                    b"\x00\xff",
                    '{"type": 7}',
                    '{"type": "response.output_audio.delta"}',
                    '{"type": "response.output_audio.delta", "response_id": [], "delta": {}}',
                    json.dumps(
                        {
                            "type": _BETA_NAMES["response.output_audio.delta"]
                            if self._server.dialect == "beta"
                            else "response.output_audio.delta",
                            **response.place,
                            "delta": "!!! no base64 !!!",
                        }
                    ),
                    '{"type": "response.done", "response": "none"}',
                    '{"type": "conversation.item.added", "item": [7]}',
                ):
                    await self.send(data)
            case _:
                pass

    async def _finish(self, response: _Response, status: str, reason: str | None) -> None:
        reply, place = response.reply, response.place
        done = "completed" if status == "completed" else "incomplete"
        if reply.text is not None:
            await self.emit("response.output_text.done", **place, text=reply.text)
        elif reply.call is None:
            await self.emit("response.output_audio.done", **place)
            await self.emit(
                "response.output_audio_transcript.done", **place, transcript=reply.transcript
            )
        if reply.call is None:
            # Parts are named otherwise than the content of items.
            kind = "audio" if reply.text is None else "text"
            part = {**response.item(done)["content"][0], "type": kind}
            await self.emit("response.content_part.done", **place, part=part)
        item = response.item(done)
        self.items.append(item)
        await self.emit(
            "response.output_item.done", response_id=response.id, output_index=0, item=item
        )
        await self.emit("conversation.item.done", item=item, previous_item_id=None)
        details = {"type": status, "reason": reason} if reason else None
        await self.emit("response.done", response=response.object(status, details))
        if self._server.dialect == "openai":
            await self.emit("rate_limits.updated", rate_limits=[])


@dataclass
class _Response:
    id: str
    item_id: str
    call_id: str
    reply: Reply

    @property
    def place(self) -> Event:
        return {
            "response_id": self.id,
            "item_id": self.item_id,
            "output_index": 0,
            "content_index": 0,
        }

    def object(self, status: str, details: Event | None = None) -> Event:
        done = "completed" if status == "completed" else "incomplete"
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": [] if status == "in_progress" else [self.item(done)],
            "output_modalities": ["audio"],
            "usage": None,
        }

    def item(self, status: str) -> Event:
        item: Event = {"object": "realtime.item", "id": self.item_id, "status": status}
        if self.reply.call is not None:
            name, arguments = self.reply.call
            arguments = "" if status == "in_progress" else arguments
            call = {"call_id": self.call_id, "name": name, "arguments": arguments}
            return item | {"type": "function_call"} | call
        if self.reply.text is not None:
            part: Event = {"type": "output_text", "text": self.reply.text}
        else:
            part = {"type": "output_audio", "transcript": self.reply.transcript}
        content = [] if status == "in_progress" else [part]
        return item | {"type": "message", "role": "assistant", "content": content}


class RealtimeServer:
    """The server. Use it as an asynchronous context manager, or `start` and `stop` it.

    Args:
        dialect: What it speaks.
        api_key: What clients must show, as ``Authorization: Bearer`` or ``api-key``; None: nothing.
        replies: What it says; the last one again and again.
        vad: Whether it hears turns by itself.
        host: Where it listens.
        port: Where it listens; 0: at a port that is free.
    """

    def __init__(
        self,
        *,
        dialect: Dialect = "openai",
        api_key: str | None = None,
        replies: Sequence[Reply] = (),
        vad: bool = True,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.dialect = dialect
        self.api_key = api_key
        self.replies = list(replies)
        self.vad = vad
        self.transcript = "What you said."
        """What each turn of the caller is transcribed to."""
        self.refuse: int | None = None
        """The HTTP status with which the next handshakes are refused."""
        self.hang = False
        """Whether the next handshakes are never answered."""
        self.handshakes = 0
        """How many there were, refused ones included."""
        self.connections: list[Connection] = []
        """All that were accepted, the newest last."""
        self.released = asyncio.Event()
        self._ending = asyncio.Event()
        self._host, self._port = host, port
        self._server: Server | None = None
        self._news = asyncio.Event()
        self._last_id = 0
        self._said = 0
        self._calls = 0

    async def __aenter__(self) -> RealtimeServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """Where it is, for settings."""
        assert self._port, "not started"
        return f"ws://{self._host}:{self._port}/v1/realtime"

    async def start(self) -> None:
        """Listen; at the same port as before, if it did before."""
        self._ending.clear()
        self._server = await serve(
            self._converse,
            self._host,
            self._port,
            process_request=self._check,
            # Reads no more than a test appends.
            max_size=2**22,
            ping_interval=None,
            close_timeout=0.2,
        )
        listening: socket.socket = next(iter(self._server.sockets))
        self._port = int(listening.getsockname()[1])

    async def stop(self) -> None:
        """Break off all connections, and stop listening."""
        if self._server is None:
            return
        self._ending.set()
        await self.drop()
        self._server.close(close_connections=True)
        await self._server.wait_closed()
        self._server = None

    async def drop(self) -> None:
        """Break off all connections without a word."""
        for connection in self.connections:
            connection.abort()
        await asyncio.gather(*(c._socket.wait_closed() for c in self.connections))

    def release(self) -> None:
        """Let replies that are held go on."""
        self.released.set()

    async def send(self, data: Mapping[str, Any] | str | bytes) -> None:
        """Send just this on the newest connection, in no dialect but its own."""
        await self.connections[-1].send(data)

    @property
    def received(self) -> list[Event]:
        """All events but appended audio, of all connections."""
        return [event for connection in self.connections for event in connection.received]

    def events(self, kind: str) -> list[Event]:
        """Return the events of a type that came in."""
        return [event for event in self.received if event["type"] == kind]

    async def event(
        self,
        kind: str,
        matches: Callable[[Event], bool] = lambda event: True,
        *,
        seconds: float = 20,
    ) -> Event:
        """Wait for the first event of a type that matches."""
        await self.until(lambda: any(map(matches, self.events(kind))), f"a fitting {kind}", seconds)
        return next(filter(matches, self.events(kind)))

    async def until(self, condition: Callable[[], object], what: str, seconds: float = 20) -> None:
        """Wait until something that came in, sound included, made `condition` true."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"not within {seconds:g} s: {what}") from None

    # What connections use.

    def new_id(self, prefix: str) -> str:
        """Return an id that no one else has, as ``item_b7``."""
        self._last_id += 1
        return f"{prefix}_b{self._last_id}"

    def new_call_id(self) -> str:
        """Return the next of call_1, call_2, ..."""
        self._calls += 1
        return f"call_{self._calls}"

    def next_reply(self) -> Reply:
        """Return what the next response says."""
        if not self.replies:
            return Reply()
        reply = self.replies[min(self._said, len(self.replies) - 1)]
        self._said += 1
        return reply

    def note(self, event: Event | None) -> None:
        """Wake whoever waits for what comes in."""
        self._news.set()

    async def _check(self, socket: ServerConnection, request: Request) -> Response | None:
        self.handshakes += 1
        self._news.set()
        if self.hang:
            # The library waits for handshakes when it closes.
            await self._ending.wait()
        shown = {request.headers.get("Authorization"), request.headers.get("api-key")}
        wanted = {f"Bearer {self.api_key}", self.api_key}
        if self.refuse is None and self.api_key is not None and not shown & wanted:
            return socket.respond(http.HTTPStatus.UNAUTHORIZED, f"wrong key: {shown}\n")
        if self.refuse is not None:
            return socket.respond(http.HTTPStatus(self.refuse), "secret detail at 10.1.2.3\n")
        return None

    async def _converse(self, socket: ServerConnection) -> None:
        connection = Connection(self, socket)
        self.connections.append(connection)
        self._news.set()
        await connection.run()


def _merged(low: Event, high: Event) -> Event:
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = _merged(below or {}, value) if both else value
    return merged


def _in_beta(event: Event) -> Event:
    """Rename what was named differently before GA."""
    event = {**event, "type": _BETA_NAMES.get(event["type"], event["type"])}
    if "item" in event:
        event["item"] = _item_in_beta(event["item"])
    if "response" in event:
        response = dict(event["response"])
        response["modalities"] = ["audio", "text"]
        del response["output_modalities"]
        response["output"] = [_item_in_beta(item) for item in response["output"]]
        event["response"] = response
    return event


def _item_in_beta(item: Event) -> Event:
    if "content" not in item:
        return item
    content = [
        {**part, "type": _BETA_CONTENT.get(part["type"], part["type"])} for part in item["content"]
    ]
    return {**item, "content": content}
