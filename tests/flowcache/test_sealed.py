"""Names and values that tell nothing, and cannot be made up, moved or kept for later."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.flowcache.sealed import VALUE_BYTES, Seal

KEY, NEW_KEY = bytes(range(32)), bytes(range(32, 64))
NOW = 1_790_000_000
FLOWS = st.binary(min_size=20, max_size=20)
OWNERS = st.binary(min_size=18, max_size=18)
FLOW, OWNER = bytes(range(20)), bytes(range(18))


def seal(masters: dict[int, bytes] | None = None, key_id: int = 0) -> Seal:
    return Seal(masters or {0: KEY}, key_id, ttl_seconds=90)


ONE = seal()


@given(FLOWS, OWNERS, st.integers(0, 2**40))
def test_what_one_relay_seals_another_with_the_key_opens(
    flow: bytes, owner: bytes, now: int
) -> None:
    one, other = ONE, seal()
    name = one.name(flow)
    value = one.seal(name, owner, now)
    assert len(value) == VALUE_BYTES
    assert other.names(flow) == [name]
    assert other.open(name, value, now) == owner


@given(FLOWS, FLOWS)
def test_a_name_is_a_flows_own_and_shows_nothing_of_it(one: bytes, other: bytes) -> None:
    name = ONE.name(one)
    assert re.fullmatch(r"firsthop:flow:[0-9a-f]{32}", name)
    assert (name == ONE.name(other)) == (one == other)
    assert name != seal({0: NEW_KEY}).name(one)


@given(st.integers(0, VALUE_BYTES - 1), st.integers(1, 255))
def test_a_value_that_was_altered_does_not_open(place: int, change: int) -> None:
    name = ONE.name(FLOW)
    value = bytearray(ONE.seal(name, OWNER, NOW))
    value[place] ^= change
    assert ONE.open(name, bytes(value), NOW) is None


@given(st.binary(max_size=VALUE_BYTES + 10) | st.binary(min_size=VALUE_BYTES, max_size=VALUE_BYTES))
def test_garbage_does_not_open(value: bytes) -> None:
    assert ONE.open(ONE.name(FLOW), value, NOW) is None


@pytest.mark.parametrize("size", [0, 1, VALUE_BYTES - 1, VALUE_BYTES + 1])
def test_a_value_of_another_length_does_not_open(size: int) -> None:
    name = ONE.name(FLOW)
    value = (ONE.seal(name, OWNER, NOW) + b"!")[:size]
    assert ONE.open(name, value, NOW) is None


def test_a_value_copied_to_another_flow_does_not_open() -> None:
    value = ONE.seal(ONE.name(FLOW), OWNER, NOW)
    assert ONE.open(ONE.name(FLOW[::-1]), value, NOW) is None


def test_a_value_of_another_cluster_does_not_open() -> None:
    name = ONE.name(FLOW)
    assert seal({0: NEW_KEY}).open(name, ONE.seal(name, OWNER, NOW), NOW) is None
    assert seal({1: KEY}, 1).open(name, ONE.seal(name, OWNER, NOW), NOW) is None


@pytest.mark.parametrize(
    ("age", "good"), [(-31, False), (-30, True), (0, True), (120, True), (121, False)]
)
def test_a_value_opens_within_its_time_and_what_clocks_differ_by(age: int, good: bool) -> None:
    name = ONE.name(FLOW)
    value = ONE.seal(name, OWNER, NOW)
    assert ONE.open(name, value, NOW + age) == (OWNER if good else None)


def test_the_same_state_is_never_sealed_alike() -> None:
    name = ONE.name(FLOW)
    assert len({ONE.seal(name, OWNER, NOW) for _ in range(100)}) == 100


def test_while_keys_change_relays_find_what_others_wrote() -> None:
    old = seal({0: KEY, 1: NEW_KEY}, 0)
    new = seal({0: KEY, 1: NEW_KEY}, 1)
    for writer, reader in [(old, new), (new, old), (ONE, new), (new, seal({1: NEW_KEY}, 1))]:
        name = writer.name(FLOW)
        assert name in reader.names(FLOW)
        assert reader.open(name, writer.seal(name, OWNER, NOW), NOW) == OWNER
    assert new.names(FLOW)[0] == new.name(FLOW), "its own first"
    assert old.name(FLOW) != new.name(FLOW)
