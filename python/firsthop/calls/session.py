"""One call from answer to end: its line, its backend, and the ends of its event channel.

`LiveCall` is the `Call` that the backend sees. It joins the parts, each of which owns its share of
the call's state::

    ends ──▶ Reception ──▶ LiveCall ──▶ Telling ──▶ ends          seats.py: who they are
    line ──▶ TurnTaking ─────┤  ▲
    line ◀── Voicing ◀───────┘  └──── Serving: the agent

and answers what clients may ask of any Realtime server; the rest it passes on.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from firsthop._native import Event
from firsthop.backends.base import Backend
from firsthop.call import (
    Call,
    CallEvent,
    DigitPressed,
    Message,
    OpusPackets,
    Playback,
    Played,
    Reply,
    Sound,
)
from firsthop.calls.ends import End
from firsthop.calls.heldline import HeldLine
from firsthop.calls.line import Line
from firsthop.calls.reception import Reception
from firsthop.calls.reply import LiveReply
from firsthop.calls.seats import Seat, Seats, numbered
from firsthop.calls.serving import Serving
from firsthop.calls.telling import Telling
from firsthop.calls.terms import Terms
from firsthop.calls.turntaking import TurnTaking
from firsthop.calls.voicing import StopReason, Voicing
from firsthop.config import Settings
from firsthop.errors import BackendError, EventError, SessionClosed
from firsthop.realtime.agent import AgentConversation
from firsthop.realtime.edits import unknown_item
from firsthop.realtime.events import error_event, new_id
from firsthop.realtime.session import Session
from firsthop.telemetry.metrics import Metrics

log = structlog.get_logger()


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
        self._traits = traits = backend.traits
        rate = traits.sample_rate or settings.audio.sample_rate
        super().__init__(call_id, sample_rate=rate, interruptible=True)
        self._metrics = metrics
        self._ended = ended
        self._log = log.bind(call=call_id)
        self._answered = time.monotonic()
        self._gone = False
        #: Answers that the agent works at, or will.
        self._replies: list[LiveReply] = []

        self._session = Session(new_id("sess"), settings.model, settings.turns, terms.session)
        self._line = HeldLine()
        self._channel = terms.channel(self._line.send, traits)
        self._seats = Seats(self._channel, terms.client_events, metrics)
        self._telling = Telling(
            self._seats,
            lambda: self._line.paced,
            lambda: self._turns.expect(),
            shortens=traits.realtime,
        )
        self._emit, self._output = self._telling.emit, self._telling.output
        #: Makes the events that agents do not; another Realtime server makes its own.
        self._conversation = (
            None
            if traits.realtime
            else AgentConversation(self._session, self._telling.items, self._output, self._emit)
        )
        self._turns = TurnTaking(
            self._session,
            rate,
            settings.turns,
            detects=not traits.detects_turns,
            conversation=self._conversation,
            emit=self._emit,
            deliver=self._deliver,
            interrupt=self._interrupted,
            busy=self._busy,
        )
        self._voicing = Voicing(
            rate,
            self._line,
            self._session,
            self._output,
            self._conversation,
            self._seats,
            self._emit,
            self._played,
        )
        self._reception = Reception(
            self._seats,
            rate,
            self._session.input_format,
            self._hear,
            self._do,
            takes_sound=not traits.opus,
        )
        self._agent = Serving(backend, self, self._returned)

    def connect(self, line: Line) -> None:
        """Bind the call to its line, once its offer was accepted."""
        self._line.bind(line)
        self.paced = line.paced
        self._log.info("call.answered")
        if self._traits.early:
            self._agent.start()

    async def renegotiate(self, offer: str) -> str:
        """Answer an SDP offer in mid-call; see `Line.renegotiate`."""
        answer = await self._line.renegotiate(offer)
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
        self._seats.join(Seat(end, client_events, caller))
        end.deliver(self._greeting())

    def leave(self, end: End) -> None:
        """Let an end go."""
        seat = self._seats.leave(end)
        if seat is not None and seat.caller:
            self.hang_up()

    def receive(self, end: End, text: str) -> None:
        """Take one event from an end."""
        self._reception.receive(end, text)

    def _greeting(self) -> str:
        return numbered({"type": "session.created", "session": self._session.value})

    # What agents and backends use.

    @property
    def session(self) -> Mapping[str, Any]:
        """The Realtime session as the client has configured it."""
        return self._session.value

    @property
    def items(self) -> Sequence[Mapping[str, Any]]:
        """The items of the conversation as they are now."""
        return list(self._telling.items)

    def item(self, item_id: str) -> Mapping[str, Any] | None:
        """Return an item of the conversation, if it is known."""
        return self._telling.items.item(item_id)

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

    def cancel(self) -> None:
        """Stop the agent: the transceiver goes down."""
        self._agent.cancel()

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
        self._agent.start()

    def _pressed(self, digit: str) -> None:
        kind = "input_audio_buffer.dtmf_event_received"
        self._emit({"type": kind, "event": digit, "received_at": int(time.time())})
        self._turns.stay_up()
        self._deliver(DigitPressed(digit))

    def _hear(self, pcm: bytes) -> None:
        busy = self.speaking or bool(self._replies)
        self._turns.hear(pcm, interruptible=self.interruptible and busy)

    def _interrupted(self) -> None:
        self._metrics.interruptions.inc()
        self._stop_speaking("turn_detected")

    def _played(self, utterance: int, played: Played) -> None:
        self._playout_ended(utterance, played)
        self._voicing.played(utterance, played)
        if not self.speaking:
            self._voicing.silent()
        self._turns.expect()

    def _closed(self, reason: str) -> None:
        self._end(reason)
        self._line.release()
        self._turns.stay_up()
        self._reception.close()
        if self._conversation is not None:
            self._conversation.close(reason)
        for reply in list(self._replies):
            reply.cancel("client_cancelled")
        self._seats.close()
        self._metrics.calls_ended.labels(reason).inc()
        self._log.info("call.ended", reason=reason)
        self._agent.dismiss()
        self._let_go()

    # How it ends.

    def _replied(self, reply: LiveReply) -> None:
        """An answer is over."""
        self._replies.remove(reply)
        self._turns.expect()
        self._let_go()

    def _returned(self) -> None:
        """Hang up after the agent, or, if that has happened, let go of the call."""
        if self.ended is None:
            self.hang_up()
        else:
            self._let_go()

    def _let_go(self) -> None:
        """Let go of the call, once nobody works at it any more."""
        over = self.ended is not None and not self._agent.running and not self._replies
        if over and not self._gone:
            self._gone = True
            self._ended(self)

    # What clients ask.

    def _do(self, seat: Seat, event: Mapping[str, Any]) -> None:
        """Do what every Realtime server does; the rest is the conversation's or the backend's."""
        match event["type"]:
            case "session.update":
                self._update(event["session"])
                if self._conversation is not None:
                    return
            case "conversation.item.retrieve":
                item = self._telling.items.item(event["item_id"])
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
                self._reception.forget_the_rest()
                self._turns.clear()
                if self._conversation is not None:
                    return self._emit({"type": "input_audio_buffer.cleared"})
            case "conversation.item.create" | "response.create":
                self._turns.stay_up()
        if self._conversation is None:
            self._deliver(Message(event))
        else:
            told = self._conversation.receive(event, partial(self._seats.refuse, seat, event))
            for one in told:
                self._deliver(one)
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
        self._turns.follow()
        self._reception.follow(self._session.input_format)
        self._emit({"type": "session.updated", "session": self._session.value})

    def _commit(self, event: Mapping[str, Any]) -> None:
        self._reception.hear_the_rest()
        if self._conversation is None or self._traits.detects_turns:
            self._turns.clear()
            self._deliver(Message(event))
        else:
            self._turns.commit(self._conversation)

    def _stop_speaking(self, reason: StopReason) -> None:
        if self.speaking:
            self._voicing.stopping(reason)
            self._silence()
        for reply in list(self._replies):
            reply.cancel(reason)

    def _busy(self) -> bool:
        """Whether more is to be heard, or to be waited for, than the caller."""
        invoking = self._conversation is not None and self._conversation.invoking
        answering = invoking or bool(self._replies)
        return not self._output.empty or answering or self.ended is not None

    # What `Call` wants from the line.

    def _play(self, utterance: int, sound: Sound, *, complete: bool) -> None:
        self._voicing.play(utterance, sound, complete=complete)

    def _mirror(self, utterance: int) -> None:
        self._line.mirror(utterance)

    def _flush(self) -> None:
        self._voicing.flush()

    def _send(self, event: Mapping[str, Any]) -> None:
        self._emit(event)

    def _close(self) -> None:
        self._channel.farewell()
        self._line.close()

    def _stopping(self, *, spoken_over: bool) -> None:
        self._voicing.stopping("turn_detected" if spoken_over else "client_cancelled")

    def _about_to_say(self, utterance: int, playback: Playback) -> None:
        self._voicing.announced(utterance, playback)

    def _said(self, utterance: int, playback: Playback) -> None:
        self._turns.stay_up()
        self._voicing.said(utterance, playback)

    def _worded(self, utterance: int, playback: Playback, text: str) -> None:
        self._voicing.worded(utterance, text)

    def _voiced(self, utterance: int, playback: Playback, sound: Sound, *, complete: bool) -> None:
        self._voicing.voiced(utterance, playback, sound, complete=complete)

    def _handled(self, event: CallEvent) -> None:
        if self._conversation is not None and self.ended is None:
            self._conversation.handled(event)
