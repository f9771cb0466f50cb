"""Who is where, and what lies between."""

from __future__ import annotations

import pytest

from firsthop.bench.link import Conditions
from firsthop.bench.world.places import FRA, IAD, SIN, Map, public_leg


def test_every_place_has_addresses_of_its_own() -> None:
    places = list(Map().places())
    assert len(places) == 9
    addresses = [address for place in places for address in place.addresses]
    assert len(addresses) == len({*addresses})


def test_only_users_have_an_uneven_network() -> None:
    plan = Map()
    at = {place.name: place for place in plan.places()}
    backbone = Conditions(delay_ms=180)
    for one, other in (("sin.edge", "fra.cluster"), ("fra.cluster", "sin.cluster")):
        assert plan.conditions(at[one], at[other]) == backbone
    for one, other in (("sin.user", "fra.cluster"), ("fra.edge", "sin.user")):
        assert plan.conditions(at[one], at[other]) == public_leg(180)
    assert plan.conditions(at["sin.user"], at["sin.edge"]) == public_leg(5)


def test_the_farther_the_worse() -> None:
    near, far = public_leg(5), public_leg(180)
    assert near.jitter_ms < far.jitter_ms
    assert near.loss < far.loss


def test_maps_without_a_distance_or_with_a_region_twice_are_refused() -> None:
    with pytest.raises(ValueError, match="sin is from fra"):
        Map((FRA, SIN), {})
    with pytest.raises(ValueError, match="same name"):
        Map((IAD, IAD))
