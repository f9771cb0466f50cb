"""Makes `opus-speech.txt` again: the sizes of the Opus packets of a spoken minute.

Run it from the checkout: ``.venv/bin/python bench/trace/make.py``. It needs espeak-ng and the
packages of ``requirements/dev.txt``.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import av
import numpy as np

from firsthop.speech.espeak import Voice

TRACE = Path(__file__).with_name("opus-speech.txt")
SAMPLE_RATE = 48_000
FRAME = SAMPLE_RATE // 50
BITRATE = 30_000
#: Between what is said, in samples: a caller listens for a while.
PAUSE = np.zeros(SAMPLE_RATE, dtype=np.int16)
LINES = (
    "Good morning, I would like to book a table for two people, for tomorrow night, if I may.",
    "Yes. Around half past seven would be perfect, but eight o'clock is fine as well.",
    "My name is Anderson. That is A, N, D, E, R, S, O, N.",
    "The number is zero one six three, five five five, nine eight two seven.",
    "Oh, and one of us does not eat fish, so could you tell me what else there is on the menu?",
    "Hm, that sounds lovely. Do you have a quiet place by the window, away from the kitchen?",
    "No, thank you, we will come by train, so we do not need a place to park the car.",
    "Right. So tomorrow at half past seven, for two people, under the name of Anderson.",
    "Thank you very much for your help. See you tomorrow, then. Good bye!",
)
HEAD = f"""\
# Payload bytes of one Opus packet per 20 ms, in order: a caller's side of a phone call.
# Spoken by espeak-ng, a second of silence between the lines; libopus, mono,
# {BITRATE // 1000} kbit/s variable, application voip, no DTX. RTP adds 12 bytes, SRTP's tag 10.
# Made by bench/trace/make.py.
"""


async def speech() -> np.ndarray:
    """Return the call, at 48 kHz."""
    voice = Voice()
    parts = []
    for line in LINES:
        parts += [np.frombuffer(await voice.speak(line, SAMPLE_RATE), dtype="<i2"), PAUSE]
    return np.concatenate(parts)


def packet_sizes(samples: np.ndarray) -> list[int]:
    """Encode `samples`, and return the bytes of each packet."""
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = SAMPLE_RATE, "mono", "s16"
    encoder.bit_rate = BITRATE
    encoder.options = {"application": "voip", "frame_duration": "20", "vbr": "on"}
    sizes = []
    for start in range(0, len(samples) - FRAME + 1, FRAME):
        frame = av.AudioFrame.from_ndarray(
            samples[np.newaxis, start : start + FRAME], format="s16", layout="mono"
        )
        frame.sample_rate, frame.pts = SAMPLE_RATE, start
        sizes += [packet.size for packet in encoder.encode(frame)]
    return sizes + [packet.size for packet in encoder.encode(None)]


def main() -> None:
    """Write the trace."""
    sizes = packet_sizes(asyncio.run(speech()))
    rows = [sizes[start : start + 24] for start in range(0, len(sizes), 24)]
    TRACE.write_text(HEAD + "".join(" ".join(map(str, row)) + "\n" for row in rows))
    print(f"{TRACE.name}: {len(sizes)} packets, {np.mean(sizes):.0f} bytes on average")


main()
