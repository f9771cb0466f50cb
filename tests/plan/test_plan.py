"""The plan: every figure can be followed back to what was measured, given or assumed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from firsthop.plan import regions as regions_module
from firsthop.plan.demand import Demand
from firsthop.plan.measurements import Measurements, shipped
from firsthop.plan.placement import scenarios
from firsthop.plan.plan import FIGURES, Plan, plan
from firsthop.plan.quantity import Quantity
from firsthop.plan.regions import Regions, read
from plan.test_regions import EXAMPLE, example

HUGE = Demand(weekly_users=900e6)


def regions(**changes: Any) -> Regions:
    return Regions(**(example() | changes))


def figures(of: Plan) -> dict[tuple[str, str], Quantity]:
    """Return all figures of a plan, by region and name."""
    each = {of_region.region.name: of_region.figures for of_region in of.regions}
    return {
        (where, name): quantity
        for where, by_name in (each | {"in all": of.whole}).items()
        for name, quantity in by_name.items()
    }


def test_every_region_and_all_of_them_have_every_figure() -> None:
    found = figures(plan(HUGE, read(EXAMPLE)))
    names = {figure.name for figure in FIGURES}
    assert len(found) == 11 * len(names)
    assert {name for _, name in found} == names


@pytest.mark.parametrize("demand", [HUGE, Demand(sessions=1000, media="opus")])
def test_every_figure_rests_on_measurements_and_inputs_and_on_nothing_else(demand: Demand) -> None:
    of = plan(demand, read(EXAMPLE))
    known = of.basis.measurements.keys() | of.basis.inputs.keys()
    for quantity in figures(of).values():
        assert quantity.rests_on
        assert set(quantity.rests_on) <= known
        assert set(quantity.missing) <= set(quantity.rests_on)
        assert (quantity.value is None) == bool(quantity.missing)


@pytest.mark.parametrize("name", shipped().measurements)
@pytest.mark.parametrize("media", ["pcm", "opus"])
def test_a_figure_that_changes_with_a_measurement_names_it(
    name: str, media: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    demand = Demand(weekly_users=900e6, media=media)
    everything = regions(
        measured={}, prices={"core": 20, "gib": 2, "public_gb": 0.05, "backbone_gb": 0.01}
    )
    ours = shipped()
    known = {
        key: of.model_copy(update={"value": of.value or 1000.0, "kind": "stated"})
        for key, of in ours.measurements.items()
    }

    def but(factor: float) -> dict[str, Any]:
        value = (known[name].value or 0) * factor
        return known | {name: known[name].model_copy(update={"value": value})}

    def planned(measurements: dict[str, Any]) -> dict[tuple[str, str], Quantity]:
        these = Measurements(benches=ours.benches, measurements=measurements)
        monkeypatch.setattr(regions_module, "shipped", lambda: these)
        return figures(plan(demand, everything))

    before = planned(known)
    # Both ways: a limit may be far off.
    others = [planned(but(factor)) for factor in (1 / 3, 3)]
    changed = {
        key for key in before if any(before[key].value != other[key].value for other in others)
    }
    assert changed <= {key for key in before if name in before[key].rests_on}
    # And nothing is named that has no part in it.
    named = {key for key in before if name in before[key].rests_on}
    assert bool(named) == bool(changed)


def test_what_was_not_measured_is_not_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, unknown = shipped(), ("hop_up", "hop_down", "offer", "offer_gateway")
    nothing: dict[str, Any] = {"value": None, "kind": "not measured"}
    missing = {name: ours.measurements[name].model_copy(update=nothing) for name in unknown}
    these = Measurements(benches=ours.benches, measurements={**ours.measurements, **missing})
    monkeypatch.setattr(regions_module, "shipped", lambda: these)
    of = plan(HUGE, regions(measured={}))
    assert of.whole["offer_cores"].value is None
    assert of.whole["offer_cores"].missing == ("offer_gateway", "offer")
    by_name = {of_region.region.name: of_region.figures for of_region in of.regions}
    # Records from edges cost a cluster relay nobody knows what.
    assert by_name["fra"]["cluster_relays"].missing == ("hop_up", "hop_down")
    # Where none come, nothing is missing.
    assert by_name["jnb"]["edge_relays"].value is not None


def test_a_cost_needs_its_price() -> None:
    of = plan(HUGE, regions(prices={"core": 10}))
    assert of.whole["cost_core"].value == 10 * (of.whole["cores"].value or 0)
    assert of.whole["cost_gib"].missing == ("price.gib",)
    assert of.whole["cost"].value is None


def test_a_price_of_a_region_goes_before_the_price_of_all() -> None:
    values = example()
    values["prices"] = {"core": 10}
    values["regions"][0]["prices"] = {"core": 15}
    of = plan(HUGE, Regions(**values))
    first, second = (of_region.figures for of_region in of.regions[:2])
    assert first["cost_core"].value == 15 * (first["cores"].value or 0)
    assert second["cost_core"].value == 10 * (second["cores"].value or 0)
    assert "price.core.fra" in first["cost_core"].rests_on


def test_weekly_users_become_sessions_at_peak() -> None:
    assert Demand(weekly_users=10_080, minutes_per_week=1, peak_to_mean=1).peak_sessions() == 1
    assert Demand(weekly_users=900e6).peak_sessions() == pytest.approx(2_678_571.43)


def test_a_plan_by_hand_comes_to_the_same() -> None:
    one = regions(
        regions=[{"name": "one", "location": [0, 0], "users": 1, "cluster": True}],
        headroom={"utilisation": 0.5, "spare": 1, "lose_a_region": False},
        sizes={"relay_cores": 1, "candidates": 1},
    )
    of = plan(Demand(sessions=10_000, agent_speaks=1, call_minutes=5), one)
    # 12.9 ms per second: half of a core for 38.76 sessions, so 258 transceivers, and one.
    assert of.whole["transceivers"].value == 259
    # 50.8 packets each way, 883 and 2,721 ns: 1.8308 cores, 0.0071 of Python; 4 at a half, and one.
    assert of.whole["cluster_relays"].value == 5
    assert of.whole["edge_relays"].value == 0
    assert of.whole["cores"].value == 264
    # 115 bytes, 50 times a second.
    assert of.whole["public_in"].value == pytest.approx(460)
    assert of.whole["public_out"].value == pytest.approx(460)
    assert of.whole["backbone"].value == 0
    assert of.whole["entering_offers"].value == pytest.approx(33.333, abs=0.001)
    # 10,000 / 35 reports, 33.3 that begin and as many that end.
    assert of.whole["cache_operations"].value == pytest.approx(352.38, abs=0.01)


def test_whatever_region_is_lost_others_carry_all() -> None:
    for scenario in scenarios(read(EXAMPLE)):
        assert scenario.lost not in scenario.shares
        for part in ("entering", "served", "second"):
            carried = sum(getattr(share, part) for share in scenario.shares.values())
            assert carried == pytest.approx(1)
        out = sum(share.out for share in scenario.shares.values())
        assert out == pytest.approx(sum(share.into for share in scenario.shares.values()))


def test_a_region_is_planned_for_the_loss_that_asks_most_of_it() -> None:
    of = plan(Demand(sessions=1000), read(EXAMPLE))
    calm = plan(Demand(sessions=1000), regions(headroom={"lose_a_region": False}))
    for planned, without in zip(of.regions, calm.regions, strict=True):
        for name in ("entering", "served", "cores"):
            more, less = planned.figures[name].value, without.figures[name].value
            assert more is not None and less is not None and more >= less
    worst = {planned.region.name: planned.worst for planned in of.regions}
    assert worst["iad"] == "fra"
    # A fleet that lost nothing is the same either way.
    assert of.whole["public_in"] == dataclasses.replace(calm.whole["public_in"])


def test_passing_packets_through_takes_fewer_transceivers_than_sound() -> None:
    sound, packets = (
        plan(Demand(sessions=100_000, media=media), read(EXAMPLE)).whole["transceivers"].value
        for media in ("pcm", "opus")
    )
    assert sound is not None and packets is not None and packets < sound / 5
