"""Text that comes in pieces of any size, in pieces that are worth speaking. No I/O.

The first piece is early, because somebody waits for it: a short sentence, or a clause. The others
are sentences, or a few that are short.
"""
# ruff: noqa: RUF001 (stops and quotes of many languages look like others)

from __future__ import annotations

import re
from typing import Final

#: Shortest first sentence, shortest first clause, and shortest sentence after that, in letters.
_FIRST_SENTENCE: Final = 5
_FIRST_CLAUSE: Final = 30
_SENTENCE: Final = 20
#: Longest piece, in letters: what is longer is parted where it hurts least.
_LONGEST: Final = 300
#: Text is looked at in steps of so many characters, so that a long one takes no longer for each.
_STEP: Final = 500

_CLOSERS: Final = "\"'”’»›)\\]}*_`~」』）】〉》"
#: Where a piece may end. Quotes and brackets that close after a stop belong to it. What follows has
#: to be seen: "3.14" and "10:30" go on, and so may "。」".
_MARK: Final = re.compile(
    rf"(?P<stop>[.!?…؟۔।]++)[{_CLOSERS}]*+(?=\s)"
    rf"|(?P<wide>[。！？｡]++)[{_CLOSERS}]*+(?=.)"
    rf"|(?P<line>\n)"
    rf"|(?P<clause>[,;:،؛][{_CLOSERS}]*+(?=\s)|(?<=\s)[-–—](?=\s)|—(?=.)|[，、；：](?=.))",
    re.DOTALL,
)
_BLANKS: Final = re.compile(r"\s*")
_MANY_BLANKS: Final = re.compile(r"(\s{8})\s+")
#: Letters of scripts that take about three letters of others each.
_WIDE: Final = re.compile(r"[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uff60]")
_INITIALS: Final = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_LIST_NUMBER: Final = re.compile(r"(?:^|\n)\s*\d{1,3}$")
#: What ends in a dot within sentences: always, or before a number.
_ABBREVIATIONS: Final = frozenset(
    "mr mrs ms mx dr prof rev hon st gen col capt lt sgt sen rep gov pres mt messrs mme mlle "
    "vs cf approx ca al viz resp bzw evtl ggf inkl nr str".split()
)
_BEFORE_NUMBERS: Final = frozenset(
    "no nos fig figs vol p pp ch sec art tel ext "
    "jan feb mar apr jun jul aug sep sept oct nov dec".split()
)


class Sentences:
    """Takes an answer as it comes.

    Joined, the pieces are the text as it came, but for blanks at its beginning and end, and those
    beyond eight in a row. Pieces may begin with blanks and do not end with any.
    """

    def __init__(self) -> None:
        self._rest = ""
        self._first = True

    def feed(self, text: str) -> list[str]:
        """Return the pieces that are complete now."""
        pieces: list[str] = []
        for at in range(0, len(text), _STEP):
            self._rest = _MANY_BLANKS.sub(r"\1", self._rest + text[at : at + _STEP])
            if self._first:
                self._rest = self._rest.lstrip()
            while (end := self._end()) is not None:
                pieces.append(self._rest[:end])
                self._rest = self._rest[end:]
                self._first = False
        return pieces

    def finish(self) -> list[str]:
        """Return what is left, and begin anew."""
        rest = self._rest.rstrip()
        self._rest, self._first = "", True
        return [rest] if rest else []

    def _end(self) -> int | None:
        """Where the next piece ends, if that can be told by now."""
        end = next((at for mark in _MARK.finditer(self._rest) if (at := self._at(mark))), None)
        if _letters(self._rest[:end]) > _LONGEST:
            return self._parting()
        return end

    def _at(self, mark: re.Match[str]) -> int:
        """Where a piece ends that ends with a mark; 0 if none does."""
        end = len(self._rest[: mark.end()].rstrip())
        letters = _letters(self._rest[:end])
        if mark["clause"]:
            return end if self._first and letters >= _FIRST_CLAUSE else 0
        if letters < (_FIRST_SENTENCE if self._first else _SENTENCE):
            return 0
        if mark["stop"] and not self._is_sentence(mark):
            return 0
        return end if any(map(str.isalnum, self._rest[:end])) else 0

    def _is_sentence(self, mark: re.Match[str]) -> bool:
        """Whether a stop with a blank behind ends a sentence."""
        gap = _BLANKS.match(self._rest, mark.end())
        assert gap is not None
        if "\n" in gap[0]:
            return True
        following = self._rest[gap.end() : gap.end() + 1]
        if not following or following.islower():
            return False
        return mark["stop"] != "." or not _is_within(self._rest[: mark.start()], following)

    def _parting(self) -> int:
        """Where to part what is too long: after a clause, else a word, else anywhere."""
        length = _LONGEST
        while _letters(self._rest[:length]) > _LONGEST:
            length = length * 3 // 4
        text = self._rest[:length]
        clauses = [mark.end() for mark in _MARK.finditer(text) if not mark["line"]]
        if clauses and clauses[-1] > length // 3:
            return clauses[-1]
        words = max((blank.start() for blank in re.finditer(r"\s", text)), default=0)
        return len(text[:words].rstrip()) or length


def _is_within(before: str, following: str) -> bool:
    """Whether a dot after this is no end: of an abbreviation, an initial, a number in a list."""
    if _LIST_NUMBER.search(before):
        return True
    word = before.split()[-1].lstrip("\"'“‘«([*_").lower() if before.split() else ""
    if word in _ABBREVIATIONS or _INITIALS.fullmatch(word):
        return True
    return word in _BEFORE_NUMBERS and following.isdigit()


def _letters(text: str) -> int:
    """How long a text is to say, in letters."""
    return len(text.strip()) + 2 * len(_WIDE.findall(text))


_LINK: Final = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*\)")
_LINE_MARK: Final = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|(?:>[ \t]?)+|[-*+•‣◦][ \t]+|```\w*$)", re.M)
_RULE: Final = re.compile(r"^[ \t]*(?:[-*_=][ \t]*){3,}$|^(?=.*---)[ \t:|-]+$", re.M)
_EMPHASIS: Final = re.compile(r"\*{2,}|~~|`+|(?<!\w)[*_]+(?=\S)|(?<=\S)[*_]+(?!\w)")
_CELLS: Final = re.compile(r"[ \t]*\|[ \t]*")
_EMOJI: Final = re.compile(
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\ufe0f\u200d\u20e3\U000e0020-\U000e007f]+"
)
_ENDS: Final = tuple(".!?…:;,。！？：；，、؟۔।—–-")


def spoken(text: str) -> str:
    """Return a piece as a voice should read it: without markup, rules and emoji, in one line.

    Empty if nothing of it can be said. For synthesisers only: a transcript shows what was written.
    """
    text = _RULE.sub("", text)
    text = _LINE_MARK.sub("", _LINK.sub(r"\1", text))
    text = _EMOJI.sub("", _EMPHASIS.sub("", text))
    lines = [" ".join(_cells(line).split()) for line in text.splitlines()]
    lines = [line for line in lines if any(map(str.isalnum, line))]
    # What stood in lines of their own is not said in one breath.
    ended = [line if line.endswith(_ENDS) else f"{line}." for line in lines[:-1]]
    return " ".join([*ended, *lines[-1:]])


def _cells(line: str) -> str:
    """A row of a table as words."""
    if not line.lstrip().startswith("|"):
        return line
    return ", ".join(cell for cell in _CELLS.split(line) if cell.strip())
