"""What is said: clips of a few sentences in several voices, one behind the other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from firsthop.speech.espeak import Voice

#: Of all speech here, in Hz; mono. Wide-band, as the measure wants it.
RATE: Final = 16_000
#: Around clips. Long enough that no buffer carries the end of one into the next.
PAUSE_S: Final = 0.8
#: Said before the first clip, and not judged: buffers adapt to the network meanwhile.
_LEAD_IN: Final = "Please wait until you hear the first of the sentences. They are not connected."
#: Each clip has a voice of its own and is said in 8 to 10 s, as P.862 recommends.
_CLIPS: Final = (
    (
        Voice(words_per_minute=160, pitch=40, name="en-us"),
        "The ferry leaves the harbour at seven, and it rarely waits. Nine people asked for a "
        "window seat. Would you pass me the small blue teapot?",
    ),
    (
        Voice(words_per_minute=165, pitch=55, name="en-us+f3"),
        "My order number is four, eight, one, five. The parcel was sent on Thursday to my old "
        "address. Could somebody check where it is?",
    ),
    (
        Voice(words_per_minute=155, pitch=30, name="en-gb+m3"),
        "Fresh bread is best while the crust still cracks. They fished from the bridge until "
        "the moon rose. His shop sells chalk and cheap shoes.",
    ),
    (
        Voice(words_per_minute=170, pitch=65, name="en-gb+f2"),
        "Take the second turning on the left, just past the church. A thick fog hid the village "
        "all morning. Which of these books have you read twice?",
    ),
)
MOST_CLIPS: Final = len(_CLIPS)

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Clip:
    """Where one is in a programme, in samples."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Programme:
    """All that a caller says in a call."""

    samples: Samples
    clips: Sequence[Clip]


async def programme(clips: int) -> Programme:
    """Make a programme of the first `clips` clips, up to `MOST_CLIPS`.

    Raises:
        BackendError: espeak-ng failed, or is not there.
    """
    lead_in = Voice().speak(_LEAD_IN, RATE)
    spoken = await asyncio.gather(
        lead_in, *(voice.speak(text, RATE) for voice, text in _CLIPS[:clips])
    )
    first, *others = (np.frombuffer(pcm, dtype="<i2").astype(np.int16) for pcm in spoken)
    return join(first, others)


def join(lead_in: Samples, clips: Sequence[Samples]) -> Programme:
    """Put clips one behind the other, with a pause before, between and after them."""
    pause = np.zeros(int(PAUSE_S * RATE), dtype=np.int16)
    parts, places = [lead_in, pause], []
    for clip in clips:
        begin = sum(map(len, parts))
        places.append(Clip(begin, begin + len(clip)))
        parts += [clip, pause]
    return Programme(np.concatenate(parts), places)
