"""Where a client is, as far as a request tells.

The headers of CDNs count only if a trusted proxy has passed the request on. That they are right is
not certain even then: a proxy that is no CDN may let through what a client wrote. Nothing but
distances hangs on them, so who lies gets a longer way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from starlette.datastructures import Headers

from firsthop.fleet.model import Location
from firsthop.steering.geoip import GeoIp
from firsthop.steering.places import Places

#: ``latitude,longitude`` in degrees: for proxies that know places and have no header of their own.
LOCATION_HEADER: Final = "Firsthop-Location"
_DEGREES: Final = re.compile(r"[+-]?\d{1,3}(\.\d{1,20})?", re.ASCII)
_COUNTRY: Final = re.compile(r"[A-Z]{2}", re.ASCII)
#: What Cloudflare says of those whose country it does not know.
_NOWHERE: Final = "XX"
#: A request's id at Cloudflare: it ends with the site that took it.
_RAY: Final = re.compile(r"[0-9a-f]{1,64}-([A-Z]{3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of where a client is."""

    address: str | None = field(default=None, repr=False)
    """Its IP address; not for logs."""
    location: Location | None = None
    country: str | None = None
    """ISO 3166-1, two letters."""
    source: str = "none"
    """Who told the location: cloudflare, cloudfront, proxy, geoip; with ``colo`` or ``country``
    where it is the place of that; none."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What one CDN tells."""

    name: str
    location: Location | None = None
    colo: str | None = None
    country: str | None = None


class Contexts:
    """Finds out where clients are.

    Args:
        places: Where airports and countries are.
        geoip: Where addresses are, if there is a database.
    """

    def __init__(self, places: Places, geoip: GeoIp | None = None) -> None:
        self._places = places
        self._geoip = geoip

    def of(self, headers: Headers, address: str | None, *, trusted: bool) -> Context:
        """Return the context of a request.

        The best that there is: coordinates of a CDN, the CDN's site, the database, the country.

        Args:
            headers: Its headers.
            address: Whom it comes from, trusted proxies left out.
            trusted: Whether a trusted proxy has passed it on.
        """
        told = _told(headers) if trusted else _Told("none")
        found = None if self._geoip is None or address is None else self._geoip.find(address)
        country = told.country or (found.country if found else None)

        def at(location: Location, source: str) -> Context:
            return Context(address, location, country, source)

        if told.location is not None:
            return at(told.location, told.name)
        if told.colo and (location := self._places.airport(told.colo)) is not None:
            return at(location, f"{told.name} colo")
        if found is not None and found.location is not None:
            return at(found.location, "geoip")
        if country and (location := self._places.country(country)) is not None:
            return at(location, f"{told.name if told.country else 'geoip'} country")
        return Context(address, None, country)


def _told(headers: Headers) -> _Told:
    """What the first CDN tells whose headers these are."""
    if any(name in headers for name in ("cf-ray", "cf-ipcountry", "cf-iplatitude")):
        ray = _RAY.fullmatch(_single(headers, "cf-ray"))
        return _Told(
            "cloudflare",
            location(_single(headers, "cf-iplatitude"), _single(headers, "cf-iplongitude")),
            ray[1] if ray else None,
            _country(_single(headers, "cf-ipcountry")),
        )
    if any(name.startswith("cloudfront-viewer-") for name in headers):
        viewer = "cloudfront-viewer-"
        coordinates = (_single(headers, viewer + name) for name in ("latitude", "longitude"))
        country = _country(_single(headers, viewer + "country"))
        return _Told("cloudfront", location(*coordinates), None, country)
    return _Told("proxy", location(*_single(headers, LOCATION_HEADER).split(",", 1)))


def location(latitude: str = "", longitude: str = "") -> Location | None:
    """Read a place from two texts, in degrees; None if it is none.

    The point 0, 0 lies in the sea, and is what databases say of those whom they do not know.
    """
    latitude, longitude = latitude.strip(), longitude.strip()
    if not (_DEGREES.fullmatch(latitude) and _DEGREES.fullmatch(longitude)):
        return None
    place = Location(float(latitude), float(longitude))
    fine = abs(place.latitude) <= 90 and abs(place.longitude) <= 180 and any(place)
    return place if fine else None


def _country(text: str) -> str | None:
    return text if _COUNTRY.fullmatch(text) and text != _NOWHERE else None


def _single(headers: Headers, name: str) -> str:
    """A header that is there once. Of two nobody knows whose is which."""
    values = headers.getlist(name)
    return values[0].strip() if len(values) == 1 else ""
