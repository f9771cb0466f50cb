"""A planned fleet under loss and under a crowd, steered by the real steering."""

from __future__ import annotations

import numpy as np
import pytest

from firsthop.bench.fleet.crowd import BEGINS, LASTS, crowd
from firsthop.bench.fleet.edge import edge_loss
from firsthop.bench.fleet.rehash import rehashes
from firsthop.bench.fleet.world import World, build


@pytest.fixture(scope="module")
def world() -> World:
    return build(20_000, np.random.default_rng(1))


def test_sessions_are_where_the_regions_file_has_users(world: World) -> None:
    region = np.array([city.region for city in world.cities])[world.city]
    shares = np.bincount(region) / world.sessions
    for of, share in zip(world.regions, shares, strict=True):
        assert share == pytest.approx(of.region.users, abs=0.02)


def test_a_lost_ingress_gets_nobody_and_its_calls_go_to_others(world: World) -> None:
    loss = edge_loss(world, np.random.default_rng(1))
    assert loss.before[loss.lost] > 0
    assert loss.after[loss.lost] == 0
    assert any(loss.after[name] > before for name, before in loss.before.items())
    assert len(loss.down_ms) == len(loss.up_ms) == len(loss.again_ms) == loss.sessions


def test_a_second_candidate_is_faster_than_calling_again(world: World) -> None:
    loss = edge_loss(world, np.random.default_rng(1))
    assert loss.down_ms.max() < loss.up_ms.min() < loss.up_ms.max() < loss.again_ms.min()
    assert loss.offers > loss.offers_before


def test_resilient_routers_move_the_flows_of_one_relay_and_others_nearly_all(world: World) -> None:
    found = {(of.change, of.router): of for of in rehashes(world, np.random.default_rng(1))}
    assert len(found) == 4
    for of in found.values():
        assert len(of.asked.gaps_ms) == len(of.chromium_ms) + len(of.slow_ms)
        for relays, moved in of.by_site.values():
            remaining = relays + 1 if of.change == "added" else relays
            expected = 1 / remaining if of.router == "resilient" else 1 - 1 / remaining
            assert moved == pytest.approx(expected, abs=0.15)


def test_no_cluster_takes_more_than_it_has_room_for(world: World) -> None:
    everywhere = crowd(world, np.random.default_rng(1), None)
    assert everywhere.filled[:, BEGINS:].max() <= 1
    assert everywhere.refused.sum() > 0
    assert (everywhere.refused <= everywhere.offers).all()


def test_a_crowd_of_one_region_spills_to_others_and_nobody_is_refused(world: World) -> None:
    region = [of.region.name for of in world.regions].index("iad")
    of = crowd(world, np.random.default_rng(1), region)
    during = slice(BEGINS, BEGINS + LASTS)
    assert of.refused.sum() == 0
    assert of.offers[during].sum() > 2 * of.offers[:BEGINS].sum()
    assert of.elsewhere[during].sum() > 0
