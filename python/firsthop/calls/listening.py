"""What is heard of the caller: where turns begin and end, and what a client may commit as one."""

from __future__ import annotations

from dataclasses import replace

from firsthop.call import SpeechEnded, SpeechStarted
from firsthop.config import TurnSettings
from firsthop.realtime.events import new_id
from firsthop.realtime.session import ServerVad, TurnDetection, patience_ms
from firsthop.speech.turns import TurnDetector, TurnRules

Turn = SpeechStarted | SpeechEnded


class Listening:
    """The input audio buffer of one call.

    Each turn is an item of the conversation, whose id the client is told when the turn begins.

    Args:
        sample_rate: Of the caller's PCM, in Hz.
        defaults: For what a session's turn detection does not say.
        detection: How turns are found; None if the client says itself where they end.
        detects: Whether turns are found here at all.
    """

    def __init__(
        self,
        sample_rate: int,
        defaults: TurnSettings,
        detection: TurnDetection | None,
        *,
        detects: bool,
    ) -> None:
        self._rate = sample_rate
        self._defaults = defaults
        self._detects = detects
        self._turns = TurnDetector(turn_rules(detection, defaults), sample_rate)
        self._item: str | None = None
        self._samples = 0

    @property
    def now_ms(self) -> int:
        """How much was heard, in milliseconds."""
        return self._samples * 1000 // self._rate

    @property
    def speaking(self) -> bool:
        """Whether the caller's turn has begun and not ended."""
        return self._turns.speaking

    @property
    def kept_ms(self) -> int:
        """How much could be committed, in milliseconds."""
        return self._turns.kept_ms

    def follow(self, detection: TurnDetection | None) -> None:
        """Find turns another way from now on."""
        self._turns.follow(turn_rules(detection, self._defaults))

    def hear(self, pcm: bytes, *, alert: bool) -> list[tuple[Turn, str]]:
        """Take the caller's next PCM16LE; return the turns that begin or end, and their items.

        Args:
            pcm: Mono.
            alert: Whether every millisecond counts: the agent speaks, and would be interrupted.
        """
        self._samples += len(pcm) // 2
        if not self._detects:
            return []
        turns: list[tuple[Turn, str]] = []
        for turn in self._turns.feed(pcm, alert=alert):
            if isinstance(turn, SpeechStarted):
                self._item = new_id("item")
                turns.append((turn, self._item))
            else:
                item_id = self._take_item()
                turns.append((replace(turn, item_id=item_id), item_id))
        return turns

    def commit(self) -> SpeechEnded:
        """End the turn here, whatever was detected."""
        audio = self._turns.commit()
        return SpeechEnded(at_ms=self.now_ms, audio=audio, item_id=self._take_item())

    def clear(self) -> None:
        """Forget what could be committed."""
        self._turns.clear()
        self._item = None

    def close(self) -> None:
        """Find no more turns."""
        self._detects = False

    def _take_item(self) -> str:
        """The item of the turn that is over: as the client was told when it began, if it was."""
        item_id, self._item = self._item, None
        return item_id or new_id("item")


def turn_rules(detection: TurnDetection | None, defaults: TurnSettings) -> TurnRules | None:
    """When turns begin and end."""
    if detection is None:
        return None
    if isinstance(detection, ServerVad):
        threshold, padding_ms = detection.threshold, detection.prefix_padding_ms
    else:
        threshold, padding_ms = defaults.threshold, defaults.prefix_padding_ms
    return TurnRules(
        threshold=threshold, prefix_padding_ms=padding_ms, silence_ms=patience_ms(detection)
    )
