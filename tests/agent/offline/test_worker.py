"""What was heard, as two decoders say it, and the grammar of one of them."""

from __future__ import annotations

from pathlib import Path

import pocketsphinx
import pytest

from firsthop.agent.offline.worker import GRAMMAR, difference, words_of


@pytest.mark.parametrize(
    ("some", "other", "expected"),
    [
        ("T AY M", "T AY M", 0),
        ("T AY M", "D AY M", 0.5 / 3),
        ("T AY M", "K AY M", 1 / 3),
        ("T AY M", "AY M", 1 / 3),
        ("T AY M", "", 1),
        ("", "", 0),
    ],
)
def test_what_sounds_alike_differs_less(some: str, other: str, expected: float) -> None:
    assert difference(some.split(), other.split()) == pytest.approx(expected)
    assert difference(other.split(), some.split()) == pytest.approx(expected)


def test_words_of_a_grammar_are_neither_its_rules_nor_its_weights() -> None:
    grammar = "#JSGF V1.0;\n/* not these */\ngrammar g;\npublic <all> = /0.5/ what's <one> | [on];"
    assert words_of(grammar) == {"what's", "on"}


def test_every_word_of_the_grammar_can_be_pronounced() -> None:
    dictionary = Path(pocketsphinx.get_model_path()) / "en-us/cmudict-en-us.dict"
    with dictionary.open(encoding="utf-8") as lines:
        known = {line.split(" ", 1)[0] for line in lines}
    assert words_of(GRAMMAR.read_text()) <= known
