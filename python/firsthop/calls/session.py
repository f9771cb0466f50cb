"""One call from answer to end: its line, its backend, and the ends of its event channel.

`LiveCall` is the `Call` that the backend sees. It joins the parts, each of which owns its share of
the call's state::

    ends ──▶ Reception ──▶ Obeying ──▶ LiveCall ──▶ Telling ──▶ ends      seats.py: who they are
    line ──▶ TurnTaking ─────────────────┤  ▲
    line ◀── Voicing ◀───────────────────┘  └──── Serving: the agent, and its Replies

and leads it through its life: connected, closed, let go. When the transceiver is about to end, the
call may go on elsewhere: `move_on`, then `hand_over`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

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
from firsthop.calls.awaited import Awaited
from firsthop.calls.ends import End
from firsthop.calls.handover import Handover
from firsthop.calls.heldline import HeldLine
from firsthop.calls.leaving import SealTerms
from firsthop.calls.line import Line
from firsthop.calls.obeying import Obeying
from firsthop.calls.past import Past
from firsthop.calls.reception import Reception
from firsthop.calls.replies import Replies
from firsthop.calls.seats import Seat, Seats, numbered
from firsthop.calls.serving import Serving
from firsthop.calls.telling import Telling
from firsthop.calls.terms import Terms
from firsthop.calls.turntaking import TurnTaking
from firsthop.calls.voicing import StopReason, Voicing
from firsthop.config import Settings, TurnSettings
from firsthop.errors import BackendError, EventError, SessionClosed
from firsthop.realtime.agent import AgentConversation
from firsthop.realtime.events import error_event, new_id
from firsthop.realtime.requests import Refuse
from firsthop.realtime.session import Session
from firsthop.telemetry.metrics import Metrics

log = structlog.get_logger()

#: What clients may still ask when the conversation goes on elsewhere.
_LAST: Final = frozenset(
    {"conversation.item.retrieve", "output_audio_buffer.clear", "response.cancel"}
)


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
        self._owed = False

        self._session = Session(new_id("sess"), settings.model, settings.turns, terms.session)
        self._line = HeldLine()
        self._channel = terms.channel(self._line.send, traits)
        self._seats = Seats(self._channel, terms.client_events, metrics)
        self._telling = self._new_telling()
        self._emit, self._output = self._telling.emit, self._telling.output
        #: Makes the events that agents do not; another Realtime server makes its own.
        self._conversation = (
            None
            if traits.realtime
            else AgentConversation(self._session, self._telling.items, self._output, self._emit)
        )
        self._replies = Replies(self, self._speak, self._replied)
        self._awaited = Awaited(
            self, self._session, self._telling, self._conversation, self._replies
        )
        self._turns = self._new_turns(settings.turns)
        self._voicing = self._new_voicing()
        self._reception = self._new_reception()
        self._obeying = self._new_obeying()
        self._handover = self._new_handover(terms)
        self._agent = Serving(backend, self, self._returned)
        self._take_up(terms)

    # Its life.

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
        if self._owed:
            self._put_through({"type": "response.create"}, lambda error: None)

    def _closed(self, reason: str) -> None:
        self._end(reason)
        self._line.release()
        self._turns.stay_up()
        self._handover.stop()
        self._reception.close()
        if self._conversation is not None:
            self._conversation.close(reason)
        self._replies.cancel("client_cancelled")
        self._seats.close()
        self._metrics.calls_ended.labels(reason).inc()
        self._log.info("call.ended", reason=reason)
        self._agent.dismiss()
        self._let_go()

    def cancel(self) -> None:
        """Stop the agent: the transceiver goes down."""
        self._agent.cancel()

    def _returned(self) -> None:
        """Hang up after the agent, or, if that has happened, let go of the call."""
        if self.ended is None:
            self.hang_up()
        else:
            self._let_go()

    def _replied(self) -> None:
        """An answer is over."""
        self._turns.expect()
        self._handover.noticed()
        self._let_go()

    def _let_go(self) -> None:
        """Let go of the call, once nobody works at it any more."""
        over = self.ended is not None and not self._agent.running and not self._replies
        if over and not self._gone:
            self._gone = True
            self._ended(self)

    # How it goes on elsewhere.

    def move_on(self, deadline: float, latest: float, seal: SealTerms) -> None:
        """Ask the caller to go on elsewhere, once nobody speaks. To be called again at will.

        Args:
            deadline: When the call ends if the caller stays, by the running loop's clock.
            latest: When the caller is asked whoever speaks, by the same.
            seal: Makes the secret that the caller places the next call with.
        """
        if self.ended is None:
            self._handover.begin(deadline, latest, seal)

    def hand_over(self, successor: str | None = None) -> Past:
        """Return what the call that goes on with this one has to know.

        This one finds no more turns, and so starts no more answers; what is being said is said to
        its end. It is hung up soon.

        Args:
            successor: The id of that call; sidebands are told.
        """
        return self._handover.past(successor)

    def _take_up(self, terms: Terms) -> None:
        """Begin where the call before ended, if there was one."""
        self.continued = terms.continued
        if terms.past is not None:
            # The client was told of them by the call before.
            self._telling.items.restore(terms.past.items)
            self.continued = len(self._telling.items) > 0
            self._owed = self.continued and terms.past.owes_answer

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

    def _do(self, seat: Seat, event: Mapping[str, Any]) -> None:
        """Do what a client asks, when it is its turn."""
        if self._handover.left and event["type"] not in _LAST:
            message = "the conversation goes on in another call; send this there"
            raise EventError("call_moved", message)
        if not self._obeying.does(event):
            self._put_through(event, partial(self._seats.refuse, seat, event))

    def _put_through(self, event: Mapping[str, Any], refuse: Refuse) -> None:
        """Let the conversation or the backend do its part of what a client asks."""
        if self._conversation is None:
            return self._deliver(Message(event))
        told = self._conversation.receive(event, refuse)
        for one in told:
            self._deliver(one)
        if not told and self._in_hand is None:
            # The agent has done already what was asked for.
            self._conversation.handled(None)

    # What is heard and said.

    def _hear(self, pcm: bytes) -> None:
        if self._handover.left and self._traits.detects_turns:
            return
        busy = self.speaking or bool(self._replies)
        self._turns.hear(pcm, interruptible=self.interruptible and busy)

    def _pressed(self, digit: str) -> None:
        kind = "input_audio_buffer.dtmf_event_received"
        self._emit({"type": kind, "event": digit, "received_at": int(time.time())})
        self._turns.stay_up()
        self._deliver(DigitPressed(digit))

    def _played(self, utterance: int, played: Played) -> None:
        self._playout_ended(utterance, played)
        self._voicing.played(utterance, played)
        if not self.speaking:
            self._voicing.silent()
        self._turns.expect()
        self._handover.noticed()

    def _interrupted(self) -> None:
        self._metrics.interruptions.inc()
        self._stop_speaking("turn_detected")

    def _stop_speaking(self, reason: StopReason) -> None:
        if self.speaking:
            self._voicing.stopping(reason)
            self._silence()
        self._replies.cancel(reason)

    def _stop_answering(self) -> None:
        """Stop the answer that is being made; what is being said is said to its end."""
        self._replies.cancel("client_cancelled")
        if self._conversation is None and self._telling.floor.answering:
            self._deliver(Message({"type": "response.cancel"}))

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
        return self._replies.begin(self._conversation, work, to)

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

    # Its parts, and what they ask of each other.

    def _new_telling(self) -> Telling:
        return Telling(
            self._seats,
            lambda: self._line.paced,
            lambda: self._turns.expect(),
            lambda: self._handover.noticed(),
            shortens=self._traits.realtime,
        )

    def _new_turns(self, settings: TurnSettings) -> TurnTaking:
        return TurnTaking(
            self._session,
            self.sample_rate,
            settings,
            detects=not self._traits.detects_turns,
            conversation=self._conversation,
            emit=self._emit,
            deliver=self._deliver,
            interrupt=self._interrupted,
            busy=lambda: self._awaited.busy,
        )

    def _new_voicing(self) -> Voicing:
        return Voicing(
            self.sample_rate,
            self._line,
            self._session,
            self._output,
            self._conversation,
            self._seats,
            self._emit,
            self._played,
        )

    def _new_reception(self) -> Reception:
        return Reception(
            self._seats,
            self.sample_rate,
            self._session.input_format,
            self._hear,
            self._do,
            takes_sound=not self._traits.opus,
        )

    def _new_obeying(self) -> Obeying:
        return Obeying(
            self,
            self._session,
            self._telling,
            self._conversation,
            self._turns,
            self._reception,
            self._stop_speaking,
            detects_turns=not self._traits.detects_turns,
        )

    def _new_handover(self, terms: Terms) -> Handover:
        return Handover(
            self,
            terms.client_events,
            self._session,
            self._telling,
            self._awaited,
            self._seats,
            self._turns,
            self._stop_answering,
            self._metrics,
        )
