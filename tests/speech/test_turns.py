"""Turns, by the real model. Time is that of the audio, so nothing here depends on the machine."""

from __future__ import annotations

import numpy as np
import pytest

from firsthop.call import SpeechEnded, SpeechStarted
from firsthop.config import TurnSettings
from firsthop.speech.turns import TurnDetector, TurnRules
from speech.sentence import audible_ms, length_ms, silence, spoken

RATE = 16_000
FRAME_MS = 20
WINDOW_MS = 32
LEAD_MS = 1000
#: Windows that a start may take, from the first sound that can be heard.
START_WINDOWS = 3


def rules(settings: TurnSettings | None = None) -> TurnRules:
    settings = settings or TurnSettings()
    return TurnRules(
        threshold=settings.threshold,
        prefix_padding_ms=settings.prefix_padding_ms,
        silence_ms=settings.silence_duration_ms,
    )


class Heard:
    """What a detector made of a stream, and after how much of it."""

    def __init__(
        self,
        stream: bytes,
        sample_rate: int = RATE,
        settings: TurnSettings | None = None,
        frame_ms: int = FRAME_MS,
        *,
        alert: bool = False,
    ) -> None:
        self.detector = TurnDetector(rules(settings), sample_rate)
        self.starts: list[tuple[int, SpeechStarted]] = []
        self.ends: list[tuple[int, SpeechEnded]] = []
        size = 2 * (frame_ms * sample_rate // 1000)
        for begin in range(0, len(stream), size):
            fed_ms = length_ms(stream[: begin + size], sample_rate)
            for event in self.detector.feed(stream[begin : begin + size], alert=alert):
                if isinstance(event, SpeechStarted):
                    self.starts.append((fed_ms, event))
                else:
                    self.ends.append((fed_ms, event))


async def conversation(sample_rate: int, tail_ms: int = 2000) -> bytes:
    lead, tail = silence(LEAD_MS, sample_rate), silence(tail_ms, sample_rate)
    return lead + await spoken(sample_rate) + tail


@pytest.mark.parametrize("sample_rate", [8000, 12_000, 16_000, 24_000, 48_000])
async def test_one_sentence_is_one_turn_at_every_rate(sample_rate: int) -> None:
    stream = await conversation(sample_rate)
    first_sound_ms, last_sound_ms = audible_ms(stream, sample_rate)
    heard = Heard(stream, sample_rate)
    [(started_after_ms, started)], [(ended_after_ms, ended)] = heard.starts, heard.ends

    assert started_after_ms <= first_sound_ms + START_WINDOWS * WINDOW_MS
    assert abs(started.at_ms - first_sound_ms) <= START_WINDOWS * WINDOW_MS
    assert abs(ended.at_ms - last_sound_ms) <= 150, "the voice fades"
    # The silence is handed over with the frame that completes it.
    silence_ms = TurnSettings().silence_duration_ms
    assert silence_ms <= ended_after_ms - ended.at_ms <= silence_ms + FRAME_MS
    assert not heard.detector.speaking


@pytest.mark.parametrize("offset_ms", [0, 5, 10, 15, 20, 25, 30])
async def test_silence_begins_where_sound_ends_wherever_windows_do(offset_ms: int) -> None:
    stream = silence(offset_ms, RATE) + await conversation(RATE)
    _, last_sound_ms = audible_ms(stream, RATE)
    [(ended_after_ms, ended)] = Heard(stream).ends
    assert ended.at_ms == pytest.approx(last_sound_ms, abs=30)
    assert ended_after_ms - last_sound_ms <= TurnSettings().silence_duration_ms + 30 + FRAME_MS


async def test_where_noise_goes_on_silence_begins_where_the_model_hears_no_speech() -> None:
    stream = np.frombuffer(await conversation(RATE), dtype="<i2").astype(np.float64)
    noise = np.random.default_rng(1).normal(0, 600, len(stream))
    noisy = (stream + noise).clip(-32768, 32767).astype("<i2").tobytes()
    [(ended_after_ms, ended)] = Heard(noisy).ends
    silence_ms = TurnSettings().silence_duration_ms
    # In whole windows: what is not judged yet may be speech.
    assert silence_ms <= ended_after_ms - ended.at_ms <= silence_ms + WINDOW_MS + FRAME_MS
    assert abs(ended.at_ms - audible_ms(stream.astype("<i2").tobytes(), RATE)[1]) <= 150


@pytest.mark.parametrize("prefix_padding_ms", [0, 100, 300, 900])
async def test_a_turn_is_a_stretch_of_the_stream_with_its_padding(prefix_padding_ms: int) -> None:
    settings = TurnSettings(prefix_padding_ms=prefix_padding_ms)
    stream = await conversation(RATE)
    # Marked, so that every stretch of the stream is found in one place only.
    marked = np.frombuffer(stream, dtype="<i2") + (np.arange(len(stream) // 2) % 19).astype("<i2")
    stream = marked.astype("<i2").tobytes()
    heard = Heard(stream, settings=settings)
    [(_, started)], [(ended_after_ms, ended)] = heard.starts, heard.ends

    begin = len(stream[: 2 * RATE * ended_after_ms // 1000]) - len(ended.audio)
    assert stream[begin : begin + len(ended.audio)] == ended.audio, "up to now, without gaps"
    padding_ms = started.at_ms - length_ms(stream[:begin], RATE)
    assert prefix_padding_ms <= padding_ms <= prefix_padding_ms + 3 * WINDOW_MS + FRAME_MS


async def test_padding_is_no_more_than_there_was() -> None:
    heard = Heard(await spoken(RATE) + silence(1000, RATE))
    [(_, started)], [(ended_after_ms, ended)] = heard.starts, heard.ends
    assert started.at_ms < 200
    assert length_ms(ended.audio, RATE) == ended_after_ms


@pytest.mark.parametrize("silence_duration_ms", [200, 500, 1500])
async def test_a_turn_ends_after_as_much_silence_as_is_set(silence_duration_ms: int) -> None:
    settings = TurnSettings(silence_duration_ms=silence_duration_ms)
    stream = await conversation(RATE, tail_ms=3000)
    heard = Heard(stream, settings=settings)
    ended_after_ms, ended = heard.ends[-1]
    waited = ended_after_ms - ended.at_ms
    assert silence_duration_ms <= waited <= silence_duration_ms + FRAME_MS


async def test_a_pause_within_a_sentence_ends_no_turn_and_a_longer_one_does() -> None:
    sentence = await spoken(RATE)
    for pause_ms, turns in ((150, 1), (1500, 2)):
        heard = Heard(sentence + silence(pause_ms, RATE) + sentence + silence(1000, RATE))
        assert (len(heard.starts), len(heard.ends)) == (turns, turns)


async def test_the_second_turn_holds_nothing_of_the_first() -> None:
    sentence = await spoken(RATE)
    heard = Heard((sentence + silence(2000, RATE)) * 2)
    (_, first), (_, second) = heard.ends
    assert second.at_ms > first.at_ms
    # From the padding on: the sentence and the silence that ended it.
    assert length_ms(second.audio, RATE) < length_ms(sentence, RATE) + 1200


@pytest.mark.parametrize("frame_ms", [10, 40, 60, 100])
async def test_length_of_frames_does_not_change_where_turns_are(frame_ms: int) -> None:
    stream = await conversation(RATE)
    usual, other = Heard(stream), Heard(stream, frame_ms=frame_ms)
    assert [event for _, event in usual.starts] == [event for _, event in other.starts]
    assert [event.at_ms for _, event in usual.ends] == [event.at_ms for _, event in other.ends]


@pytest.mark.parametrize("loudness", [0, 30, 1000, 10_000])
def test_silence_and_noise_begin_no_turn(loudness: int) -> None:
    noise = np.random.default_rng(1).normal(0, loudness, 20 * RATE).clip(-32768, 32767)
    heard = Heard(noise.astype("<i2").tobytes())
    assert heard.starts == []
    assert not heard.detector.speaking


def test_clicks_and_tones_begin_no_turn() -> None:
    clicks = np.zeros(10 * RATE, dtype="<i2")
    clicks[:: RATE // 2] = 30_000
    time = np.arange(10 * RATE) / RATE
    hum = (8000 * np.sin(2 * np.pi * 50 * time)).astype("<i2")
    assert Heard(clicks.tobytes()).starts == []
    assert Heard(hum.tobytes()).starts == []


async def test_what_is_kept_before_a_turn_is_bounded() -> None:
    detector = TurnDetector(rules(), RATE)
    for _ in range(3000):
        detector.feed(silence(FRAME_MS, RATE))
    assert detector._kept_bytes == sum(map(len, detector._kept))
    assert detector._kept_bytes <= 2 * RATE * 400 // 1000


async def test_speech_without_end_is_cut_after_a_minute() -> None:
    sentence = await spoken(RATE)
    endless = sentence * (130_000 // length_ms(sentence, RATE))
    heard = Heard(endless, settings=TurnSettings(silence_duration_ms=2000))
    assert [length_ms(end.audio, RATE) // 1000 for _, end in heard.ends] == [60, 60]
    (_, first), (_, second) = heard.starts[:2]
    assert second.at_ms - first.at_ms == pytest.approx(60_000, abs=2 * WINDOW_MS)
    assert heard.detector.speaking


@pytest.mark.parametrize("offset_ms", [0, 7, 13, 19, 26])
async def test_an_alert_detector_hears_the_start_no_later_and_the_same_turn(offset_ms: int) -> None:
    stream = silence(offset_ms, RATE) + await conversation(RATE)
    calm, alert = Heard(stream), Heard(stream, alert=True)
    [(calm_after_ms, _)], [(alert_after_ms, started)] = calm.starts, alert.starts
    assert alert_after_ms <= calm_after_ms
    assert started.at_ms <= alert_after_ms
    assert alert.ends[0][1].at_ms == calm.ends[0][1].at_ms


@pytest.mark.parametrize("loudness", [0, 30, 300, 3000])
def test_an_alert_detector_is_not_startled_by_noise(loudness: int) -> None:
    noise = np.random.default_rng(loudness).normal(0, 1, 20 * RATE) * loudness
    stream = np.clip(noise, -32768, 32767).astype("<i2").tobytes()
    assert Heard(stream, alert=True).starts == []


async def test_without_rules_a_turn_is_what_was_heard_until_the_commit() -> None:
    detector = TurnDetector(None, RATE)
    stream = await conversation(RATE)
    assert detector.feed(stream) == []
    assert detector.commit() == stream
    assert detector.commit() == b""
    detector.feed(stream)
    detector.clear()
    assert detector.commit() == b""


def test_what_is_kept_without_rules_is_bounded() -> None:
    detector = TurnDetector(None, RATE)
    minute = silence(60_000, RATE)
    for _ in range(8):
        detector.feed(minute)
    assert len(detector.commit()) == 5 * len(minute)


async def test_rules_may_come_and_go_in_mid_call() -> None:
    detector = TurnDetector(None, RATE)
    stream = await conversation(RATE)
    detector.feed(stream)
    detector.follow(rules())
    detector.clear()
    started, ended = detector.feed(stream)
    assert isinstance(started, SpeechStarted)
    assert isinstance(ended, SpeechEnded)
    first_sound_ms, _ = audible_ms(stream, RATE)
    shift_ms = length_ms(stream, RATE)
    assert abs(started.at_ms - shift_ms - first_sound_ms) <= START_WINDOWS * WINDOW_MS
    detector.follow(None)
    assert detector.feed(stream) == []
    assert not detector.speaking


async def test_other_rules_hold_from_the_next_frame_on() -> None:
    detector = TurnDetector(rules(TurnSettings(silence_duration_ms=5000)), RATE)
    stream = await conversation(RATE)
    [started] = detector.feed(stream)
    assert isinstance(started, SpeechStarted)
    detector.follow(rules(TurnSettings(silence_duration_ms=500)))
    [ended] = detector.feed(silence(40, RATE))
    assert isinstance(ended, SpeechEnded)
