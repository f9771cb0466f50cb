"""Ids of calls: made by one transceiver, understood by all of its cluster, and by nobody else."""

from __future__ import annotations

import base64
import os
import re
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.calls.callid import CallIds, reachable
from firsthop.config import Settings, SignalingSettings

OLD, NEW = os.urandom(32), os.urandom(32)
HERE = "10.0.0.5:8080"


def spelled(ip: IPv4Address | IPv6Address, port: int) -> str:
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


addresses = st.builds(spelled, st.ip_addresses(), st.integers(1, 65_535))


@given(addresses, st.integers(0, 3))
def test_an_id_names_its_owner_to_the_whole_cluster(address: str, key_id: int) -> None:
    call_id = CallIds({key_id: OLD}, key_id, address).mint()
    assert CallIds({key_id: OLD}, key_id, HERE).owner(call_id) == address


@given(addresses)
def test_an_id_can_stand_in_a_path_a_header_and_a_subprotocol(address: str) -> None:
    assert re.fullmatch(r"rtc_[a-z2-7]{66,85}", CallIds({0: OLD}, 0, address).mint())


def test_no_two_ids_are_the_same() -> None:
    ids = CallIds({0: OLD}, 0, HERE)
    assert len({ids.mint() for _ in range(1000)}) == 1000


def test_two_ids_of_one_owner_have_nothing_in_common_but_their_head() -> None:
    one, other = (CallIds({0: OLD}, 0, HERE).mint() for _ in range(2))
    same = sum(a == b for a, b in zip(one[9:], other[9:], strict=True))
    assert same < len(one) / 2


def test_ids_of_a_key_that_is_being_retired_are_still_understood() -> None:
    call_id = CallIds({0: OLD}, 0, HERE).mint()
    assert CallIds({0: OLD, 1: NEW}, 1, "10.0.0.6:8080").owner(call_id) == HERE


def test_ids_of_another_cluster_are_nobodys() -> None:
    call_id = CallIds({0: OLD}, 0, HERE).mint()
    assert CallIds({0: NEW}, 0, HERE).owner(call_id) is None
    assert CallIds({1: OLD}, 1, HERE).owner(call_id) is None


@given(addresses, st.integers(0, 3), st.integers(0, 65_535))
def test_without_keys_an_id_tells_its_cluster(address: str, key_id: int, cluster: int) -> None:
    call_id = CallIds({key_id: OLD}, key_id, address, cluster).mint()
    assert CallIds.cluster_of(call_id) == cluster


@given(st.integers(0, 65_535))
def test_the_cluster_of_an_id_cannot_be_changed(cluster: int) -> None:
    ids = CallIds({0: OLD}, 0, HERE, 258)
    raw = base64.b32decode(ids.mint().removeprefix("rtc_").upper() + "=" * 6)
    raw = raw[:1] + cluster.to_bytes(2) + raw[3:]
    forged = "rtc_" + base64.b32encode(raw).decode().rstrip("=").lower()
    assert CallIds.cluster_of(forged) == cluster
    assert ids.owner(forged) == (HERE if cluster == 258 else None)


@given(st.text(max_size=100) | st.from_regex(r"rtc_[a-z2-7]{0,120}", fullmatch=True))
def test_what_has_not_the_form_of_an_id_names_no_cluster(call_id: str) -> None:
    cluster = CallIds.cluster_of(call_id)
    assert cluster is None or (len(call_id) in {70, 89} and call_id.startswith("rtc_e"))


@given(st.data())
def test_an_id_of_which_one_character_was_changed_is_nobodys(data: st.DataObject) -> None:
    ids = CallIds({0: OLD}, 0, HERE)
    call_id = ids.mint()
    index = data.draw(st.integers(0, len(call_id) - 1))
    other = data.draw(st.characters(max_codepoint=0x17F).filter(lambda c: c != call_id[index]))
    assert ids.owner(call_id[:index] + other + call_id[index + 1 :]) is None


@given(st.data())
def test_an_id_that_was_cut_or_made_longer_is_nobodys(data: st.DataObject) -> None:
    ids = CallIds({0: OLD}, 0, HERE)
    call_id = ids.mint()
    assert ids.owner(call_id[: data.draw(st.integers(0, len(call_id) - 1))]) is None
    assert ids.owner(call_id + data.draw(st.text("a7=A/ ", min_size=1, max_size=99))) is None


@given(st.text(max_size=100) | st.from_regex(r"rtc_[a-z2-7]{0,120}", fullmatch=True))
def test_whatever_is_asked_for_is_nobodys(call_id: str) -> None:
    assert CallIds({0: OLD}, 0, HERE).owner(call_id) is None


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({"listen": "10.0.0.5:8080"}, "10.0.0.5:8080"),
        ({"listen": "[2001:db8::5]:8080"}, "[2001:db8::5]:8080"),
        ({"listen": "127.0.0.1:8080", "reachable": "10.0.0.5:80"}, "10.0.0.5:80"),
        ({"listen": "0.0.0.0:8080", "reachable": "[2001:db8::5]:80"}, "[2001:db8::5]:80"),
    ],
)
def test_a_transceiver_is_reached_where_it_listens_or_where_settings_say(
    settings: dict[str, str], address: str
) -> None:
    signaling = SignalingSettings.model_validate(settings)
    assert reachable(Settings(signaling=signaling)) == address
    assert CallIds.of(Settings(signaling=signaling)).address == address


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "[::]:8080"])
def test_one_that_listens_everywhere_is_reached_at_an_address_of_this_machine(listen: str) -> None:
    host, _, port = reachable(Settings(signaling=SignalingSettings(listen=listen))).rpartition(":")
    assert port == "8080"
    assert not IPv4Address(host).is_unspecified
