"""What callers say: made here or read from a file, with marks whose echoes can be timed.

A mark is a burst of tone (`MARK_HZ`, 60 ms, -6 dBFS) between silences, 240 ms before it and 180 ms
after it. It begins with a packet of whatever duration, so the moment at which that packet is sent
is the moment at which the mark is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from firsthop._native import OpusPacket, decode, encode
from firsthop.load.errors import UsageError
from firsthop.load.ogg import OggError, opus_packets
from firsthop.speech.conversion import WavSound
from firsthop.speech.wav import WavError

#: Of what is made here, and of files when they are read, in Hz.
RATE: Final = 24_000

MARK_HZ: Final = 1_500
#: What is inserted for a mark, in ms. A multiple of `GRID_MS`, and so is where the tone begins.
MARK_MS: Final = 480
MARK_BEGINS_MS: Final = 240
_TONE_MS: Final = 60
#: -6 dBFS.
_TONE_PEAK: Final = 0.5 * 32767
#: Packets of 10, 20, 40, 60 and 120 ms begin at multiples of this.
GRID_MS: Final = 120
#: Marks stand at pauses, about so far from each other: farther than echoes are late.
_NEXT_MARK_MS: Final = (1_800, 3_000)
_LAST_MARK_MS: Final = 1_200
_FADE_MS: Final = 5

_BITRATE: Final = 32_000
_COMPLEXITY: Final = 5
_PACKET_MS: Final = 20
_MAX_FILE: Final = 64 << 20
_MAX_SECONDS: Final = 300
_MAX_PACKETS: Final = 30_000
#: Quieter is no sound: root mean square of PCM16.
_SILENCE: Final = 30.0

Samples = npt.NDArray[np.int16]


class _UnfitError(Exception):
    """Sound that cannot be said; what it is instead."""


@dataclass(frozen=True, slots=True)
class Sound:
    """Something to say in a loop, as `firsthop._native.Callers` takes it."""

    packets: Sequence[bytes]
    """Opus payloads."""
    marks: Sequence[int]
    """The packets in which a mark begins, by their index."""
    packet_ms: float
    """How long a packet sounds, on average."""

    @property
    def seconds(self) -> float:
        """How long it takes to say it once."""
        return len(self.packets) * self.packet_ms / 1000


def of(
    pcm: Samples,
    rate: int,
    *,
    packet_ms: int = _PACKET_MS,
    bitrate: int = _BITRATE,
    complexity: int = _COMPLEXITY,
) -> Sound:
    """Encode mono PCM, with marks put into it.

    Args:
        pcm: The samples.
        rate: Of the samples: one that Opus knows, in Hz.
        packet_ms: 10, 20, 40 or 60.
        bitrate: In bits per second.
        complexity: Of the encoder, 0 to 10.
    """
    said, marks = marked(pcm, rate)
    packets = encode(
        said.astype("<i2").tobytes(),
        rate=rate,
        bitrate=bitrate,
        complexity=complexity,
        packet_ms=packet_ms,
    )
    size = rate * packet_ms // 1000
    return Sound(tuple(packets), tuple(mark // size for mark in marks), packet_ms)


@cache
def built_in() -> Sound:
    """Return ten seconds of syllables and pauses."""
    return of(syllables(10.0, RATE), RATE)


def read(path: Path) -> Sound:
    """Read what to say from a WAV or an Ogg Opus file.

    WAV of any rate and up to eight channels is encoded; packets of Ogg Opus are said as they are,
    with marks between them.

    Raises:
        UsageError: It cannot be read, is something else, or has no sound in it.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_FILE + 1)
    except OSError as error:
        raise UsageError("--sound", f"{path} cannot be read: {error.strerror}") from None
    if len(data) > _MAX_FILE:
        raise UsageError("--sound", f"{path} is larger than 64 MiB: a minute of speech will do")
    try:
        if data.startswith(b"OggS"):
            return of_packets(list(_limited(opus_packets(data))))
        if data.startswith(b"RIFF"):
            return of(_heard(_wav(data)), RATE)
    except (OggError, WavError, _UnfitError) as error:
        raise UsageError("--sound", f"{path} is {error}") from None
    raise UsageError("--sound", f"{path} is neither WAV nor Ogg Opus: `opusenc` and ffmpeg make it")


def marked(pcm: Samples, rate: int) -> tuple[Samples, tuple[int, ...]]:
    """Insert marks at pauses of mono PCM, one every 2 to 3 seconds and at least one.

    Returns:
        The sound, whole multiples of `GRID_MS` long, and the samples at which marks begin.
    """
    grid = rate * GRID_MS // 1000
    whole = np.pad(pcm, (0, -len(pcm) % grid))
    mark = tone(rate)
    begins = rate * MARK_BEGINS_MS // 1000
    pieces: list[Samples] = []
    marks: list[int] = []
    last = length = 0
    for cut in (*pauses(whole, rate, grid), len(whole)):
        piece = _faded(whole[last:cut], rate)
        length += len(piece)
        pieces.append(piece)
        last = cut
        if cut < len(whole) or not marks or len(piece) >= rate * _LAST_MARK_MS // 1000:
            pieces.append(mark)
            marks.append(length + begins)
            length += len(mark)
    return np.concatenate(pieces), tuple(marks)


def of_packets(packets: Sequence[bytes]) -> Sound:
    """Take Opus packets as they are, and put packets with marks between them.

    Where packets are not all of one duration of 10 ms or more, the only mark is at the end.

    Raises:
        OggError: They are no Opus, or silence, or too short.
    """
    try:
        durations = [OpusPacket(packet).duration_ms for packet in packets]
    except ValueError as error:
        raise OggError(f"an Ogg file with something in it that is not Opus: {error}") from None
    if not packets:
        raise OggError("an Ogg file with no sound in it")
    if min(durations) < 10:
        raise OggError("made of packets of less than 10 ms: expected 20 ms, as voice is sent")
    heard = _heard(np.frombuffer(decode(packets, rate=RATE), "<i2").astype(np.int16))
    uniform = len(set(durations)) == 1
    packet_ms = int(durations[0]) if uniform and GRID_MS % durations[0] == 0 else _PACKET_MS
    cuts: list[int] = []
    if uniform:
        step = RATE * int(durations[0]) // 1000
        cuts = [cut // step for cut in pauses(heard, RATE, step)]
    mark = encode(
        tone(RATE).astype("<i2").tobytes(),
        rate=RATE,
        bitrate=_BITRATE,
        complexity=_COMPLEXITY,
        packet_ms=packet_ms,
    )
    joined: list[bytes] = []
    marks: list[int] = []
    last = 0
    for cut in (*(cut for cut in cuts if cut < len(packets)), len(packets)):
        joined += packets[last:cut]
        marks.append(len(joined) + MARK_BEGINS_MS // packet_ms)
        joined += mark
        last = cut
    seconds = (sum(durations) + len(marks) * MARK_MS) / len(joined)
    return Sound(tuple(joined), tuple(marks), seconds)


def tone(rate: int) -> Samples:
    """Return what is inserted for a mark: silence, the tone, silence."""
    mark = np.zeros(rate * MARK_MS // 1000)
    time = np.arange(rate * _TONE_MS // 1000) / rate
    begin = rate * MARK_BEGINS_MS // 1000
    mark[begin : begin + len(time)] = _TONE_PEAK * np.sin(2 * np.pi * MARK_HZ * time)
    return mark.round().astype(np.int16)


def pauses(pcm: Samples, rate: int, step: int) -> list[int]:
    """Return where to cut: the quietest places, 2 to 3 seconds from each other.

    Args:
        pcm: Mono.
        rate: Of it, in Hz.
        step: Cuts are at multiples of this many samples.
    """
    reach = rate // 50
    energy = np.concatenate(([0.0], np.cumsum(pcm.astype(np.float64) ** 2)))
    nearest, farthest = (rate * ms // 1000 for ms in _NEXT_MARK_MS)
    cuts: list[int] = []
    last = 0
    while last + farthest < len(pcm):
        places = np.arange(-(-(last + nearest) // step), (last + farthest) // step + 1) * step
        loudness = energy[np.minimum(places + reach, len(pcm))] - energy[places - reach]
        last = int(places[np.argmin(loudness)])
        cuts.append(last)
    return cuts


def syllables(seconds: float, rate: int, seed: int = 1) -> Samples:
    """Return what sounds like somebody speaks: vowels in phrases, with pauses. Seeded.

    Args:
        seconds: How long.
        rate: In Hz.
        seed: Of the choice of vowels, lengths and pitch.
    """
    choose = np.random.default_rng(seed)
    pieces: list[npt.NDArray[np.float64]] = []
    length = 0
    while length < seconds * rate:
        for _ in range(int(choose.integers(4, 10))):
            pieces.append(_syllable(choose, rate))
            length += len(pieces[-1])
        pieces.append(np.zeros(int(choose.uniform(0.3, 0.7) * rate)))
        length += len(pieces[-1])
    spoken = np.concatenate(pieces)[: int(seconds * rate)]
    loudest = float(np.abs(spoken).max())
    return (spoken * (0.4 * 32767 / loudest)).round().astype(np.int16)


#: First three formants of vowels as in "spa", "bed", "see", "go", "boot", in Hz.
_VOWELS: Final = (
    (730, 1090, 2440),
    (530, 1840, 2480),
    (270, 2290, 3010),
    (570, 840, 2410),
    (300, 870, 2240),
)
_FORMANT_WIDTHS: Final = (80.0, 110.0, 160.0)


def _syllable(choose: np.random.Generator, rate: int) -> npt.NDArray[np.float64]:
    """A consonant's hiss, and a vowel whose pitch falls."""
    hiss = choose.standard_normal(int(choose.uniform(0.02, 0.06) * rate)) * 0.04
    time = np.arange(int(choose.uniform(0.1, 0.22) * rate)) / rate
    pitch = choose.uniform(105, 150) * (1 - 0.15 * time / time[-1])
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    formants = choose.choice(_VOWELS)
    vowel = np.zeros(len(time))
    for harmonic in range(1, int(min(4_000, rate / 2) / pitch.max())):
        hertz = harmonic * pitch.mean()
        gain = sum(
            1 / (1 + ((hertz - formant) / width) ** 2) / place
            for place, (formant, width) in enumerate(zip(formants, _FORMANT_WIDTHS, strict=True), 1)
        )
        vowel += (gain + 0.02) / harmonic**0.5 * np.sin(harmonic * phase)
    vowel *= np.sin(np.pi * np.arange(len(time)) / len(time)) ** 0.5
    return np.concatenate((hiss, vowel))


def _wav(data: bytes) -> Samples:
    reader = WavSound(RATE)
    pcm = reader.feed(data) + reader.finish()
    if len(pcm) > _MAX_SECONDS * RATE * 2:
        minutes = _MAX_SECONDS // 60
        raise _UnfitError(f"longer than {minutes} minutes: a minute of speech will do")
    return np.frombuffer(pcm, "<i2").astype(np.int16)


def _heard(pcm: Samples) -> Samples:
    """Check that there is something to hear."""
    if not len(pcm) or np.sqrt(np.mean(pcm.astype(np.float64) ** 2)) < _SILENCE:
        raise _UnfitError("silent: expected a file with speech in it")
    return pcm


def _limited(packets: Iterator[bytes]) -> Iterator[bytes]:
    for number, packet in enumerate(packets):
        if number == _MAX_PACKETS:
            raise OggError("longer than ten minutes: a minute of speech will do")
        yield packet


def _faded(pcm: Samples, rate: int) -> Samples:
    """Let a piece begin and end softly, where it was cut."""
    size = min(rate * _FADE_MS // 1000, len(pcm) // 2)
    ramp = np.ones(len(pcm))
    ramp[:size] = np.arange(size) / size if size else 1
    ramp[len(pcm) - size :] = ramp[:size][::-1]
    return (pcm * ramp).round().astype(np.int16)
