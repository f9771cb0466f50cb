"""Turns of the caller: when they begin and end, and what the client and the agent are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from firsthop.call import AudioFrame, CallerIdle, CallEvent, SpeechEnded, SpeechStarted
from firsthop.calls.listening import Listening
from firsthop.calls.patience import Patience
from firsthop.config import TurnSettings
from firsthop.errors import EventError
from firsthop.realtime.agent import AgentConversation
from firsthop.realtime.events import new_id
from firsthop.realtime.output import Emit
from firsthop.realtime.session import Session, TurnDetection

#: The shortest turn that a client may commit, as the contract has it.
_SHORTEST_COMMIT_MS: Final = 100


class TurnTaking:
    """Finds the caller's turns. It owns what was heard, and the wait for a caller who is silent.

    Args:
        session: Says how turns are found, and what becomes of them.
        sample_rate: Of the caller's PCM, in Hz.
        defaults: For what the session does not say.
        detects: Whether turns are found here; else the backend does.
        conversation: Makes turns items; None if the backend does.
        emit: Takes the events for the client.
        deliver: Takes those for the agent.
        interrupt: Stops the agent, over whom the caller speaks.
        busy: Whether there is something else to wait for than the caller.
    """

    def __init__(
        self,
        session: Session,
        sample_rate: int,
        defaults: TurnSettings,
        *,
        detects: bool,
        conversation: AgentConversation | None,
        emit: Emit,
        deliver: Callable[[CallEvent], None],
        interrupt: Callable[[], None],
        busy: Callable[[], bool],
    ) -> None:
        self._session = session
        self._detects = detects
        self._conversation = conversation
        self._emit = emit
        self._deliver = deliver
        self._interrupt = interrupt
        self._busy = busy
        self._listening = Listening(sample_rate, defaults, session.turn_detection, detects=detects)
        self._patience = Patience(session, self._cannot_wait, self._missed)

    def hear(self, pcm: bytes, *, interruptible: bool) -> None:
        """Take the caller's next PCM16LE, mono.

        Args:
            pcm: Any length.
            interruptible: Whether a turn would stop something, if the session lets it.
        """
        at_ms = self._listening.now_ms
        detection = self._session.turn_detection
        may_interrupt = detection is not None and detection.interrupt_response
        can_interrupt = may_interrupt and interruptible
        for turn, item_id in self._listening.hear(pcm, alert=can_interrupt):
            if isinstance(turn, SpeechStarted):
                self._begins(turn, item_id, can_interrupt=can_interrupt)
            else:
                self._ends(turn, detection)
        self._deliver(AudioFrame(pcm=pcm, at_ms=at_ms))

    def commit(self, conversation: AgentConversation) -> None:
        """End the turn here, whatever was detected: it is the client's to say.

        Raises:
            EventError: There is too little to commit.
        """
        if self._listening.kept_ms < _SHORTEST_COMMIT_MS:
            message = f"expected at least {_SHORTEST_COMMIT_MS} ms of sound since the last commit"
            raise EventError("input_audio_buffer_commit_empty", message)
        self._deliver_all(conversation.turn(self._listening.commit(), respond=False))

    def clear(self) -> None:
        """Forget what could be committed."""
        self._listening.clear()

    def follow(self) -> None:
        """Find turns as the session says now."""
        self._listening.follow(self._session.turn_detection)
        if self._patience.waiting:
            self._patience.expect()

    def expect(self) -> None:
        """Wait for the caller, as long as the session says, once nothing more is to be heard."""
        self._patience.expect()

    def stay_up(self) -> None:
        """Stop waiting for the caller."""
        self._patience.stop()

    def close(self) -> None:
        """Find no more turns, and wait for none: what is heard is passed on to the agent only."""
        self._detects = False
        self._listening.close()
        self.stay_up()

    def _begins(self, turn: SpeechStarted, item_id: str, *, can_interrupt: bool) -> None:
        if can_interrupt:
            self._interrupt()
        self.stay_up()
        kind = "input_audio_buffer.speech_started"
        self._emit({"type": kind, "audio_start_ms": turn.at_ms, "item_id": item_id})
        self._deliver(turn)

    def _ends(self, turn: SpeechEnded, detection: TurnDetection | None) -> None:
        kind = "input_audio_buffer.speech_stopped"
        self._emit({"type": kind, "audio_end_ms": turn.at_ms, "item_id": turn.item_id})
        respond = detection is None or detection.create_response
        if self._conversation is None:
            self._deliver(turn)
        else:
            self._deliver_all(self._conversation.turn(turn, respond=respond))

    def _cannot_wait(self) -> bool:
        return not self._detects or self._listening.speaking or self._busy()

    def _missed(self, timeout_ms: int) -> None:
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
