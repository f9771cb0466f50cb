"""A database of places by address: an .mmdb file in the shape that MaxMind and DB-IP give it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Protocol

import maxminddb

from firsthop.errors import ConfigError
from firsthop.fleet.model import Location

#: Of so many entries one has to have a place, or it is a database of something else.
_LOOKED_AT: Final = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """What the database says of an address."""

    location: Location | None = None
    country: str | None = None


class Reader(Protocol):
    """What finds entries; `maxminddb.Reader` is one."""

    def get(self, ip_address: str) -> Any:
        """Return the entry of an address, or None."""


class GeoIp:
    """Finds places by address.

    Args:
        reader: The database.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @classmethod
    def read(cls, path: str) -> GeoIp:
        """Open a database.

        Raises:
            ConfigError: `steering.geoip` is not the path of one, or it holds no places.
        """
        try:
            reader = maxminddb.open_database(path)
            entries = [entry for _, entry in islice(reader, _LOOKED_AT)]
        except OSError as error:
            problem = f"{path} cannot be read: {error.strerror or error}"
            raise ConfigError("steering.geoip", problem) from None
        except (maxminddb.InvalidDatabaseError, ValueError):
            problem = f"{path} is no database of places, an .mmdb file of cities or countries"
            raise ConfigError("steering.geoip", problem) from None
        if not any(_found(entry) != Found() for entry in entries):
            problem = f"{path} holds no places; a database of cities or countries is needed"
            raise ConfigError("steering.geoip", problem)
        return cls(reader)

    def find(self, address: str) -> Found:
        """Return what is known of an IP address; nothing, if that is so."""
        try:
            return _found(self._reader.get(address))
        except (maxminddb.InvalidDatabaseError, ValueError):
            # A part that is damaged, or an IPv6 address in a database of IPv4.
            return Found()


def _found(entry: object) -> Found:
    if not isinstance(entry, Mapping):
        return Found()
    country = _mapping(entry, "country") or _mapping(entry, "registered_country")
    code = country.get("iso_code")
    return Found(_location(_mapping(entry, "location")), code if isinstance(code, str) else None)


def _location(place: Mapping[str, Any]) -> Location | None:
    latitude, longitude = place.get("latitude"), place.get("longitude")
    if not isinstance(latitude, float | int) or not isinstance(longitude, float | int):
        return None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return None
    return Location(float(latitude), float(longitude))


def _mapping(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = entry.get(name)
    return value if isinstance(value, Mapping) else {}
