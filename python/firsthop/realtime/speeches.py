"""What an agent says, as items of its responses, until it was heard."""

from __future__ import annotations

from firsthop.call import Played
from firsthop.realtime.conversation import Conversation
from firsthop.realtime.edits import Edits
from firsthop.realtime.messages import Speech, Writing
from firsthop.realtime.order import Order
from firsthop.realtime.output import OutputAudioBuffer
from firsthop.realtime.responses import Response
from firsthop.realtime.session import Session


class Speeches:
    """Utterances that are not over, each of them an item.

    Args:
        session: As the client has configured it.
        items: The cache that all events pass.
        output: Told what will be played.
        order: Where responses are told of.
        edits: Tells how much of an item was heard.
    """

    def __init__(
        self,
        session: Session,
        items: Conversation,
        output: OutputAudioBuffer,
        order: Order,
        edits: Edits,
    ) -> None:
        self._session = session
        self._items = items
        self._output = output
        self._order = order
        self._edits = edits
        self._speeches: dict[int, Speech | Writing] = {}

    def said(
        self, utterance: int, text: str, response: Response | None = None, *, heard: bool = True
    ) -> None:
        """Take note that the agent says something, after what it says already.

        Args:
            utterance: Which.
            text: Its words, as far as they are known.
            response: What it belongs to; None: it is one by itself.
            heard: Whether it is heard, and not read.
        """
        item: Speech | Writing = Speech() if heard else Writing()
        self._speeches[utterance] = item
        whole = response is None
        if response is None:
            response = Response(self._session.value)
        response.add(item)
        if isinstance(item, Speech):
            self._output.queued(utterance, item.place)
        if text:
            item.word(text)
        if whole:
            response.close()
            self._order.begin(response)
        else:
            self._order.advance()

    def worded(self, utterance: int, text: str) -> None:
        """Take note of its next words, which the sound that comes next says."""
        if text and (item := self._speeches.get(utterance)) is not None:
            item.word(text)

    def sounded(self, utterance: int, ms: float, deltas: list[str]) -> None:
        """Take note of the next part of its sound; `deltas` are for who gets it in events."""
        item = self._speeches.get(utterance)
        if isinstance(item, Speech):
            item.sound(ms, deltas)

    def made(self, utterance: int, *, failed: bool) -> None:
        """Take note that all of its sound has been made."""
        if (item := self._speeches.get(utterance)) is not None:
            item.outcome = "failed" if failed else "completed"
            self._order.advance()

    def silenced(self) -> None:
        """Take note that nothing more of what was said will be heard.

        What the client was not told of yet, it never will be.
        """
        for utterance, item in list(self._speeches.items()):
            if not item.announced:
                self._withdraw(utterance, item)
        self._order.advance()

    def played(self, utterance: int, played: Played, reason: str, *, paced: bool) -> None:
        """Take note that it was heard, to its end or until it was stopped.

        Args:
            utterance: Which.
            played: How much of it.
            reason: Why it was stopped, if it was: turn_detected or client_cancelled.
            paced: Whether that much was heard. Else the client says how far it came.
        """
        item = self._speeches.get(utterance)
        if item is None:
            return
        if played.interrupted and not item.announced:
            self._withdraw(utterance, item)
            return self._order.advance()
        del self._speeches[utterance]
        cut = played.interrupted and paced and isinstance(item, Speech)
        if isinstance(item, Speech) and cut:
            item.transcript = item.heard(played.ms)
        if item.outcome is None:
            item.outcome = "cancelled" if played.interrupted else "completed"
            item.reason = reason if played.interrupted else ""
            self._order.advance()
        if isinstance(item, Speech) and cut and self._items.item(item.item_id) is not None:
            self._edits.truncate(item.item_id, item.transcript, played.ms)

    def _withdraw(self, utterance: int, item: Speech | Writing) -> None:
        """Forget what nobody was told of."""
        del self._speeches[utterance]
        self._output.withdrawn(utterance)
        self._order.withdraw(item)
