"""One call between an engine without sockets and an agent; every event is held to the contract."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from openai.types.realtime import RealtimeServerEvent
from prometheus_client.parser import text_string_to_metric_families
from pydantic import TypeAdapter

from calls.fake_engine import FakeEngine, no_offers
from firsthop._native import Event
from firsthop.backends.base import Backend, Traits
from firsthop.backends.function import FunctionBackend
from firsthop.call import Call, CallEvent
from firsthop.calls.line import SocketLine
from firsthop.calls.session import LiveCall
from firsthop.calls.terms import Terms
from firsthop.config import Settings
from firsthop.telemetry.metrics import Metrics
from firsthop.transceiver.line import EngineLine, OpusLine

RATE = 16_000
FRAME = bytes(2 * RATE // 50)
SECOND = bytes(2 * RATE)

PLACE = {"response_id", "item_id", "output_index", "content_index"}
#: What the Realtime API requires of the events that we send, besides `type` and `event_id`.
REQUIRED = {
    "session.created": {"session"},
    "session.updated": {"session"},
    "error": {"error"},
    "input_audio_buffer.speech_started": {"audio_start_ms", "item_id"},
    "input_audio_buffer.speech_stopped": {"audio_end_ms", "item_id"},
    "input_audio_buffer.committed": {"item_id", "previous_item_id"},
    "input_audio_buffer.cleared": set(),
    "input_audio_buffer.timeout_triggered": {"audio_start_ms", "audio_end_ms", "item_id"},
    "conversation.item.added": {"item", "previous_item_id"},
    "conversation.item.done": {"item", "previous_item_id"},
    "conversation.item.deleted": {"item_id"},
    "conversation.item.retrieved": {"item"},
    "conversation.item.truncated": {"item_id", "content_index", "audio_end_ms"},
    "response.created": {"response"},
    "response.output_item.added": {"response_id", "output_index", "item"},
    "response.output_item.done": {"response_id", "output_index", "item"},
    "response.content_part.added": {*PLACE, "part"},
    "response.content_part.done": {*PLACE, "part"},
    "response.output_audio.delta": {*PLACE, "delta"},
    "response.output_audio.done": PLACE,
    "response.output_text.delta": {*PLACE, "delta"},
    "response.output_text.done": {*PLACE, "text"},
    "response.output_audio_transcript.delta": {*PLACE, "delta"},
    "response.output_audio_transcript.done": {*PLACE, "transcript"},
    "response.function_call_arguments.delta": {
        *PLACE - {"content_index"},
        "call_id",
        "delta",
    },
    "response.function_call_arguments.done": {
        *PLACE - {"content_index"},
        "call_id",
        "name",
        "arguments",
    },
    "response.done": {"response"},
    "output_audio_buffer.started": {"response_id"},
    "output_audio_buffer.stopped": {"response_id"},
    "output_audio_buffer.cleared": {"response_id"},
}
#: What has to be absent from an item rather than null.
_NEVER_NULL = ("id", "type", "role", "status", "name", "call_id", "arguments", "content")

_ADAPTER: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)

Told = dict[str, Any]
Agent = Callable[[Call], Awaitable[None]]


def check(event: Told) -> None:
    """Fail unless an event has the shape that the clients' own schemas want."""
    missing = {"event_id", *REQUIRED[event["type"]]} - event.keys()
    assert not missing, f"{event['type']} lacks {missing}"
    assert isinstance(event["event_id"], str)
    _ADAPTER.validate_json(json.dumps(event), strict=True)
    item = event.get("item")
    if item is not None:
        nulls = [name for name in _NEVER_NULL if name in item and item[name] is None]
        assert not nulls, f"{event['type']}: {nulls} are null"
        assert item["type"] != "message" or isinstance(item["content"], list)
    if event["type"].startswith("response.content_part."):
        assert event["part"]["type"] in ("text", "audio"), "as the schemas of both SDKs have it"


def parsed(text: str) -> Told:
    """Return an event that was sent, once it was checked."""

    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    event: Told = json.loads(text, parse_constant=no_constant)
    if event["type"] in REQUIRED:
        check(event)
    return event


class EventEnd:
    """An end that keeps what it is told."""

    def __init__(self, *, wants_audio: bool = False) -> None:
        self.wants_audio = wants_audio
        self.events: list[Told] = []
        self.closed = False

    @property
    def types(self) -> list[str]:
        """The types of all that it was told."""
        return [event["type"] for event in self.events]

    def all(self, kind: str) -> list[Told]:
        """All events of a type."""
        return [event for event in self.events if event["type"] == kind]

    def deliver(self, text: str) -> None:
        """Keep it."""
        assert not self.closed, "told after it was closed"
        self.events.append(parsed(text))

    def close(self) -> None:
        """Learn that the call is over."""
        assert not self.closed, "closed twice"
        self.closed = True


class OwnBackend(Backend):
    """A backend with traits of its own."""

    def __init__(self, agent: Agent, **traits: Any) -> None:
        self.traits = Traits(**traits)
        self._agent = agent

    async def serve(self, call: Call) -> None:
        """Let the function serve the call."""
        await self._agent(call)


class Conversation:
    """One call, from both sides.

    Args:
        agent: Who answers.
        settings: Other than the defaults.
        terms: What it is placed with.
        socket: The caller's end, if his sound travels in events; else he has a WebRTC session.
        traits: Of the backend.
    """

    def __init__(
        self,
        agent: Agent,
        settings: Settings | None = None,
        terms: Terms | None = None,
        socket: EventEnd | None = None,
        **traits: Any,
    ) -> None:
        self.engine = FakeEngine()
        self.metrics = Metrics()
        self.ended: list[LiveCall] = []
        self.over = asyncio.Event()
        self.socket = socket
        self.call = LiveCall(
            "rtc_test",
            settings or Settings(),
            OwnBackend(agent, **traits) if traits else FunctionBackend(agent),
            self.metrics,
            self._forget,
            terms,
        )
        self.terms = terms or Terms()
        self._position = 0
        self._checked = 0
        if socket is None:
            kind = OpusLine if traits.get("opus") else EngineLine
            self.call.connect(kind(self.engine.native, 1, no_offers))
        else:
            self.call.connect(SocketLine(self.call.sample_rate, self.call.handle))

    def _forget(self, call: LiveCall) -> None:
        self.ended.append(call)
        self.over.set()

    @property
    def events(self) -> list[Told]:
        """Everything that the caller was told."""
        if self.socket is not None:
            return self.socket.events
        for event in self.engine.texts[self._checked :]:
            if event["type"] in REQUIRED:
                check(event)
        self._checked = len(self.engine.texts)
        return self.engine.texts

    def report(self, *events: Event) -> None:
        """Have the line report something."""
        for event in events:
            self.call.handle(event)

    def connect(self) -> None:
        """Have the client connect and open its channel."""
        if self.socket is None:
            self.report(Event.Connected(1), Event.ChannelOpen(1, "oai-events"))
        else:
            self.call.join(self.socket, self.terms.client_events, caller=True)
            self.report(Event.Connected(1))

    def close(self, reason: str = "client_closed") -> None:
        """Have the client hang up."""
        self.report(Event.Closed(1, reason))

    async def end(self) -> None:
        """Have the client hang up, and wait until everything is over."""
        if self.call.ended is None:
            self.close()
        await self.over.wait()

    def hear(self, pcm: bytes) -> None:
        """Have the client say something."""
        for begin in range(0, len(pcm) - len(FRAME) + 1, len(FRAME)):
            frame = pcm[begin : begin + len(FRAME)]
            self.report(Event.Audio(1, self._position, frame))
            self._position += len(frame) // 2

    def ask(self, kind: str, **fields: object) -> list[Told]:
        """Send an event of the client; return what comes back at once."""
        before = len(self.events)
        text = json.dumps({"type": kind, **fields})
        if self.socket is None:
            self.report(Event.Message(1, text))
        else:
            self.call.receive(self.socket, text)
        return self.events[before:]

    def told(self) -> list[str]:
        """Return the types of all events sent to the client."""
        return [event["type"] for event in self.events]

    def all(self, kind: str) -> list[Told]:
        """Return all events of a type."""
        return [event for event in self.events if event["type"] == kind]

    def count(self, name: str, **labels: str) -> float:
        """Return a metric."""
        text = self.metrics.render().decode()
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
        return next(s.value for s in samples if (s.name, s.labels) == (name, labels))


async def idle(call: Call) -> None:
    """Listen until the call ends."""
    async for _ in call:
        pass


class Listener:
    """An agent that notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[CallEvent] = []

    async def __call__(self, call: Call) -> None:
        async for event in call:
            self.heard.append(event)

    def all(self, kind: type) -> list[Any]:
        """Everything of one kind."""
        return [event for event in self.heard if isinstance(event, kind)]


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until something is true that needs nothing from outside."""
    for _ in range(1_000_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it does not come true")


async def settled() -> None:
    """Let everything run that can run without the outside."""
    for _ in range(20):
        await asyncio.sleep(0)
