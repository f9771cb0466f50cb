"""What became of speech at one listener: how it sounds, and how late it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from firsthop.bench.quality import align
from firsthop.bench.quality.packets import SAMPLES
from firsthop.bench.quality.recording import Recording
from firsthop.bench.quality.score import score
from firsthop.bench.quality.speech import PAUSE_S, RATE, Programme, Samples
from firsthop.bench.quality.trace import PACKET_S, Trace

#: Of the pauses around a clip, what is judged with it.
_MARGIN: Final = int(PAUSE_S * RATE) * 5 // 8


@dataclass(frozen=True)
class Judgement:
    """One call."""

    mos: list[float]
    """Of each clip."""
    delays_ms: list[float]
    """Of each audible piece that was found: what the listener adds to the path's mean delay."""
    unheard: float
    """The part of audible pieces that were not found in what was heard."""
    drift_ms: float
    """By how much what was heard is longer than what was said."""
    concealed: float | None
    """The part of what was heard that the listener made up, if it tells."""


def judge(
    programme: Programme, decoded: Samples, heard: Recording, trace: Trace, began_s: float
) -> Judgement:
    """Judge a call.

    Args:
        programme: What was said.
        decoded: The same through the codec, with nothing lost: it has the codec's own delay, which
            is no listener's.
        heard: What was heard of it.
        trace: What the network did to it.
        began_s: When its first packet was sent.
    """
    said = programme.samples
    sent_s = began_s + (np.arange(len(decoded)) // SAMPLES).astype(np.float64) * PACKET_S
    found = align.places(decoded, heard, sent_s)
    return Judgement(
        mos=[
            score(
                said[clip.begin - _MARGIN : clip.end + _MARGIN],
                align.cut(heard, clip, found, _MARGIN),
            )
            for clip in programme.clips
        ],
        delays_ms=[(place.delay_s - trace.mean_delay_s) * 1000 for place in found],
        unheard=1 - len(found) / align.pieces(decoded),
        drift_ms=align.drift_s(found) * 1000,
        concealed=heard.concealed,
    )
