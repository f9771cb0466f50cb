"""Heartbeats as they lie in a store, and who of those that sent them lives."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.fleet.beat import SLOTS, TTL, Beat, BeatSeal, Heard, Place, Roster

KEY, NEW_KEY = bytes(range(32)), bytes(range(32, 64))
NOW = 1_790_000_000
FRANKFURT, SYDNEY = Place("cluster", 1), Place("cluster", 2)
ONE = BeatSeal({0: KEY}, 0)
COUNTS = st.none() | st.integers(0, 2**32 - 2)


def heard(instance: int = 1, written: int = NOW, sessions: int = 5) -> Heard:
    return Heard(instance.to_bytes(8), written, Beat(FRANKFURT, sessions))


@given(COUNTS, COUNTS, st.booleans(), st.binary(min_size=8, max_size=8))
def test_what_one_process_seals_another_with_the_key_opens(
    sessions: int | None, capacity: int | None, draining: bool, instance: bytes
) -> None:
    beat = Beat(FRANKFURT, sessions, capacity, draining)
    name = ONE.name(FRANKFURT)
    slot = ONE.close(name, instance, beat, NOW)
    assert len(slot) == ONE.slot_bytes
    assert BeatSeal({0: KEY}, 0).open(name, FRANKFURT, slot) == Heard(instance, NOW, beat)


def test_names_are_those_of_places_and_show_nothing_of_them() -> None:
    names = {ONE.name(place) for place in (FRANKFURT, SYDNEY, Place("ingress", 1))}
    assert len(names) == 3
    for name in names:
        assert re.fullmatch(r"firsthop:fleet:[0-9a-f]{32}", name)
    assert ONE.name(FRANKFURT) != BeatSeal({0: NEW_KEY}, 0).name(FRANKFURT)


def test_a_beat_opens_neither_elsewhere_nor_altered_nor_under_another_key() -> None:
    name = ONE.name(FRANKFURT)
    slot = ONE.close(name, bytes(8), Beat(FRANKFURT), NOW)
    assert ONE.open(ONE.name(SYDNEY), SYDNEY, slot) is None
    assert BeatSeal({0: NEW_KEY}, 0).open(name, FRANKFURT, slot) is None
    assert ONE.open(name, FRANKFURT, slot[:-1] + bytes([slot[-1] ^ 1])) is None


def test_while_keys_change_all_find_what_others_wrote() -> None:
    old, new = BeatSeal({0: KEY, 1: NEW_KEY}, 0), BeatSeal({0: KEY, 1: NEW_KEY}, 1)
    for writer, reader in [(old, new), (new, old)]:
        name = writer.name(FRANKFURT)
        assert name in reader.names(FRANKFURT)
        slot = writer.close(name, bytes(8), Beat(FRANKFURT, 3), NOW)
        found = reader.open(name, FRANKFURT, slot)
        assert found is not None
        assert found.beat.sessions == 3
    old.use({0: KEY, 1: NEW_KEY}, 1)
    assert old.name(FRANKFURT) == new.name(FRANKFURT)


@given(st.binary(max_size=500))
def test_garbage_is_slots_that_hold_nothing(text: bytes) -> None:
    name = ONE.name(FRANKFURT)
    for number, slot in ONE.slots(text):
        assert 0 <= number < SLOTS
        assert ONE.open(name, FRANKFURT, slot) is None


def test_no_more_slots_are_looked_at_than_there_are() -> None:
    assert len(list(ONE.slots(b"x" * ONE.slot_bytes * (SLOTS + 5)))) == SLOTS


def test_who_goes_on_beating_lives() -> None:
    roster = Roster()
    for second in range(20):
        alive = roster.update([heard(written=NOW + second)], second, NOW + second)
        assert len(alive) == 1


def test_who_stops_is_gone_when_its_time_is_up() -> None:
    roster = Roster()
    assert roster.update([heard()], 0, NOW)
    assert roster.update([heard()], TTL, NOW + TTL)
    assert not roster.update([heard()], TTL + 0.1, NOW + TTL)
    assert roster.update([heard(written=NOW + 7)], TTL + 1, NOW + TTL + 1), "and may come back"


def test_who_takes_its_leave_is_gone_at_once() -> None:
    roster = Roster()
    assert roster.update([heard()], 0, NOW)
    assert not roster.update([], 1, NOW + 1)


def test_an_old_beat_told_again_makes_nobody_live_on() -> None:
    roster = Roster()
    roster.update([heard(written=NOW)], 0, NOW)
    roster.update([heard(written=NOW + 1, sessions=9)], 1, NOW + 1)
    for second in range(2, 60):
        told = [heard(written=NOW + second % 2, sessions=5)]
        alive = roster.update(told, second, NOW + second)
        assert bool(alive) == (second <= 1 + TTL)
        assert all(beat.sessions == 9 for beat in alive), "the newest counts"


@pytest.mark.parametrize(("ahead", "taken"), [(-35, True), (-36, False), (30, True), (31, False)])
def test_clocks_may_differ_by_half_a_minute(ahead: int, taken: bool) -> None:
    assert bool(Roster().update([heard(written=NOW + ahead)], 0, NOW)) == taken


def test_of_two_beats_of_one_process_the_newer_counts() -> None:
    old, new = heard(written=NOW, sessions=1), heard(written=NOW + 1, sessions=2)
    for found in ([old, new], [new, old]):
        [beat] = Roster().update(found, 0, NOW)
        assert beat.sessions == 2
