"""Numbers, durations and sums as people say them, in digits or in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_ONES: Final = {
    word: number
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen".split()
    )
}
_TENS: Final = {
    word: 10 * number
    for number, word in enumerate(
        "twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2
    )
}
_SCALES: Final = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
_DIGITS: Final = re.compile(r"\d{1,15}(\.\d{1,15})?")
_SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600}
#: Phrases of operators, the longest first, and what they are in an expression.
_OPERATORS: Final = (
    ("to the power of", "**"),
    ("multiplied by", "*"),
    ("divided by", "/"),
    ("percent of", "/ 100 *"),
    ("plus", "+"),
    ("minus", "-"),
    ("times", "*"),
    ("over", "/"),
    ("x", "*"),
    ("+", "+"),
    ("-", "-"),
    ("*", "*"),
    ("/", "/"),
)
#: Orders: their first word, the word between the numbers, the operator, and whether they turn.
_ORDERS: Final = (
    ("add", ("and", "to"), "+", False),
    ("multiply", ("by", "and", "with"), "*", False),
    ("divide", ("by",), "/", False),
    ("subtract", ("from",), "-", True),
)


def words_of(text: str) -> list[str]:
    """Split a text into words, numbers and signs, in lower case."""
    text = text.lower().replace(",", "")
    return re.findall(r"\d+\.\d+|\d+|[a-z']+|[-+*/%]", text.replace("%", " percent "))


def number(words: Sequence[str], at: int = 0) -> tuple[float, int] | None:
    """Read a number that begins at a word.

    Returns:
        The number, and where it ends; None if there is none.
    """
    if at >= len(words):
        return None
    if _DIGITS.fullmatch(words[at]):
        return float(words[at]), at + 1
    start, total, part = at, 0, 0
    if words[at] == "a" and at + 1 < len(words) and words[at + 1] in _SCALES:
        part, at = 1, at + 1
    while at < len(words):
        word = words[at]
        if word in _ONES and part % 10 == 0 and (part % 100 == 0 or _ONES[word] < 10):
            part += _ONES[word]
        elif word in _TENS and part % 100 == 0:
            part += _TENS[word]
        elif word in _SCALES and part and _SCALES[word] > _scale(part):
            part *= _SCALES[word]
            if _SCALES[word] > 100:
                total, part = total + part, 0
        elif word == "and" and (part or total) and _goes_on(words, at + 1, part or total):
            pass
        else:
            break
        at += 1
    if at == start:
        return None
    value = float(total + part)
    return _with_fraction(words, at, value)


def duration(words: Sequence[str]) -> float | None:
    """Read the first duration in some words, in seconds; None if there is none."""
    for at in range(len(words)):
        if (found := _span(words, at)) is not None:
            seconds, end = found
            more = _span(words, end + 1 if words[end : end + 1] == ["and"] else end)
            return seconds + more[0] if more is not None else seconds
    return None


def expression(words: Sequence[str]) -> str | None:
    """Return the sum that some words ask for, as an expression; None if they ask for none."""
    for verb, between, operator, turned in _ORDERS:
        if verb in words and (found := _order(words, words.index(verb) + 1, between)) is not None:
            first, second = found[::-1] if turned else found
            return f"{first} {operator} {second}"
    for at in range(len(words)):
        if (found_sum := _sum(words, at)) is not None:
            return found_sum
    return None


def _with_fraction(words: Sequence[str], at: int, value: float) -> tuple[float, int]:
    """Go on behind "point"."""
    digits = ""
    if words[at : at + 1] == ["point"]:
        end = at + 1
        while end < len(words) and (words[end] in _ONES or words[end].isdigit()):
            digits += str(_ONES.get(words[end], words[end]))
            end += 1
    return (float(f"{value:.0f}.{digits}"), end) if digits else (value, at)


def _scale(part: int) -> int:
    """The least scale that may follow a number: a hundred after 99, a thousand after 999."""
    return 99 if part >= 100 else 1


def _goes_on(words: Sequence[str], at: int, so_far: int) -> bool:
    """Whether "and" joins parts of one number, as in a hundred and five."""
    follows = words[at : at + 1]
    small = bool(follows) and (follows[0] in _ONES or follows[0] in _TENS)
    return small and so_far % 100 == 0


def _span(words: Sequence[str], at: int) -> tuple[float, int] | None:
    """Read one number with its unit, as "an hour and a half" or "one and a half minutes"."""
    rest = " ".join(words[at : at + 6])
    special = re.match(
        r"(half|a half|quarter of|a quarter of) (?:an? )?(second|minute|hour)s?\b", rest
    )
    if special is not None:
        part = 0.5 if "half" in special[1] else 0.25
        return part * _SECONDS[special[2]], at + len(special[0].split())
    if words[at : at + 1] in (["a"], ["an"]) and _unit(words, at + 1):
        value, end = 1.0, at + 1
    elif (found := number(words, at)) is not None:
        value, end = found
    else:
        return None
    if words[end : end + 3] == ["and", "a", "half"]:
        value, end = value + 0.5, end + 3
    if not (unit := _unit(words, end)):
        return None
    end += 1
    if words[end : end + 3] == ["and", "a", "half"]:
        value, end = value + 0.5, end + 3
    return value * unit, end


def _unit(words: Sequence[str], at: int) -> int:
    return _SECONDS.get(words[at].rstrip("s"), 0) if at < len(words) else 0


def _order(words: Sequence[str], at: int, between: Sequence[str]) -> tuple[str, str] | None:
    first = number(words, at)
    if first is None or not set(words[first[1] : first[1] + 1]) & set(between):
        return None
    second = number(words, first[1] + 1)
    return None if second is None else (_plain(first[0]), _plain(second[0]))


def _sum(words: Sequence[str], at: int) -> str | None:
    """Read a sum that begins at a word: operands with operators between, or one that is enough."""
    parts: list[str] = []
    enough = False
    while (operand := _operand(words, at)) is not None:
        text, at, whole = operand
        parts.append(text)
        enough |= whole
        if (operator := _operator(words, at)) is None:
            break
        parts.append(operator[0])
        at = operator[1]
    if len(parts) % 2 == 0:
        parts = parts[:-1]
    return " ".join(parts) if len(parts) > 1 or (parts and enough) else None


def _operand(words: Sequence[str], at: int) -> tuple[str, int, bool] | None:
    """Read a number, or something like the square root of one, which is a sum by itself."""
    rest = " ".join(words[at : at + 4])
    prefix = re.match(r"(?:the )?(square root of|half of)\b", rest)
    start = at + len(prefix[0].split()) if prefix else at
    found = number(words, start)
    if found is None:
        return None
    text, end = _plain(found[0]), found[1]
    if prefix is not None:
        return (f"sqrt({text})" if "root" in prefix[1] else f"{text} / 2"), end, True
    power = {"squared": "** 2", "cubed": "** 3"}.get(words[end] if end < len(words) else "")
    return (f"{text} {power}", end + 1, True) if power else (text, end, False)


def _operator(words: Sequence[str], at: int) -> tuple[str, int] | None:
    for phrase, sign in _OPERATORS:
        length = len(phrase.split())
        if " ".join(words[at : at + length]) == phrase:
            return sign, at + length
    return None


def _plain(value: float) -> str:
    return f"{value:g}" if abs(value) < 1e6 and value != int(value) else f"{value:.0f}"
