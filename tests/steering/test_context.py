"""Where a client is: what CDNs and databases tell, in the order of how well they know it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from firsthop.fleet.model import Location
from firsthop.steering.context import Context, Contexts
from firsthop.steering.geoip import GeoIp
from firsthop.steering.places import Places

FRANKFURT = Location(50.03, 8.57)
GERMANY = Location(51.5, 9.4)
OSLO = Location(59.9, 10.7)
PLACES = Places({"FRA": FRANKFURT}, {"DE": GERMANY})

CLOUDFLARE = {"CF-Ray": "230b030023ae2822-FRA", "CF-IPCountry": "DE"}
CLOUDFLARE_PLACE = {"CF-IPLatitude": "59.90000", "CF-IPLongitude": "10.70000"}


class Database:
    """Knows one address."""

    def get(self, ip_address: str) -> Any:
        """Say what is known."""
        if ip_address != "203.0.113.7":
            return None
        place = {"latitude": OSLO.latitude, "longitude": OSLO.longitude}
        return {"location": place, "country": {"iso_code": "NO"}}


def context(
    headers: dict[str, str] | list[tuple[str, str]],
    address: str | None = "203.0.113.7",
    *,
    trusted: bool = True,
    geoip: bool = False,
) -> Context:
    pairs = headers.items() if isinstance(headers, dict) else headers
    raw = [(name.lower().encode(), value.encode()) for name, value in pairs]
    contexts = Contexts(PLACES, GeoIp(Database()) if geoip else None)
    return contexts.of(Headers(raw=raw), address, trusted=trusted)


def test_cloudflares_coordinates_come_first() -> None:
    found = context(CLOUDFLARE | CLOUDFLARE_PLACE, geoip=True)
    assert found == Context("203.0.113.7", OSLO, "DE", "cloudflare")


def test_then_the_site_of_the_cdn() -> None:
    found = context(CLOUDFLARE, geoip=True)
    assert (found.location, found.source, found.country) == (FRANKFURT, "cloudflare colo", "DE")


def test_then_the_database() -> None:
    found = context({"CF-IPCountry": "DE"}, geoip=True)
    assert (found.location, found.source, found.country) == (OSLO, "geoip", "DE")
    found = context({}, geoip=True)
    assert (found.location, found.source, found.country) == (OSLO, "geoip", "NO")


def test_then_the_country() -> None:
    found = context({"CF-IPCountry": "DE"})
    assert (found.location, found.source) == (GERMANY, "cloudflare country")
    assert context({"CF-IPCountry": "XX"}).location is None
    assert context({"CF-IPCountry": "T1"}) == Context("203.0.113.7")


def test_cloudfront_tells_place_and_country() -> None:
    headers = {
        "CloudFront-Viewer-Latitude": "59.9",
        "CloudFront-Viewer-Longitude": "10.7",
        "CloudFront-Viewer-Country": "NO",
    }
    assert context(headers) == Context("203.0.113.7", OSLO, "NO", "cloudfront")
    country = context({"CloudFront-Viewer-Country": "DE"})
    assert (country.location, country.source) == (GERMANY, "cloudfront country")


def test_any_other_proxy_can_tell_the_place() -> None:
    found = context({"Firsthop-Location": "59.9, 10.7"})
    assert found == Context("203.0.113.7", OSLO, None, "proxy")


@pytest.mark.parametrize("geoip", [False, True])
def test_what_a_stranger_writes_there_is_ignored(geoip: bool) -> None:
    lies = CLOUDFLARE | {"CF-IPLatitude": "1", "CF-IPLongitude": "1", "Firsthop-Location": "1,1"}
    lies |= {"CloudFront-Viewer-Latitude": "1", "CloudFront-Viewer-Longitude": "1"}
    expected = Context("203.0.113.7", OSLO, "NO", "geoip") if geoip else Context("203.0.113.7")
    assert context(lies, trusted=False, geoip=geoip) == expected


def test_of_a_header_that_is_there_twice_none_counts() -> None:
    twice = [*CLOUDFLARE_PLACE.items(), ("CF-IPLatitude", "1"), ("CF-IPCountry", "DE")]
    assert context(twice).source == "cloudflare country"


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [
        ("91", "0"),
        ("0", "181"),
        ("nan", "1"),
        ("inf", "1"),
        ("1e1", "1"),
        ("", "1"),
        ("0", "0"),
        ("1" * 10_000, "1"),
        ("1", "1,1"),
        ("\u0661", "1"),
        ("0x1", "1"),
        ("--1", "1"),
    ],
)
def test_what_is_no_place_is_none(latitude: str, longitude: str) -> None:
    headers = {"CF-IPLatitude": latitude, "CF-IPLongitude": longitude}
    assert context(headers) == Context("203.0.113.7")
    assert context({"Firsthop-Location": f"{latitude},{longitude}"}).location is None


@given(
    st.dictionaries(
        st.sampled_from(
            ["cf-ray", "cf-ipcountry", "cf-iplatitude", "cf-iplongitude", "firsthop-location"]
            + [f"cloudfront-viewer-{name}" for name in ("latitude", "longitude", "country")]
        ),
        st.text(st.characters(max_codepoint=255), max_size=40),
    ),
    st.booleans(),
)
def test_whatever_stands_in_headers_is_a_place_or_none(
    headers: dict[str, str], trusted: bool
) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    found = Contexts(PLACES).of(Headers(raw=raw), None, trusted=trusted)
    place = found.location
    assert place is None or (abs(place.latitude) <= 90 and abs(place.longitude) <= 180)
    assert trusted or found == Context()


def test_a_context_does_not_show_who_the_client_is() -> None:
    assert "203.0.113.7" not in repr(context(CLOUDFLARE))


def test_a_database_that_fails_is_as_none() -> None:
    class Broken:
        def get(self, ip_address: str) -> Any:
            raise ValueError("damaged")

    assert Contexts(PLACES, GeoIp(Broken())).of(Headers(), "::1", trusted=False) == Context("::1")
