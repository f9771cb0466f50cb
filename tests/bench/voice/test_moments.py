"""A turn taken apart, from logs with given numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from firsthop.bench.endpoints import Answer
from firsthop.bench.endpoints import Stage as EndpointStage
from firsthop.bench.errors import BenchError
from firsthop.bench.voice.moments import Log, of_agent

#: Six tokens, and the end mark.
REPLY = "It is noon. All right then?"
SILENCE_S = 0.5
#: The caller's last sound.
END_S = 100.0


def answer(stage: EndpointStage, asked_at: float, *parts_ms: float, text: str = "") -> Answer:
    return Answer(stage, 0, asked_at, parts_ms=list(parts_ms), text=text)


def answers() -> list[Answer]:
    """Each stage is asked some milliseconds after the one before has what it needs."""
    return [
        answer("transcription", 100.520, 150),
        # The third token completes the sentence, the fourth shows that it is over.
        answer("chat", 100.680, 250, 270, 290, 310, 330, 350, 350),
        answer("speech", 100.995, 145, 145, text="It is noon."),
        answer("speech", 101.100, 100, text="All right then?"),
    ]


HEARD_S = 101.150


def test_stages_lie_between_the_moments_that_endpoints_log() -> None:
    moments = Log.of(answers(), REPLY).moments(END_S, HEARD_S)
    assert moments.stages_ms == pytest.approx([520, 150, 260, 210, 10])
    assert sum(moments.stages_ms) == pytest.approx(moments.total_ms)
    assert moments.total_ms == pytest.approx(1150)


def test_own_is_what_neither_the_silence_nor_an_endpoint_takes() -> None:
    # Until transcription is asked, until chat is, until speech is, and until it is heard.
    own_ms = Log.of(answers(), REPLY).own_ms(END_S, HEARD_S, SILENCE_S)
    assert own_ms == pytest.approx(20 + 10 + 5 + 10)


def test_waiting_for_more_than_the_next_token_is_the_chains_own() -> None:
    late = answers()
    late[2] = replace(late[2], asked_at=late[2].asked_at + 0.040)
    own_ms = Log.of(late, REPLY).own_ms(END_S, HEARD_S + 0.040, SILENCE_S)
    assert own_ms == pytest.approx(20 + 10 + 45 + 10)


def test_what_is_transcribed_within_the_silence_is_not_waited_for() -> None:
    early = answers()
    early[0] = answer("transcription", 100.220, 150)
    early[1:] = [replace(each, asked_at=each.asked_at - 0.170) for each in early[1:]]
    own_ms = Log.of(early, REPLY).own_ms(END_S, HEARD_S - 0.170, SILENCE_S)
    assert own_ms == pytest.approx(10 + 5 + 10)


def test_of_endpoints_at_work_together_each_moment_is_taken_off_once() -> None:
    eager = answers()
    # Speech is asked with the sentence, before the next token shows that it is one.
    eager[2] = answer("speech", 100.975, 145, text="It is noon.")
    own_ms = Log.of(eager, REPLY).own_ms(END_S, 101.130, SILENCE_S)
    assert own_ms == pytest.approx(20 + 10 + 0 + 10)


def test_a_reply_of_one_sentence_waits_for_its_end_mark() -> None:
    whole = answers()[:2]
    whole.append(answer("speech", 101.030, 145, text=REPLY))
    assert Log.of(whole, REPLY).needed == 6


@pytest.mark.parametrize("missing", ["transcription", "chat", "speech"])
def test_a_turn_without_a_stage_is_none(missing: str) -> None:
    left = [each for each in answers() if each.stage != missing]
    with pytest.raises(BenchError, match=missing):
        Log.of(left, REPLY)


def test_what_is_said_has_to_be_the_reply() -> None:
    other = answers()
    other[2] = answer("speech", 100.995, 145, text="Sorry, something went wrong.")
    with pytest.raises(BenchError, match="something else"):
        Log.of(other, REPLY)


def test_the_agents_own_times_make_a_turn() -> None:
    times = {"decided": 100.51, "transcript": 100.6, "token": 100.61, "audio": 100.65}
    moments = of_agent(times, END_S, 100.7)
    assert moments.stages_ms == pytest.approx([510, 90, 10, 40, 50])
    with pytest.raises(BenchError, match="audio"):
        of_agent({name: at for name, at in times.items() if name != "audio"}, END_S, 100.7)
