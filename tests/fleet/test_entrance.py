"""What a URL of the fleet file stands for."""

from __future__ import annotations

import pytest

from firsthop.fleet.entrance import Entrance, entrances, name_in


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://10.0.0.1:8080", None),
        ("http://[fd00::1]:8080", None),
        ("http://transceivers:8080", "transceivers"),
        ("https://Voice.Example.com/v1", "voice.example.com"),
        ("http://10.0.0:80", "10.0.0"),
    ],
    ids=["ipv4", "ipv6", "name", "case", "too_short"],
)
def test_a_host_is_an_address_or_a_name(url: str, name: str | None) -> None:
    assert name_in(url) == name


def test_a_name_is_taken_by_its_addresses_and_the_rest_stays() -> None:
    found = entrances("https://voice.example.com/fra/", ["10.0.0.1", "fd00::1"])
    assert found == [
        Entrance("https://10.0.0.1/fra", "voice.example.com"),
        Entrance("https://[fd00::1]/fra", "voice.example.com"),
    ]
    assert [one.host for one in found] == ["voice.example.com"] * 2
    [one] = entrances("http://pods:8080", ["10.0.0.1"])
    assert (one.url, one.host) == ("http://10.0.0.1:8080", "pods:8080")


def test_without_addresses_a_url_stays_as_it_is() -> None:
    assert entrances("http://pods:8080/") == [Entrance("http://pods:8080")]
    assert entrances("http://10.0.0.1:80", ["10.0.0.2"]) == [Entrance("http://10.0.0.1:80")]
    assert Entrance("http://10.0.0.1:80").host == "10.0.0.1:80"


def test_what_an_entrance_says_is_a_word() -> None:
    said = [Entrance("http://a", ready=ready).state for ready in (True, False, None)]
    assert said == ["ready", "not_ready", "silent"]
