"""Turns: where the caller's speech begins and ends. No clock, no I/O: sound in, events out.

The rules are those of the Realtime contract's ``server_vad``, and may change in mid-call; without
rules the caller's client says itself where a turn ends. Time is the sound's own: a millisecond is
1/1000 s of audio received.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from firsthop.call import SpeechEnded, SpeechStarted
from firsthop.speech.activity import CONTEXT, RATE, WINDOW, Samples, VoiceActivity
from firsthop.speech.loudness import Loudness
from firsthop.speech.resampler import Resampler

_WINDOW_MS: Final = WINDOW * 1000 // RATE
Pcm = npt.NDArray[np.int16]

#: Speech goes on down to this much below the threshold, so that a soft syllable ends no turn.
_HYSTERESIS: Final = 0.15
#: The model hears speech in up to three windows too many; where sound ends tells. What ends too
#: softly for that is taken to end too early by no more than this (docs/decisions/0022).
_HANGOVER: Final = 3 * WINDOW
#: A turn that lasts longer is ended: nobody waits for ever, and memory is bounded.
_MAX_TURN_MS: Final = 60_000
#: What is kept while only a client can end the turn. The oldest sound goes first.
_MAX_KEPT_MS: Final = 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRules:
    """When a turn begins and ends."""

    threshold: float
    """Speech probability from which a window counts as speech, 0 to 1."""
    prefix_padding_ms: int
    """Audio from before the start that belongs to the turn."""
    silence_ms: int
    """Silence that ends a turn."""


class TurnDetector:
    """Follows one caller's speech.

    Args:
        rules: When turns begin and end; None if nothing but `commit` ends one.
        sample_rate: Of the caller's PCM, in Hz.
    """

    def __init__(self, rules: TurnRules | None, sample_rate: int) -> None:
        self._rules = rules
        self._rate = sample_rate
        self._activity = VoiceActivity()
        # To the model's rate; `None` when it is that already.
        self._resampler = None if sample_rate == RATE else Resampler(sample_rate, RATE)
        #: What is not judged yet, less than a window; and the latest sound, judged or not.
        self._heard = np.empty(0, dtype=np.int16)
        self._recent = np.zeros(CONTEXT + WINDOW, dtype=np.int16)
        #: Sound that was judged, in samples at the model's rate.
        self._judged = 0
        #: Of a turn: its sound, where that was last loud, and where the model last heard speech.
        self._loudness = Loudness()
        self._loud_until = 0
        self._speech_until = 0
        self._started_ms: int | None = None
        #: The caller's PCM, as received: the padding before a turn, or the turn so far.
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0

    @property
    def speaking(self) -> bool:
        """Whether the caller's turn has begun and not ended."""
        return self._started_ms is not None

    @property
    def kept_ms(self) -> int:
        """How much sound `commit` would return, in milliseconds."""
        return self._kept_bytes * 500 // self._rate

    def follow(self, rules: TurnRules | None) -> None:
        """Go by other rules from now on. A turn that has begun goes on under them."""
        if rules is None:
            self._started_ms = None
            self._judged += len(self._heard)
            self._heard = self._heard[:0]
        self._rules = rules

    def commit(self) -> bytes:
        """End the turn now; return all that was kept of it, PCM16LE, mono."""
        turn = b"".join(self._kept)
        self.clear()
        return turn

    def clear(self) -> None:
        """Forget what was kept of the turn."""
        self._started_ms = None
        self._kept.clear()
        self._kept_bytes = 0

    def feed(self, pcm: bytes, *, alert: bool = False) -> list[SpeechStarted | SpeechEnded]:
        """Take the next PCM16LE of the caller; return what it changes.

        Args:
            pcm: Mono, at the rate that the detector was made for.
            alert: Look for the start of speech in what does not fill a window yet. Finds it about
                17 ms earlier, for one more run of the model; worth it while an agent speaks.
        """
        rules = self._rules
        self._keep(pcm, rules)
        if rules is None:
            self._judged += len(pcm) // 2 * RATE // self._rate
            return []
        heard = np.frombuffer(pcm, dtype="<i2")
        if self._resampler is not None:
            heard = self._resampler.feed(heard)
        self._heard = np.concatenate((self._heard, heard))
        self._recent = np.concatenate((self._recent, heard))[-(CONTEXT + WINDOW) :]
        events: list[SpeechStarted | SpeechEnded] = []
        while len(self._heard) >= WINDOW:
            window, self._heard = self._heard[:WINDOW], self._heard[WINDOW:]
            event = self._judge(window, rules)
            if event is not None:
                events.append(event)
        if self._is_over(len(self._heard), rules) and self._loudness.quiet(self._heard):
            # Silence does not wait for a window to fill.
            events.append(self._end())
        if alert and not self.speaking:
            likely = self._activity.glance(_normalised(self._recent))
            if likely >= rules.threshold:
                events.append(self._start(_ms(self._judged + len(self._heard))))
        return events

    def _judge(self, window: Pcm, rules: TurnRules) -> SpeechStarted | SpeechEnded | None:
        """Judge one window."""
        probability = self._activity.probability(_normalised(window))
        begin, self._judged = self._judged, self._judged + WINDOW
        if self._started_ms is None:
            # One window decides. Waiting for a second would keep the agent talking over the
            # caller for 30 ms more, every time, against a cough now and then.
            if probability < rules.threshold:
                return None
            started = self._start(_ms(self._judged))
            self._follow_sound(window, begin)
            return started
        self._follow_sound(window, begin)
        if probability >= rules.threshold - _HYSTERESIS:
            self._speech_until = self._judged
        too_long = _ms(self._judged) - self._started_ms >= _MAX_TURN_MS
        return self._end() if too_long or self._is_over(0, rules) else None

    def _start(self, now_ms: int) -> SpeechStarted:
        """Begin a turn with the window that ends now."""
        self._loudness = Loudness()
        self._loud_until = self._speech_until = now_ms * RATE // 1000
        self._started_ms = max(0, now_ms - _WINDOW_MS)
        return SpeechStarted(at_ms=self._started_ms)

    def _end(self) -> SpeechEnded:
        return SpeechEnded(at_ms=_ms(self._silent_since), audio=self.commit())

    def _follow_sound(self, window: Pcm, begin: int) -> None:
        if loud := self._loudness.heard(window):
            self._loud_until = begin + loud

    @property
    def _silent_since(self) -> int:
        """Where the turn's last speech ended, in samples at the model's rate."""
        return min(self._speech_until, max(self._loud_until, self._speech_until - _HANGOVER))

    def _is_over(self, unjudged: int, rules: TurnRules) -> bool:
        """Whether the caller has been silent for long enough, with so many samples not judged."""
        if self._started_ms is None or self._speech_until >= self._judged:
            return False
        return _ms(self._judged + unjudged - self._silent_since) >= rules.silence_ms

    def _keep(self, pcm: bytes, rules: TurnRules | None) -> None:
        """Keep the turn, and before it the padding and what the decision to start took."""
        self._kept.append(pcm)
        self._kept_bytes += len(pcm)
        if self._started_ms is not None:
            return
        most_ms = _MAX_KEPT_MS if rules is None else rules.prefix_padding_ms + 2 * _WINDOW_MS
        most = most_ms * self._rate * 2 // 1000
        while self._kept_bytes - len(self._kept[0]) >= most:
            self._kept_bytes -= len(self._kept.popleft())


def _ms(samples: int) -> int:
    return samples * 1000 // RATE


def _normalised(samples: Pcm) -> Samples:
    """Return the samples as the model wants them, in [-1, 1]."""
    return samples.astype(np.float32) / np.float32(32768)
