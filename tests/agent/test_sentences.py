"""Text in pieces that are worth speaking."""
# ruff: noqa: RUF001 (stops and quotes of many languages look like others)

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.agent.sentences import Sentences, spoken

LONGEST = 300


def parted(text: str, *, step: int = 4) -> list[str]:
    """The pieces of a text that comes in steps of so many characters."""
    sentences = Sentences()
    pieces = []
    for at in range(0, len(text), step):
        pieces += sentences.feed(text[at : at + step])
    return pieces + sentences.finish()


def test_sentences_come_one_by_one() -> None:
    text = "It is a quarter past three. Is there anything else? I would gladly help you."
    assert parted(text) == [
        "It is a quarter past three.",
        " Is there anything else?",
        " I would gladly help you.",
    ]


def test_a_sentence_comes_as_soon_as_the_next_one_begins() -> None:
    sentences = Sentences()
    assert sentences.feed("It is noon") == []
    assert sentences.feed(".") == []
    assert sentences.feed(" And") == ["It is noon."]
    assert sentences.finish() == [" And"]


def test_a_long_first_sentence_begins_with_a_clause_and_others_stay_whole() -> None:
    text = (
        "Of course I can help you with that, but I need your name, please, before we begin. "
        "Later sentences are whole, however many commas they have, as voices read them better."
    )
    assert parted(text) == [
        "Of course I can help you with that,",
        " but I need your name, please, before we begin.",
        " Later sentences are whole, however many commas they have, as voices read them better.",
    ]


def test_a_first_clause_that_is_too_short_does_not_stand_alone() -> None:
    assert parted("Well, yes, I do, and so do you.") == ["Well, yes, I do, and so do you."]


def test_a_short_first_sentence_comes_alone_and_short_later_ones_join() -> None:
    assert parted("Sure! Yes. No. Maybe so. That depends on the weather.") == [
        "Sure!",
        " Yes. No. Maybe so. That depends on the weather.",
    ]


WHOLE = [
    "Pi is 3.14 and the square root is 1.7724 or so.",
    "Take one, e.g. Alice, or i.e. Bob, or both.",
    "Ask Dr. Smith or Mrs. Miller or Prof. Jones of the institute.",
    "The train leaves at 10:30 and not at 11:15 today.",
    "The U.S. Army and J. R. R. Tolkien have met at 5 p.m. London time.",
    "See https://example.com/a.b?c=1.5,d;e for more of it.",
    "Wait... what was it again... ah yes.",
    "Well… maybe so.",
    "It costs 1,000.50 or 1.000,50 there.",
    "See No. 5 and Fig. 7 of Jan. 12 there.",
    "He said (quietly, e.g. like that.) and left.",
    '"Really?" she asked and "no!" he said.',
]


@pytest.mark.parametrize("text", WHOLE)
@pytest.mark.parametrize("step", [1, 3, 100])
def test_a_dot_within_a_sentence_does_not_end_it(text: str, step: int) -> None:
    before = "This is a sentence that comes first."
    assert parted(f"{before} {text} Then more.", step=step)[1] in {
        f" {text}",
        f" {text} Then more.",
    }


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ('He called: "Come here at once." Then he left.', 'He called: "Come here at once."'),
        ("(It is a long way to go.) Then he left.", "(It is a long way to go.)"),
        ("**It is a long way to go.** Then he left.", "**It is a long way to go.**"),
        ("Is it so?! Then he left.", "Is it so?!"),
        ("It was in 2024. Then he left.", "It was in 2024."),
        ("Here is a list\n1. Milk\n2. Eggs", "Here is a list"),
        ("这是第一句话。然后是第二句。", "这是第一句话。"),
        ("他说：「你好吗？」然后走了。", "他说：「你好吗？」"),
        ("これはペンです！それは本です。", "これはペンです！"),
        ("यह पहला वाक्य है। यह दूसरा है।", "यह पहला वाक्य है।"),
        ("هل أنت بخير؟ نعم أنا بخير.", "هل أنت بخير؟"),
    ],
)
@pytest.mark.parametrize("step", [1, 100])
def test_what_closes_after_a_stop_belongs_to_it(text: str, first: str, step: int) -> None:
    assert parted(text, step=step)[0] == first


def test_a_list_is_parted_at_its_lines() -> None:
    text = "You need these:\n\n1. A litre of fresh milk\n2. A dozen of large eggs\n"
    assert parted(text) == [
        "You need these:",
        "\n\n1. A litre of fresh milk",
        "\n2. A dozen of large eggs",
    ]


def test_a_sentence_without_an_end_is_parted_at_a_clause_or_a_blank() -> None:
    for text in ("and so on, and on " * 100, "on and on " * 100):
        pieces = parted(text)
        assert all(len(piece.strip()) <= LONGEST for piece in pieces)
        assert all(len(piece) > LONGEST // 3 for piece in pieces[1:-1])
        words = [word for piece in pieces for word in piece.split()]
        assert words == text.split()
    assert parted("and so on, and on " * 100)[1].endswith(",")


def test_a_word_without_an_end_is_parted_anywhere() -> None:
    pieces = parted("x" * 10_000)
    assert "".join(pieces) == "x" * 10_000
    assert max(map(len, pieces)) == LONGEST


def test_blanks_without_an_end_are_not_kept() -> None:
    sentences = Sentences()
    assert sentences.feed("Hello to all of you") == []
    for _ in range(1000):
        assert "".join(sentences.feed("\n \t" * 100)).strip() in {"", "Hello to all of you"}
    assert len(sentences._rest) <= 8
    assert sentences.finish() == []


def test_one_splitter_takes_one_answer_after_the_other() -> None:
    sentences = Sentences()
    sentences.feed("A first answer. And its rest")
    assert sentences.finish() == [" And its rest"]
    assert sentences.feed("  Sure! And") == ["Sure!"]


PIECES = st.lists(
    st.sampled_from([*"ab ,.;:!?\n\t-–—\"'”)(*_`1。！，「」é", "Dr.", "e.g.", "  ", "...", "word "])
).map("".join)


@given(st.lists(st.one_of(PIECES, st.text())))
def test_nothing_is_lost_whatever_comes(deltas: list[str]) -> None:
    sentences = Sentences()
    pieces = [piece for delta in deltas for piece in sentences.feed(delta)]
    pieces += sentences.finish()
    text = re.sub(r"(\s{8})\s+", r"\1", "".join(deltas).strip())
    assert "".join(pieces) == text
    for piece in pieces:
        assert piece.strip()
        assert piece == piece.rstrip()
        assert len(piece.strip()) <= LONGEST


@given(PIECES, st.integers(1, 20))
def test_it_does_not_matter_how_a_text_comes(text: str, step: int) -> None:
    assert parted(text, step=step) == parted(text, step=1)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("**Bold**, *it*, __b__, _i_ and ~~gone~~.", "Bold, it, b, i and gone."),
        ("snake_case, 2*3 and 2 * 3 stay.", "snake_case, 2*3 and 2 * 3 stay."),
        ("# A heading\n\nAnd text.", "A heading. And text."),
        ("Use `pip install`:", "Use pip install:"),
        ("```python\nprint(1)\n```", "print(1)"),
        ("- one\n* two\n  + three\n4. four", "one. two. three. 4. four"),
        ("> quoted", "quoted"),
        ("See [the docs](https://a.b/c) now.", "See the docs now."),
        ("![A cat](cat.png)", "A cat"),
        ("| a | b |\n|---|:-:|\n| 1 | 2 |", "a, b. 1, 2"),
        ("before\n---\nafter", "before. after"),
        ("Great 🎉👍🏽 job ✨!", "Great job !"),
        ("☀️", ""),
        ("***", ""),
        ('"', ""),
        (" What?\n", "What?"),
        ("3.14 at 10:30", "3.14 at 10:30"),
        ("你好。", "你好。"),
    ],
)
def test_a_voice_reads_words_and_no_markup(written: str, read: str) -> None:
    assert spoken(written) == read


@given(st.one_of(PIECES, st.text(st.sampled_from("[](){}|*_`~#->ab \n!"))))
def test_what_is_spoken_is_one_line_or_nothing(text: str) -> None:
    said = spoken(text)
    assert said == " ".join(said.split())
    assert not said or any(map(str.isalnum, said))
