"""What a routing token is said to say, and why a relay would drop it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop import token
from firsthop._native import seal_token
from firsthop.config import ClusterSettings, RelaySettings, Settings
from firsthop.errors import ConfigError
from firsthop.token import Inspection, NoUfragError

KEY = bytes(range(32))
CLUSTER = ClusterSettings(
    id=1,
    networks=("10.0.0.0/24", "fd00:1:2:3::/64"),
    first_port=3500,
    last_port=3599,
    ipv6_prefix="fd00:1:2:3::/64",
)
NOW = datetime(2026, 5, 4, 11, 7, tzinfo=UTC)
SLOT = timedelta(minutes=15)


def settings(*clusters: ClusterSettings, key_id: int = 0) -> Settings:
    return Settings(
        keys={key_id: KEY.hex()},
        key_id=key_id,
        relay=RelaySettings(clusters=clusters or (CLUSTER,)),
    )


def sealed(
    *,
    key: bytes = KEY,
    key_id: int = 0,
    cluster: int = 1,
    address: str = "10.0.0.7",
    port: int = 3500,
    expires_in: timedelta = 12 * SLOT,
) -> str:
    slot = int((NOW + expires_in).timestamp()) // 900 % 256
    return seal_token(
        master=key,
        key_id=key_id,
        cluster=cluster,
        address=address,
        port=port,
        expiry_slot=slot,
        nonce=bytes(6),
    )


def inspected(ufrag: str, using: Settings | None = None, now: datetime = NOW) -> Inspection:
    return token.inspect(ufrag, using or settings(), now)


def test_every_field_is_told() -> None:
    assert inspected(sealed(key_id=2), settings(key_id=2)) == Inspection(
        key_id=2,
        format=0,
        version=1,
        cluster=1,
        owner="10.0.0.7:3500",
        expiry_slot=int((NOW + 12 * SLOT).timestamp()) // 900 % 256,
        expires=datetime(2026, 5, 4, 14, 15, tzinfo=UTC),
        refusal=None,
    )


def test_an_ipv6_owner_is_completed_by_the_clusters_prefix() -> None:
    ufrag = sealed(address="fd00:1:2:3::77")
    found = inspected(ufrag)
    assert (found.format, found.owner, found.refusal) == (1, "[fd00:1:2:3::77]:3500", None)
    bare = inspected(ufrag, settings(CLUSTER.model_copy(update={"ipv6_prefix": None})))
    assert bare.owner == "[::77]:3500"
    assert "has no ipv6_prefix" in (bare.refusal or "")


def test_the_vectors_open_as_they_say() -> None:
    vectors = json.loads((Path(__file__).parent / "vectors" / "rt1.json").read_text())
    case = next(case for case in vectors["seal"] if case["name"] == "ipv4")
    using = Settings(keys={case["key_id"]: case["master"]}, key_id=case["key_id"])
    found = inspected(case["ufrag"], using)
    assert found.cluster == case["cluster"]
    assert found.owner == f"{case['address']}:{case['port']}"
    assert found.expiry_slot == case["expiry_slot"]


@pytest.mark.parametrize(
    ("ufrag", "words"),
    [
        (sealed(key=bytes(32)), "not sealed under our key 0"),
        (sealed(key_id=3), "sealed under key 3; keys has 0"),
        ("/" + sealed()[1:], "not ours, or of a newer release"),
        (sealed(cluster=9), "has no cluster 9"),
        (sealed(address="10.0.1.7"), "in no network of cluster 1"),
        (sealed(port=3600), "not among 3500-3599"),
        (sealed(expires_in=-2 * SLOT), "expired"),
    ],
)
def test_what_a_relay_drops_is_told_with_the_reason(ufrag: str, words: str) -> None:
    assert words in (inspected(ufrag).refusal or "")


def test_what_cannot_be_decrypted_is_not_made_up() -> None:
    found = inspected(sealed(key=bytes(32)))
    assert (found.cluster, found.owner, found.expires) == (None, None, None)


@given(st.integers(-154, 101))
def test_a_token_is_explained_whenever_it_expires(slots: int) -> None:
    found = inspected(sealed(expires_in=slots * SLOT))
    assert found.owner == "10.0.0.7:3500"
    assert found.expires == datetime(2026, 5, 4, 11, 15, tzinfo=UTC) + slots * SLOT
    assert (found.refusal is None) == (slots >= -1), "as the relay, which allows for clocks"


@pytest.mark.parametrize(
    "text", ["{ufrag}:client", " {ufrag}\n", "a=ice-ufrag:{ufrag}", "{ufrag}:with:colons"]
)
def test_a_ufrag_may_come_with_what_is_around_it(text: str) -> None:
    assert inspected(text.format(ufrag=sealed())) == inspected(sealed())


@pytest.mark.parametrize(
    "text", ["", ":", "abcd", "A" * 31, "A" * 33, "A" * 31 + "=", "A" * 31 + "-", "ä" * 32]
)
def test_what_is_no_ufrag_of_ours_is_refused_with_what_would_be(text: str) -> None:
    with pytest.raises(NoUfragError, match="expected 32 characters"):
        inspected(text)


@given(st.text(alphabet="ABCXYZabcxyz019+/", min_size=32, max_size=32))
def test_any_32_characters_are_explained(ufrag: str) -> None:
    assert inspected(ufrag).refusal is not None


def test_without_keys_one_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="firsthop key"):
        inspected(sealed(), Settings())


@pytest.mark.parametrize(
    ("expires_in", "words"),
    [
        (12 * SLOT, "2026-05-04 14:15 UTC, in 3 h (slot"),
        (0 * SLOT, "2026-05-04 11:15 UTC, in 8 min (slot"),
        (-8 * SLOT, "2026-05-04 09:15 UTC, 1 h ago (slot"),
    ],
)
def test_a_person_reads_when_it_expires(expires_in: timedelta, words: str) -> None:
    rows = dict(token.rows(inspected(sealed(expires_in=expires_in)), NOW))
    assert rows["expires"].startswith(words)


def test_a_person_reads_what_the_relay_does() -> None:
    assert dict(token.rows(inspected(sealed()), NOW))["relay"] == "forwards to the owner"
    rows = dict(token.rows(inspected(sealed(port=9)), NOW))
    assert rows["relay"].startswith("drops: the owner's port is not among")
    assert rows["owner"] == "10.0.0.7:9"
    assert "owner" not in dict(token.rows(inspected(sealed(key=bytes(32))), NOW))
