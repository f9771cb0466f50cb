"""What clients ask and every Realtime server does, whoever the agent is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from firsthop.call import Call
from firsthop.calls.reception import Reception
from firsthop.calls.telling import Telling
from firsthop.calls.turntaking import TurnTaking
from firsthop.calls.voicing import StopReason
from firsthop.errors import EventError
from firsthop.realtime.agent import AgentConversation
from firsthop.realtime.edits import unknown_item
from firsthop.realtime.session import Session


class Obeying:
    """Does what clients ask, as far as it is the same for all agents. It owns nothing.

    Args:
        call: Says whether the agent speaks.
        session: Is configured.
        telling: Tells what was done; has the items, and what of the agent's sound is heard.
        conversation: Answers for an agent of ours; None if the backend does.
        turns: Committed and cleared; follow the session.
        reception: Has sound that was not heard yet; follows the session.
        stop_speaking: Stops the agent.
        detects_turns: Whether turns are found here; else the backend does.
    """

    def __init__(
        self,
        call: Call,
        session: Session,
        telling: Telling,
        conversation: AgentConversation | None,
        turns: TurnTaking,
        reception: Reception,
        stop_speaking: Callable[[StopReason], None],
        *,
        detects_turns: bool,
    ) -> None:
        self._call = call
        self._session = session
        self._telling = telling
        self._conversation = conversation
        self._turns = turns
        self._reception = reception
        self._stop_speaking = stop_speaking
        self._detects_turns = detects_turns

    def does(self, event: Mapping[str, Any]) -> bool:
        """Do what an event asks for.

        Returns:
            Whether that is all; else the conversation or the backend has a part in it.

        Raises:
            EventError: It cannot be done.
        """
        ours = self._conversation is not None
        match event["type"]:
            case "session.update":
                self._update(event["session"])
                return ours
            case "conversation.item.retrieve":
                self._retrieve(event)
                return True
            case "output_audio_buffer.clear":
                self._stop_speaking("client_cancelled")
                return True
            case "response.cancel":
                if ours and not self._may_cancel(event):
                    raise EventError("response_cancel_not_active", "no such response is under way")
                self._stop_speaking("client_cancelled")
                return ours
            case "input_audio_buffer.commit":
                return self._commit()
            case "input_audio_buffer.clear":
                self._clear()
                return ours
            case "conversation.item.create" | "response.create":
                self._turns.stay_up()
        return False

    def _update(self, changes: Mapping[str, Any]) -> None:
        self._session.update(changes)
        self._turns.follow()
        self._reception.follow(self._session.input_format)
        self._telling.emit({"type": "session.updated", "session": self._session.value})

    def _retrieve(self, event: Mapping[str, Any]) -> None:
        item = self._telling.items.item(event["item_id"])
        if item is None:
            raise unknown_item(event)
        self._telling.emit({"type": "conversation.item.retrieved", "item": item})

    def _may_cancel(self, event: Mapping[str, Any]) -> bool:
        """Whether there is anything to cancel: a response that is made, or one that is heard."""
        response_id = event.get("response_id")
        if self._conversation is not None and self._conversation.active(response_id):
            return True
        heard = response_id is None or self._telling.output.holds(response_id)
        return self._call.speaking and heard

    def _commit(self) -> bool:
        self._reception.hear_the_rest()
        if self._conversation is None or not self._detects_turns:
            self._turns.clear()
            return False
        self._turns.commit(self._conversation)
        return True

    def _clear(self) -> None:
        self._reception.forget_the_rest()
        self._turns.clear()
        if self._conversation is not None:
            self._telling.emit({"type": "input_audio_buffer.cleared"})
