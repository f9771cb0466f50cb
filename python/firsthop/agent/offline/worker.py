"""The process that recognises speech: pocketsphinx keeps a core busy, and Python with it.

It is run as a script, for it needs nothing else of firsthop, and is there sooner so. It is spoken
to by its standard streams, in frames: a byte that says what it is, the length of the rest (32 bits,
big endian), the rest. ``A`` is sound, PCM16LE, mono, 16 kHz; ``E`` ends a turn, and is answered by
``T`` and the text in UTF-8; ``R`` forgets the turn. ``T`` and no text at the start says that it is
ready.

Two decoders listen. One knows only what callers of the offline agent are likely to say, and knows
that well. It is quick, and hears the whole turn at once, when the caller pauses or the turn ends.
The other knows English, takes longer, and follows while the caller speaks; it is often close, and
seldom right. Where both heard about the same sounds, the first is believed.
"""

from __future__ import annotations

import os
import re
import signal
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final

import numpy as np
import pocketsphinx

#: Of the sound, in Hz.
RATE: Final = 16_000
#: What stands before each frame.
HEAD: Final = struct.Struct(">cI")
#: The longest frame, in bytes.
MAX_FRAME: Final = 16 * 1024 * 1024
GRAMMAR: Final = Path(__file__).with_name("commands.gram")

#: How much sound tells what the microphone makes of a voice, in bytes: 0.8 s. Without it the first
#: seconds of a turn are not understood.
_ACQUAINTANCE: Final = 2 * RATE * 8 // 10
#: What the general decoder is given at once, in bytes: 100 ms. In smaller pieces it takes longer.
_STEP: Final = 2 * RATE // 10
#: Models of sounds that it follows at the same time. Noise looks like all of them.
_MAX_MODELS: Final = 10_000
#: The longest turn that may be a command, in bytes: 12 s.
_MAX_COMMAND: Final = 2 * RATE * 12
#: How often a turn is taken to be over before it is, and until when, in bytes: 6 s. Hearing it
#: takes a tenth of its length each time.
_MAX_GUESSES: Final = 3
_MAX_GUESSED: Final = 2 * RATE * 6
#: What is heard of a turn, in bytes: a minute.
_MAX_TURN: Final = 2 * RATE * 60
#: What is loud or not, in samples: 20 ms.
_WINDOW: Final = RATE // 50
#: A pause, in windows, and how much quieter it is than the loudest window, in dB.
_PAUSE: Final = 10
_QUIETER_DB: Final = 20
#: Quieter than this is silence, in dB over one bit: little more than the noise that is added, of
#: so many bits. Silence without any, as lines with noise suppression have it, is like nothing that
#: the decoders know, and spoils what they take for the average.
_SILENCE_DB: Final = 35
_NOISE: Final = 32
#: The least share of what is loud that a command has to explain.
_LEAST_COVER: Final = 0.75
#: How different both may have heard it for a command to be believed, 0 to 1.
_MOST_DIFFERENT: Final = 0.6
#: As many phones are heard in a cough. A word so short is believed as a command only.
_COUGH: Final = 4
#: Sounds that are taken for each other.
_FAMILIES: Final = {
    phone: number
    for number, family in enumerate(
        (
            "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW",
            "P B",
            "T D TH DH",
            "K G",
            "F V",
            "S Z SH ZH CH JH",
            "M N NG",
            "L R",
            "W Y HH",
        )
    )
    for phone in family.split()
}


def difference(some: Sequence[str], other: Sequence[str]) -> float:
    """How different two sequences of phones are: 0 is the same, 1 nothing in common."""
    row = [float(number) for number in range(len(other) + 1)]
    for number, phone in enumerate(some, start=1):
        above, row[0] = row.copy(), float(number)
        for place, heard in enumerate(other):
            changed = above[place] + _distance(phone, heard)
            row[place + 1] = min(changed, above[place + 1] + 1, row[place] + 1)
    return row[-1] / max(len(some), len(other), 1)


def words_of(grammar: str) -> set[str]:
    """The words of a grammar in JSGF."""
    rules = grammar[grammar.index("grammar ") :].partition(";")[2]
    plain = re.sub(r"<\w+>|/[\d.]+/|\bpublic\b", " ", rules)
    return set(re.findall(r"[a-z']+", plain))


class Recogniser:
    """Both decoders, and the turn that they hear."""

    def __init__(self) -> None:
        model = Path(pocketsphinx.get_model_path()) / "en-us"
        with TemporaryDirectory() as folder:
            dictionary = Path(folder) / "words.dict"
            entries = _entries(model / "cmudict-en-us.dict", words_of(GRAMMAR.read_text()))
            dictionary.write_text(entries)
            small: dict[str, Any] = {"lm": None, "jsgf": str(GRAMMAR), "dict": str(dictionary)}
            self._command = _decoder(cmn="batch", **small)
            # A second pass over all that was said would take long, and hears hardly better.
            self._general = _decoder(fwdflat=False, maxhmmpf=_MAX_MODELS)
        self.forget()

    def forget(self) -> None:
        """Forget the turn."""
        if getattr(self, "_following", False):
            self._general.end_utt()
        self._sound = bytearray()
        self._levels: list[float] = []
        self._chance = np.random.default_rng(1)
        self._followed = 0
        self._following = False
        self._guess: str | None = None
        self._guesses = 0

    def hear(self, pcm: bytes) -> None:
        """Take the next sound."""
        if not pcm:
            return
        self._sound += self._with_noise(pcm[: _MAX_TURN - len(self._sound)])
        if len(self._sound) >= max(_ACQUAINTANCE, self._followed + _STEP):
            self._follow()
        measured = 2 * _WINDOW * len(self._levels)
        self._levels += _loudness(bytes(self._sound[measured:]))
        if not _pauses(self._levels):
            self._guess = None
        elif self._guess is None and self._guesses < _MAX_GUESSES:
            # Perhaps the turn is over. There is time to find out until that is decided.
            if len(self._sound) <= _MAX_GUESSED:
                self._guess = self._as_command()
                self._guesses += 1

    def finish(self) -> str:
        """Return what was said, and forget the turn."""
        if max(self._levels, default=0) < _SILENCE_DB:
            self.forget()
            return ""
        command = self._as_command() if self._guess is None else self._guess
        self._follow()
        self._following = False
        self._general.end_utt()
        general = _words(self._general)
        self.forget()
        phones = self._phones(general)
        if command and difference(self._phones(command), phones) <= _MOST_DIFFERENT:
            return command
        return general if len(phones) > _COUGH else ""

    def _with_noise(self, pcm: bytes) -> bytes:
        samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2")
        noisy = samples + self._chance.normal(0, _NOISE, len(samples))
        return noisy.clip(-32768, 32767).astype("<i2").tobytes()

    def _follow(self) -> None:
        """Give the general decoder what it has not heard yet."""
        if not self._following:
            average = _average(self._command, bytes(self._sound))
            _begin(self._general)
            self._general.set_cmn(average)
            self._following = True
        if rest := bytes(self._sound[self._followed :]):
            self._general.process_raw(rest)
            self._followed = len(self._sound)

    def _as_command(self) -> str:
        """What was said, if it is a command; empty if it cannot be one."""
        if len(self._sound) > _MAX_COMMAND:
            return ""
        _begin(self._command)
        self._command.process_raw(bytes(self._sound), full_utt=True)
        self._command.end_utt()
        loud = np.array(self._levels) > max(self._levels, default=0) - _QUIETER_DB
        explained = np.zeros(len(loud), dtype=bool)
        for begin, end in _spoken(self._command):
            explained[begin : end + 1] = True
        enough = (explained & loud).sum() >= _LEAST_COVER * loud.sum()
        return _words(self._command) if enough else ""

    def _phones(self, text: str) -> list[str]:
        spelled = (self._general.lookup_word(word) for word in text.split())
        return " ".join(phones for phones in spelled if phones).split()


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Recognise speech until the source ends."""
    recogniser = Recogniser()
    _say(target, "")
    while len(head := source.read(HEAD.size)) == HEAD.size:
        kind, length = HEAD.unpack(head)
        rest = source.read(length)
        if kind == b"A":
            recogniser.hear(rest)
        elif kind == b"R":
            recogniser.forget()
        elif kind == b"E":
            _say(target, recogniser.finish())


def _say(target: BinaryIO, text: str) -> None:
    said = text.encode()
    target.write(HEAD.pack(b"T", len(said)) + said)
    target.flush()


def _decoder(**settings: Any) -> Any:
    return pocketsphinx.Decoder(samprate=RATE, loglevel="FATAL", **settings)


def _entries(dictionary: Path, words: set[str]) -> str:
    """The part of a dictionary that has some words, with all their pronunciations."""
    with dictionary.open(encoding="utf-8") as lines:
        return "".join(line for line in lines if line.split(" ", 1)[0].split("(")[0] in words)


def _begin(decoder: Any) -> None:
    """Begin an utterance as if it were the first.

    What a decoder takes for the noise of a line it keeps from one to the next; but the next one may
    be another caller's, or the same sound once more.
    """
    decoder.reinit_feat()
    decoder.start_utt()


def _average(decoder: Any, pcm: bytes) -> str:
    """The average spectrum of some sound, as a decoder in batch mode finds it."""
    _begin(decoder)
    decoder.process_raw(pcm, no_search=True, full_utt=True)
    decoder.end_utt()
    return str(decoder.get_cmn())


def _words(decoder: Any) -> str:
    hypothesis = decoder.hyp()
    return "" if hypothesis is None else str(hypothesis.hypstr)


def _spoken(decoder: Any) -> Iterable[tuple[int, int]]:
    """Where words were heard: their first and last window."""
    for segment in decoder.seg() or ():
        if segment.word[0] not in "<[(":
            yield segment.start_frame // 2, segment.end_frame // 2


def _loudness(pcm: bytes) -> list[float]:
    """How loud each whole window is, in dB over one bit."""
    whole = len(pcm) // 2 // _WINDOW * _WINDOW
    samples = np.frombuffer(pcm[: 2 * whole], "<i2").astype(np.float32)
    power = (samples.reshape(-1, _WINDOW) ** 2).mean(axis=1)
    return [float(level) for level in 10 * np.log10(power + 1)]


def _pauses(levels: Sequence[float]) -> bool:
    """Whether something was said, and the caller is silent now."""
    if len(levels) <= 2 * _PAUSE:
        return False
    return max(levels[-_PAUSE:]) < max(levels) - _QUIETER_DB


def _distance(phone: str, other: str) -> float:
    if phone == other:
        return 0
    return 0.5 if _FAMILIES.get(phone) == _FAMILIES.get(other) else 1


def main() -> None:
    """Serve whoever started this, after the media, and as long as it is there."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
