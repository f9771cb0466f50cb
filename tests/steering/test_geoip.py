"""Databases of places, read from files as operators have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from firsthop.errors import ConfigError
from firsthop.fleet.model import Location
from firsthop.steering import places
from firsthop.steering.geoip import Found, GeoIp

OSLO = {"location": {"latitude": 59.9, "longitude": 10.7}, "country": {"iso_code": "NO"}}


def database(path: Path, entries: dict[str, Any], ip_version: int = 6) -> str:
    writer = MMDBWriter(ip_version, "Test-City", ipv4_compatible=ip_version == 6, float_type="f64")
    for network, entry in entries.items():
        writer.insert_network(IPSet([network]), entry)
    file = path / "places.mmdb"
    writer.to_db_file(str(file))
    return str(file)


def test_an_address_has_a_place_and_a_country(tmp_path: Path) -> None:
    geoip = GeoIp.read(database(tmp_path, {"203.0.113.0/24": OSLO, "2001:db8::/32": OSLO}))
    for address in ("203.0.113.7", "2001:db8::7"):
        found = geoip.find(address)
        assert found.country == "NO"
        assert found.location == pytest.approx(Location(59.9, 10.7))
    assert geoip.find("198.51.100.1") == Found()
    assert geoip.find("127.0.0.1") == Found()
    assert geoip.find("no address") == Found()


def test_an_ipv6_address_is_in_no_database_of_ipv4(tmp_path: Path) -> None:
    geoip = GeoIp.read(database(tmp_path, {"203.0.113.0/24": OSLO}, ip_version=4))
    assert geoip.find("203.0.113.7").country == "NO"
    assert geoip.find("2001:db8::7") == Found()


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ({"country": {"iso_code": "NO"}}, Found(None, "NO")),
        ({"registered_country": {"iso_code": "NO"}}, Found(None, "NO")),
        ({**OSLO, "location": {"latitude": 99.0, "longitude": 1.0}}, Found(None, "NO")),
        ({**OSLO, "location": {"latitude": "1", "longitude": 1.0}}, Found(None, "NO")),
        ({**OSLO, "location": [1.0]}, Found(None, "NO")),
    ],
)
def test_an_entry_need_not_have_everything(tmp_path: Path, entry: Any, found: Found) -> None:
    geoip = GeoIp.read(database(tmp_path, {"203.0.113.0/24": entry}))
    assert geoip.find("203.0.113.7") == found


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "places.mmdb"
    with pytest.raises(ConfigError, match=r"steering.geoip: .*cannot be read: No such file"):
        GeoIp.read(str(file))
    for content in (b"", b"latitude,longitude", bytes(10_000)):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=r"steering.geoip: .*no database of places"):
            GeoIp.read(str(file))


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    path = database(tmp_path, {"203.0.113.0/24": {"autonomous_system_number": 64500}})
    with pytest.raises(ConfigError, match="holds no places"):
        GeoIp.read(path)


def test_a_database_that_was_cut_off_is_refused_or_finds_nothing(tmp_path: Path) -> None:
    path = Path(database(tmp_path, {"203.0.113.0/24": OSLO}))
    path.write_bytes(path.read_bytes()[100:])
    with pytest.raises(ConfigError):
        GeoIp.read(str(path))


def test_airports_and_countries_are_where_they_are() -> None:
    known = places.known()
    for code, latitude, longitude in (("FRA", 50, 9), ("IAD", 39, -77), ("SIN", 1, 104)):
        airport = known.airport(code)
        assert airport is not None
        assert airport == pytest.approx((latitude, longitude), abs=1)
    japan = known.country("JP")
    assert japan is not None
    assert japan == pytest.approx((35, 137), abs=5)
    assert known.airport("ZZZ") is None
    assert known.country("ZZ") is None
