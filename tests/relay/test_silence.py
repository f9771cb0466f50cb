"""When a relay is taken to be left alone."""

from __future__ import annotations

from firsthop.relay.silence import Silence


def test_it_lasts_once_nothing_was_counted_for_long_enough() -> None:
    silence = Silence(6.0)
    assert not silence.lasts(100.0, 7)
    assert not silence.lasts(105.9, 7)
    assert silence.lasts(106.0, 7)
    assert silence.lasts(107.0, 7)


def test_a_packet_ends_it() -> None:
    silence = Silence(6.0)
    assert not silence.lasts(100.0, 7)
    assert not silence.lasts(105.0, 8)
    assert not silence.lasts(110.9, 8)
    assert silence.lasts(111.0, 8)


def test_where_nobody_can_count_there_is_none() -> None:
    silence = Silence(6.0)
    assert not silence.lasts(100.0, 7)
    assert not silence.lasts(200.0, None)
    assert not silence.lasts(300.0, None)
    assert not silence.lasts(301.0, 7)
    assert silence.lasts(307.0, 7)
