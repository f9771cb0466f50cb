"""One call from answer to end: its line, its backend, and the ends of its event channel.

`LiveCall` is the `Call` that the backend sees. It listens for turns, interrupts, answers what
clients may ask of any Realtime server, and passes on the rest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Final

import structlog

from firsthop._native import Event
from firsthop.backends.base import Backend
from firsthop.call import (
    AudioFrame,
    Call,
    CallerIdle,
    CallEvent,
    DigitPressed,
    Message,
    OpusPackets,
    Playback,
    Played,
    Reply,
    Sound,
    SpeechEnded,
    SpeechStarted,
)
from firsthop.calls.ends import End, Seat
from firsthop.calls.intake import Intake
from firsthop.calls.line import Line
from firsthop.calls.listening import Listening
from firsthop.calls.reply import LiveReply, PartOfReply
from firsthop.calls.terms import Terms
from firsthop.config import Settings
from firsthop.errors import BackendError, EventError, OverloadedError, SessionClosed
from firsthop.realtime.agent import AgentConversation, unknown_item
from firsthop.realtime.conversation import Conversation
from firsthop.realtime.events import as_json, error_event, id_of, new_id, parse
from firsthop.realtime.output import OutputAudioBuffer
from firsthop.realtime.session import ServerVad, Session, TurnDetection
from firsthop.realtime.sound import Decoder, Encoder
from firsthop.telemetry.metrics import Metrics

log = structlog.get_logger()

#: So long may an agent take to return once its call is over; then it is cancelled.
_FAREWELL_SECONDS: Final = 5.0
#: After how long a line that does not keep up is told again.
_RETRY_SECONDS: Final = 0.02
#: The shortest turn that a client may commit, as the contract has it.
_SHORTEST_COMMIT_MS: Final = 100
#: Ends of one call: the caller's, and sidebands.
_MAX_ENDS: Final = 17


class LiveCall(Call):
    """A call with a caller at the other end.

    Args:
        call_id: As the client knows it, ``rtc_...``.
        settings: Audio and turns are taken from it.
        backend: Who answers.
        metrics: What the call counts into.
        ended: Called once, when the call is over and its agent has returned.
        terms: What it was placed with.

    Raises:
        EventError: The session in `terms` makes no sense.
    """

    def __init__(
        self,
        call_id: str,
        settings: Settings,
        backend: Backend,
        metrics: Metrics,
        ended: Callable[[LiveCall], None],
        terms: Terms | None = None,
    ) -> None:
        terms = terms or Terms()
        self._traits = backend.traits
        rate = self._traits.sample_rate or settings.audio.sample_rate
        super().__init__(call_id, sample_rate=rate, interruptible=True)
        self._backend = backend
        self._metrics = metrics
        self._ended = ended
        self._log = log.bind(call=call_id)
        self._line: Line | None = None
        self._answered = time.monotonic()
        self._agent: asyncio.Task[None] | None = None
        self._farewell: asyncio.TimerHandle | None = None
        self._gone = False

        self._session = Session(new_id("sess"), settings.model, settings.turns, terms.session)
        self._items = Conversation()
        self._output = OutputAudioBuffer(self._output_changed)
        #: Makes the events that agents do not; another Realtime server makes its own.
        self._conversation = (
            None
            if self._traits.realtime
            else AgentConversation(self._session, self._items, self._output, self._emit)
        )
        self._channel = terms.channel(self._send_text, self._traits)
        self._seats = {id(self._channel): Seat(self._channel, terms.client_events)}

        self._listening = Listening(
            rate,
            settings.turns,
            self._session.turn_detection,
            detects=not self._traits.detects_turns,
        )
        self._intake = Intake(rate, self._hear)
        self._decoder = Decoder(self._session.input_format, rate)
        self._encoders: dict[int, Encoder] = {}
        #: Answers that the agent works at, or will.
        self._replies: list[LiveReply] = []
        #: What is said to a client that only reads.
        self._unspoken: set[int] = set()
        self._stop_reason = "client_cancelled"
        self._idle: asyncio.TimerHandle | None = None

    def connect(self, line: Line) -> None:
        """Bind the call to its line, once its offer was accepted."""
        self._line = line
        self.paced = line.paced
        self._log.info("call.answered")
        if self._traits.early:
            self._start_agent()

    async def renegotiate(self, offer: str) -> str:
        """Answer an SDP offer in mid-call; see `Line.renegotiate`."""
        answer = await self._connected_line().renegotiate(offer)
        self._log.info("call.renegotiated")
        return answer

    # The ends of the event channel.

    def join(
        self, end: End, client_events: frozenset[str] | None = None, *, caller: bool = False
    ) -> None:
        """Let an end in: it is told of everything from now on.

        Args:
            end: The end; it is greeted with ``session.created``.
            client_events: The types of events that it may send; None: all.
            caller: It is the caller's own: the call ends when it goes.

        Raises:
            OverloadedError: There are too many already.
        """
        if len(self._seats) >= _MAX_ENDS:
            raise OverloadedError(f"a call has at most {_MAX_ENDS - 1} sidebands")
        if caller:
            # It comes instead of a data channel.
            self._seats.pop(id(self._channel), None)
        self._seats[id(end)] = Seat(end, client_events, caller)
        end.deliver(self._greeting())

    def leave(self, end: End) -> None:
        """Let an end go."""
        seat = self._seats.pop(id(end), None)
        if seat is not None and seat.caller:
            self.hang_up()

    def receive(self, end: End, text: str) -> None:
        """Take one event from an end."""
        seat = self._seats.get(id(end))
        if seat is None or self.ended is not None:
            return
        event: dict[str, Any] = {}
        try:
            if not seat.admits():
                raise _too_many()
            event = parse(text)
            if not seat.may_send(event["type"]):
                message = f"this channel may not send {event['type']!r}"
                raise EventError("event_not_allowed", message, param="type")
            if event["type"] == "input_audio_buffer.append":
                if self._traits.opus:
                    message = "this backend takes the sound of the call's audio track only"
                    raise EventError("unsupported_by_backend", message, param="type")
                audio = event["audio"]
                self._intake.sound(len(audio), lambda: self._decode(seat, event))
                seat.refund()
            else:
                self._intake.event(lambda: self._obey(seat, event))
        except EventError as error:
            self._refuse(seat, event, error)

    # What agents and backends use.

    @property
    def session(self) -> Mapping[str, Any]:
        """The Realtime session as the client has configured it."""
        return self._session.value

    @property
    def items(self) -> Sequence[Mapping[str, Any]]:
        """The items of the conversation as they are now."""
        return list(self._items)

    def item(self, item_id: str) -> Mapping[str, Any] | None:
        """Return an item of the conversation, if it is known."""
        return self._items.item(item_id)

    def reply(
        self, work: Callable[[Reply], Awaitable[None]], *, to: CallEvent | None = None
    ) -> Reply:
        """Answer."""
        if self.ended is not None:
            raise SessionClosed(self.ended)
        if self._conversation is None:
            raise RuntimeError("a Realtime server answers by its own events")
        reply = LiveReply(self, self._speak, self._conversation, work, to, self._replied)
        self._replies.append(reply)
        reply.start()
        return reply

    async def invoke(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Let the client run one of its tools."""
        if self.ended is not None:
            raise SessionClosed(self.ended)
        if self._conversation is None:
            raise BackendError("a Realtime server calls tools by its own events")
        return await self._conversation.invoke(name, arguments)

    def fail(
        self,
        code: str,
        message: str,
        *,
        event_id: str | None = None,
        param: str | None = None,
    ) -> None:
        """Tell all ends that something on this side went wrong."""
        error = EventError(code, message, param=param, event_id=event_id, family="server_error")
        self._emit(error_event(error))

    # What happens on the line.

    def handle(self, event: Event) -> None:
        """Take one event of the line."""
        match event:
            case Event.Audio(pcm=pcm):
                self._hear(pcm)
            case Event.Opus(packets=packets):
                self._deliver(OpusPackets(packets))
            case Event.PlayoutStarted(utterance=utterance):
                self._output.started(utterance)
            case Event.PlayoutEnded():
                self._played(event.utterance, Played(event.played_ms, event.interrupted))
            case Event.Message(text=text):
                for said in self._channel.received(text):
                    self.receive(self._channel, said)
            case Event.ChannelOpen():
                self._channel.opened(self._greeting())
            case Event.Digit(digit=digit):
                self._pressed(digit)
            case Event.Connected():
                self._connected()
            case Event.Closed(reason=reason):
                self._closed(reason)

    def _connected(self) -> None:
        setup = time.monotonic() - self._answered
        self._metrics.setup_seconds.observe(setup)
        self._log.info("call.connected", setup_ms=round(setup * 1000))
        self._up.set()
        if self._agent is None:
            self._start_agent()

    def _pressed(self, digit: str) -> None:
        kind = "input_audio_buffer.dtmf_event_received"
        self._emit({"type": kind, "event": digit, "received_at": int(time.time())})
        self._stay_up()
        self._deliver(DigitPressed(digit))

    def _hear(self, pcm: bytes) -> None:
        at_ms = self._listening.now_ms
        detection = self._session.turn_detection
        may_interrupt = detection is not None and detection.interrupt_response
        busy = self.speaking or bool(self._replies)
        can_interrupt = may_interrupt and self.interruptible and busy
        for turn, item_id in self._listening.hear(pcm, alert=can_interrupt):
            if isinstance(turn, SpeechStarted):
                self._turn_begins(turn, item_id, can_interrupt=can_interrupt)
            else:
                self._turn_ends(turn, detection)
        self._deliver(AudioFrame(pcm=pcm, at_ms=at_ms))

    def _turn_begins(self, turn: SpeechStarted, item_id: str, *, can_interrupt: bool) -> None:
        if can_interrupt:
            self._metrics.interruptions.inc()
            self._stop_speaking("turn_detected")
        self._stay_up()
        kind = "input_audio_buffer.speech_started"
        self._emit({"type": kind, "audio_start_ms": turn.at_ms, "item_id": item_id})
        self._deliver(turn)

    def _turn_ends(self, turn: SpeechEnded, detection: TurnDetection | None) -> None:
        kind = "input_audio_buffer.speech_stopped"
        self._emit({"type": kind, "audio_end_ms": turn.at_ms, "item_id": turn.item_id})
        respond = detection is None or detection.create_response
        if self._conversation is None:
            self._deliver(turn)
        else:
            self._deliver_all(self._conversation.turn(turn, respond=respond))

    def _played(self, utterance: int, played: Played) -> None:
        self._encoders.pop(utterance, None)
        self._unspoken.discard(utterance)
        self._playout_ended(utterance, played)
        self._output.ended(utterance, played)
        if self._conversation is not None:
            reason, paced = self._stop_reason, self.paced
            self._conversation.played(utterance, played, reason, paced=paced)
        if not self.speaking:
            self._stop_reason = "client_cancelled"
        self._expect_the_caller()

    def _closed(self, reason: str) -> None:
        self._end(reason)
        self._stay_up()
        self._intake.close()
        if self._conversation is not None:
            self._conversation.close(reason)
        for reply in list(self._replies):
            reply.cancel("client_cancelled")
        seats, self._seats = self._seats, {}
        for seat in seats.values():
            seat.end.close()
        self._metrics.calls_ended.labels(reason).inc()
        self._log.info("call.ended", reason=reason)
        if self._agent is not None:
            loop = asyncio.get_running_loop()
            self._farewell = loop.call_later(_FAREWELL_SECONDS, self._agent.cancel)
        self._let_go()

    def _let_go(self) -> None:
        """Let go of the call, once nobody works at it any more."""
        over = self.ended is not None and self._agent is None and not self._replies
        if over and not self._gone:
            self._gone = True
            self._ended(self)

    # What clients ask.

    def _decode(self, seat: Seat, event: Mapping[str, Any]) -> bytes:
        try:
            return self._decoder.decode(event["audio"])
        except EventError as error:
            # Sound that is sound costs nothing; this does.
            self._refuse(seat, event, error if seat.admits() else _too_many())
            return b""

    def _obey(self, seat: Seat, event: Mapping[str, Any]) -> None:
        if self.ended is not None:
            return
        try:
            self._do(seat, event)
        except EventError as error:
            self._refuse(seat, event, error)

    def _do(self, seat: Seat, event: Mapping[str, Any]) -> None:
        """Do what every Realtime server does; the rest is the conversation's or the backend's."""
        match event["type"]:
            case "session.update":
                self._update(event["session"])
                if self._conversation is not None:
                    return
            case "conversation.item.retrieve":
                item = self._items.item(event["item_id"])
                if item is None:
                    raise unknown_item(event)
                return self._emit({"type": "conversation.item.retrieved", "item": item})
            case "output_audio_buffer.clear":
                return self._stop_speaking("client_cancelled")
            case "response.cancel":
                if self._conversation is not None and not self._may_cancel(event):
                    raise EventError("response_cancel_not_active", "no such response is under way")
                self._stop_speaking("client_cancelled")
                if self._conversation is not None:
                    return
            case "input_audio_buffer.commit":
                return self._commit(event)
            case "input_audio_buffer.clear":
                self._decoder.flush()
                self._listening.clear()
                if self._conversation is not None:
                    return self._emit({"type": "input_audio_buffer.cleared"})
            case "conversation.item.create" | "response.create":
                self._stay_up()
        if self._conversation is None:
            self._deliver(Message(event))
        else:
            told = self._conversation.receive(event, partial(self._refuse, seat, event))
            self._deliver_all(told)
            if not told and self._in_hand is None:
                # The agent has done already what was asked for.
                self._conversation.handled(None)

    def _may_cancel(self, event: Mapping[str, Any]) -> bool:
        """Whether there is anything to cancel: a response that is made, or one that is heard."""
        response_id = event.get("response_id")
        if self._conversation is not None and self._conversation.active(response_id):
            return True
        return self.speaking and (response_id is None or self._output.holds(response_id))

    def _update(self, changes: Mapping[str, Any]) -> None:
        self._session.update(changes)
        self._listening.follow(self._session.turn_detection)
        decoder = self._decoder.for_format(self._session.input_format)
        if decoder is not self._decoder:
            self._hear_the_rest()
            self._decoder = decoder
        self._emit({"type": "session.updated", "session": self._session.value})
        if self._idle is not None:
            self._expect_the_caller()

    def _hear_the_rest(self) -> None:
        """Hear what the decoder has held back of the sound in events."""
        if rest := self._decoder.flush():
            self._hear(rest)

    def _commit(self, event: Mapping[str, Any]) -> None:
        self._hear_the_rest()
        if self._conversation is None or self._traits.detects_turns:
            self._listening.clear()
            return self._deliver(Message(event))
        if self._listening.kept_ms < _SHORTEST_COMMIT_MS:
            message = f"expected at least {_SHORTEST_COMMIT_MS} ms of sound since the last commit"
            raise EventError("input_audio_buffer_commit_empty", message)
        self._deliver_all(self._conversation.turn(self._listening.commit(), respond=False))

    def _refuse(self, seat: Seat, event: Mapping[str, Any], error: EventError) -> None:
        """Tell an end that its event was refused."""
        self._metrics.events_refused.labels(error.code).inc()
        if error.code == "rate_limit_exceeded" and not seat.complains():
            return
        if error.event_id is None:
            error.event_id = id_of(event)
        seat.end.deliver(_numbered(error_event(error)))

    # What `Call` wants from the line.

    def _play(self, utterance: int, sound: Sound, *, complete: bool) -> None:
        if utterance not in self._unspoken:
            self._connected_line().play(utterance, sound, complete=complete)
        elif complete:
            self._end_unspoken(utterance, interrupted=False)

    def _mirror(self, utterance: int) -> None:
        self._connected_line().mirror(utterance)

    def _end_unspoken(self, utterance: int, *, interrupted: bool) -> None:
        played = Played(ms=0, interrupted=interrupted)
        asyncio.get_running_loop().call_soon(self._played, utterance, played)

    def _flush(self) -> None:
        if self._conversation is not None:
            self._conversation.silenced()
        for utterance in self._unspoken:
            self._end_unspoken(utterance, interrupted=True)
        self._insist(self._connected_line().flush)

    def _send(self, event: Mapping[str, Any]) -> None:
        self._emit(event)

    def _close(self) -> None:
        self._channel.farewell()
        self._insist(self._connected_line().close)

    def _stopping(self, *, spoken_over: bool) -> None:
        self._stop_reason = "turn_detected" if spoken_over else "client_cancelled"

    def _about_to_say(self, utterance: int, playback: Playback) -> None:
        if isinstance(playback, PartOfReply):
            speaks = playback.response.speaks
        else:
            speaks = self._conversation is None or self._session.speaks
        if not speaks:
            self._unspoken.add(utterance)

    def _said(self, utterance: int, playback: Playback) -> None:
        self._stay_up()
        if playback.place is not None:
            self._output.queued(utterance, playback.place)
        elif self._conversation is not None:
            response = playback.response if isinstance(playback, PartOfReply) else None
            heard = utterance not in self._unspoken
            self._conversation.said(utterance, playback.text, response, heard=heard)

    def _worded(self, utterance: int, playback: Playback, text: str) -> None:
        if self._conversation is not None:
            self._conversation.worded(utterance, text)

    def _voiced(self, utterance: int, playback: Playback, sound: Sound, *, complete: bool) -> None:
        if utterance in self._unspoken:
            return
        deltas: list[str] = []
        in_events = any(seat.end.wants_audio for seat in self._seats.values())
        if in_events and isinstance(sound, bytes):
            encoder = self._encoders.get(utterance)
            if encoder is None:
                encoder = Encoder(self.sample_rate, self._session.output_format)
                self._encoders[utterance] = encoder
            deltas = encoder.encode(sound, last=complete)
        if isinstance(sound, bytes):
            ms = len(sound) * 500 / self.sample_rate
        else:
            ms = sum(packet.duration_ms for packet in sound)
        if playback.place is not None:
            self._output.sounded(playback.place, ms)
            where = asdict(playback.place)
            for delta in deltas:
                self._emit({"type": "response.output_audio.delta", **where, "delta": delta})
        elif self._conversation is not None:
            self._conversation.sounded(utterance, ms, deltas)
            if complete:
                self._conversation.made(utterance, failed=playback.failed)

    def _handled(self, event: CallEvent) -> None:
        if self._conversation is not None and self.ended is None:
            self._conversation.handled(event)

    def _insist(self, command: Callable[[], None]) -> None:
        """Give a command that must not be lost: again, until the line takes it."""
        if self.ended is not None:
            return
        try:
            command()
        except OverloadedError:
            asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._insist, command)

    def _send_text(self, text: str) -> None:
        self._connected_line().send(text)

    def _connected_line(self) -> Line:
        if self._line is None:
            raise RuntimeError("the call is not connected to its line")
        return self._line

    def _stop_speaking(self, reason: str) -> None:
        if self.speaking:
            self._stop_reason = reason
            self._silence()
        for reply in list(self._replies):
            reply.cancel(reason)

    # What the ends are told.

    def _greeting(self) -> str:
        return _numbered({"type": "session.created", "session": self._session.value})

    def _emit(self, event: Mapping[str, Any]) -> None:
        """Tell all ends, and follow what is told."""
        text = _numbered(event)
        self._items.observe(event)
        if event.get("type") == "conversation.item.truncated" and self._conversation is None:
            self._shorten(event.get("item_id"), event.get("audio_end_ms"))
        sound = event.get("type") == "response.output_audio.delta"
        for seat in list(self._seats.values()):
            if seat.end.wants_audio or not sound:
                seat.end.deliver(text)
        if event.get("type") == "response.done":
            response = event.get("response")
            if isinstance(response, dict) and isinstance(response.get("id"), str):
                self._output.response_done(response["id"])
            self._expect_the_caller()

    def _shorten(self, item_id: object, ms: object) -> None:
        """Keep as much of an item's words as was heard of its sound."""
        length_ms = self._output.length_ms(item_id) if isinstance(item_id, str) else 0
        if isinstance(item_id, str) and isinstance(ms, int) and length_ms:
            self._items.shorten(item_id, ms / length_ms)

    def _output_changed(self, event: Mapping[str, Any]) -> None:
        # Who plays the sound himself knows better than we do what has been heard.
        if self.paced:
            self._emit(event)

    # A caller who says nothing.

    def _expect_the_caller(self) -> None:
        """Once nothing more is to be heard, wait for the caller as long as the session says."""
        self._stay_up()
        detection = self._session.turn_detection
        timeout_ms = detection.idle_timeout_ms if isinstance(detection, ServerVad) else None
        invoking = self._conversation is not None and self._conversation.invoking
        answering = invoking or bool(self._replies)
        busy = not self._output.empty or self._listening.speaking or answering
        busy = busy or self.ended is not None
        if timeout_ms is not None and not busy and not self._traits.detects_turns:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(timeout_ms / 1000, self._caller_is_idle, timeout_ms)

    def _stay_up(self) -> None:
        """Stop waiting for the caller."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _caller_is_idle(self, timeout_ms: int) -> None:
        self._idle = None
        now_ms = self._listening.now_ms
        item_id = new_id("item")
        self._emit(
            {
                "type": "input_audio_buffer.timeout_triggered",
                "audio_start_ms": max(0, now_ms - timeout_ms),
                "audio_end_ms": now_ms,
                "item_id": item_id,
            }
        )
        idle = CallerIdle(at_ms=now_ms)
        if self._conversation is None:
            self._deliver(idle)
        else:
            self._deliver_all(self._conversation.idle(idle, item_id))

    def _deliver_all(self, events: list[CallEvent]) -> None:
        for event in events:
            self._deliver(event)

    # The agent.

    def _start_agent(self) -> None:
        self._agent = asyncio.create_task(self._run_agent(), name=f"agent {self.id}")
        self._agent.add_done_callback(self._returned)

    async def _run_agent(self) -> None:
        try:
            await self._backend.serve(self)
        except SessionClosed:
            # It was about to say something when the caller hung up.
            return
        except Exception as error:
            self._log.error("agent.failed", error=repr(error), exc_info=error)
            self.fail("internal_error", "the agent failed; the call is ended")

    def _returned(self, agent: asyncio.Task[None]) -> None:
        """Hang up after the agent, or, if that has happened, let go of the call."""
        self._agent = None
        if self._farewell is not None:
            self._farewell.cancel()
        if self.ended is None:
            self.hang_up()
        else:
            self._let_go()

    def _replied(self, reply: LiveReply) -> None:
        """An answer is over."""
        self._replies.remove(reply)
        self._expect_the_caller()
        self._let_go()

    def cancel(self) -> None:
        """Stop the agent: the transceiver goes down."""
        if self._agent is not None:
            self._agent.cancel()


def _too_many() -> EventError:
    return EventError("rate_limit_exceeded", "too many events; some were ignored")


def _numbered(event: Mapping[str, Any]) -> str:
    """The event as JSON; it gets an ``event_id`` if it has none."""
    return as_json({"event_id": new_id("event"), **event})
