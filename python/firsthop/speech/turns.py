"""Turns: where the caller's speech begins and ends. No clock, no I/O: sound in, events out.

The fields are those of the Realtime contract's ``server_vad``. Time is the sound's own: a
millisecond is 1/1000 s of audio received.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
import numpy.typing as npt
import soxr

from firsthop.call import SpeechEnded, SpeechStarted
from firsthop.config import TurnSettings
from firsthop.speech.activity import CONTEXT, RATE, WINDOW, Samples, VoiceActivity

_WINDOW_MS: Final = WINDOW * 1000 // RATE
#: Speech goes on down to this much below the threshold, so that a soft syllable ends no turn.
_HYSTERESIS: Final = 0.15
#: A turn that lasts longer is ended: nobody waits for ever, and memory is bounded.
_MAX_TURN_MS: Final = 60_000


class TurnDetector:
    """Follows one caller's speech."""

    def __init__(self, settings: TurnSettings, sample_rate: int) -> None:
        self._settings = settings
        self._rate = sample_rate
        self._activity = VoiceActivity()
        # To the model's rate; `None` when it is that already.
        self._resampler = (
            None
            if sample_rate == RATE
            else soxr.ResampleStream(sample_rate, RATE, 1, dtype="int16", quality="LQ")
        )
        #: What is not judged yet, less than a window; and the latest sound, judged or not.
        self._heard = np.empty(0, dtype=np.int16)
        self._recent = np.zeros(CONTEXT + WINDOW, dtype=np.int16)
        self._windows = 0
        self._silence_ms = 0
        self._started_ms: int | None = None
        #: The caller's PCM, as received: the padding before a turn, or the turn so far.
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0

    @property
    def speaking(self) -> bool:
        """Whether the caller's turn has begun and not ended."""
        return self._started_ms is not None

    def feed(self, pcm: bytes, *, alert: bool = False) -> list[SpeechStarted | SpeechEnded]:
        """Take the next PCM16LE of the caller; return what it changes.

        Args:
            pcm: Mono, at the rate that the detector was made for.
            alert: Look for the start of speech in what does not fill a window yet. Finds it about
                17 ms earlier, for one more run of the model; worth it while an agent speaks.
        """
        self._keep(pcm)
        heard = np.frombuffer(pcm, dtype="<i2")
        if self._resampler is not None:
            heard = self._resampler.resample_chunk(heard)
        self._heard = np.concatenate((self._heard, heard))
        self._recent = np.concatenate((self._recent, heard))[-(CONTEXT + WINDOW) :]
        events: list[SpeechStarted | SpeechEnded] = []
        while len(self._heard) >= WINDOW:
            window, self._heard = self._heard[:WINDOW], self._heard[WINDOW:]
            event = self._judge(self._activity.probability(_normalised(window)))
            if event is not None:
                events.append(event)
        if alert and not self.speaking:
            likely = self._activity.glance(_normalised(self._recent))
            if likely >= self._settings.threshold:
                ahead_ms = len(self._heard) * 1000 // RATE
                events.append(self._start(self._windows * _WINDOW_MS + ahead_ms))
        return events

    def _judge(self, probability: float) -> SpeechStarted | SpeechEnded | None:
        """Judge one window."""
        self._windows += 1
        now_ms = self._windows * _WINDOW_MS
        threshold = self._settings.threshold
        if self._started_ms is None:
            # One window decides. Waiting for a second would keep the agent talking over the
            # caller for 30 ms more, every time, against a cough now and then.
            if probability < threshold:
                return None
            return self._start(now_ms)
        if probability >= threshold - _HYSTERESIS:
            self._silence_ms = 0
        else:
            self._silence_ms += _WINDOW_MS
        over = self._silence_ms >= self._settings.silence_duration_ms
        if not over and now_ms - self._started_ms < _MAX_TURN_MS:
            return None
        self._started_ms = None
        turn = b"".join(self._kept)
        self._kept.clear()
        self._kept_bytes = 0
        return SpeechEnded(at_ms=now_ms - self._silence_ms, audio=turn)

    def _start(self, now_ms: int) -> SpeechStarted:
        """Begin a turn with the window that ends now."""
        self._silence_ms = 0
        self._started_ms = max(0, now_ms - _WINDOW_MS)
        return SpeechStarted(at_ms=self._started_ms)

    def _keep(self, pcm: bytes) -> None:
        """Keep the turn, and before it the padding and what the decision to start took."""
        self._kept.append(pcm)
        self._kept_bytes += len(pcm)
        if self._started_ms is None:
            padding_ms = self._settings.prefix_padding_ms + 2 * _WINDOW_MS
            padding = padding_ms * self._rate * 2 // 1000
            while self._kept_bytes - len(self._kept[0]) >= padding:
                self._kept_bytes -= len(self._kept.popleft())


def _normalised(samples: npt.NDArray[np.int16]) -> Samples:
    """Return the samples as the model wants them, in [-1, 1]."""
    return samples.astype(np.float32) / np.float32(32768)
