"""Where airports and countries are: what remains when nobody tells a client's coordinates.

CDNs name their sites by the nearest airport. A country's place is the median of its airports: they
are where its people are, which the middle of its area is not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from statistics import median_low

import airportsdata

from firsthop.fleet.model import Location


class Places:
    """Places by code.

    Args:
        airports: By IATA code, as FRA.
        countries: By ISO 3166-1 code, as DE.
    """

    def __init__(self, airports: Mapping[str, Location], countries: Mapping[str, Location]) -> None:
        self._airports = airports
        self._countries = countries

    def airport(self, code: str) -> Location | None:
        """Where an airport is, by its IATA code in upper case."""
        return self._airports.get(code)

    def country(self, code: str) -> Location | None:
        """Where a country is, by its code in upper case."""
        return self._countries.get(code)


@cache
def known() -> Places:
    """Return all places that are known. The first time takes some 0.2 s."""
    airports: dict[str, Location] = {}
    of_country: dict[str, list[Location]] = defaultdict(list)
    for code, airport in airportsdata.load("IATA").items():
        airports[code] = Location(airport["lat"], airport["lon"])
        of_country[airport["country"]].append(airports[code])
    return Places(airports, {country: _middle(of) for country, of in of_country.items()})


def _middle(locations: list[Location]) -> Location:
    return Location(
        median_low(location.latitude for location in locations),
        median_low(location.longitude for location in locations),
    )
