"""The plan itself: for each region the worst of all scenarios, and all regions together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from firsthop.plan import cost
from firsthop.plan.demand import Demand
from firsthop.plan.placement import Scenario, scenarios
from firsthop.plan.quantity import Quantity, most, total
from firsthop.plan.regions import Region, Regions
from firsthop.plan.sizing import Basis, Load, Sizing


@dataclass(frozen=True)
class Figure:
    """What a figure of a plan is."""

    name: str
    unit: str
    what: str


#: What is there to be used in the worst scenario; of all regions together, the sum.
BOUGHT: Final = (
    Figure("edge_relays", "processes", "relays of a region without a cluster"),
    Figure("cluster_relays", "processes", "relays of a region with one"),
    Figure("transceivers", "processes", "transceivers, of one core each"),
    Figure("clusters", "clusters", "among which transceivers are divided"),
    Figure("cores", "cores", "of relays and transceivers"),
    Figure("memory", "GiB", "of relays and transceivers"),
    Figure("cache_memory", "MiB", "of the flow cache's Redis"),
    Figure("heartbeats", "1/s", "beats of these processes into the fleet's Redis"),
    Figure("fleet_reads", "Mbit/s", "that each gateway reads of the fleet's Redis"),
)
#: What passes a region in its worst scenario; of all regions together, while none is lost.
PASSING: Final = (
    Figure("entering", "sessions", "that have their ingress here"),
    Figure("served", "sessions", "that have their transceiver here"),
    Figure("public_in", "Mbit/s", "from the internet"),
    Figure("public_out", "Mbit/s", "to the internet"),
    Figure("backbone", "Mbit/s", "to and from other regions, both ways together"),
    Figure("cache_operations", "1/s", "of the flow cache's Redis"),
    Figure("entering_offers", "1/s", "offers that gateways take in"),
    Figure("served_offers", "1/s", "offers that transceivers answer"),
    Figure("offer_cores", "cores", "that these offers keep busy"),
)
#: A month, with the traffic of a fleet of which nothing is lost.
COSTS: Final = (
    Figure("cost_core", "", "of cores"),
    Figure("cost_gib", "", "of memory"),
    Figure("cost_public_gb", "", "of traffic to the internet"),
    Figure("cost_backbone_gb", "", "of traffic between regions"),
    Figure("cost", "", "of all these"),
)
FIGURES: Final = (*PASSING, *BOUGHT, *COSTS)


@dataclass(frozen=True)
class RegionPlan:
    """What one region needs."""

    region: Region
    worst: str | None
    """The region whose loss sends most sessions here; None: no loss does."""
    figures: dict[str, Quantity]
    """By the names of `FIGURES`."""


@dataclass(frozen=True)
class Plan:
    """What all regions need, and what that rests on."""

    demand: Demand
    basis: Basis
    sessions_each: Quantity
    """That a transceiver is given."""
    regions: tuple[RegionPlan, ...]
    whole: dict[str, Quantity]
    """Of all regions, by the names of `FIGURES`."""


def plan(demand: Demand, regions: Regions) -> Plan:
    """Compute the plan."""
    basis = Basis.of(demand, regions, cost.inputs(regions))
    sizing = Sizing(basis, demand)
    cases = list(scenarios(regions))
    calm = {name: sizing.load(share) for name, share in cases[0].shares.items()}
    planned = tuple(_region(region, cases, calm, sizing) for region in regions.regions)
    reads = sizing.fleet_reads(total(of.figures["heartbeats"] for of in planned))
    for of in planned:
        of.figures["fleet_reads"] = reads
    whole = _whole(planned, calm, sizing) | {"fleet_reads": reads}
    return Plan(demand, basis, sizing.sessions_each(), planned, whole)


def _region(
    region: Region, cases: Sequence[Scenario], calm: dict[str, Load], sizing: Sizing
) -> RegionPlan:
    mine = [case for case in cases if region.name in case.shares]
    loads = [sizing.load(case.shares[region.name]) for case in mine]
    figures = {
        name: most(getattr(load, name) for load in loads)
        for name in (figure.name for figure in PASSING)
        if name != "offer_cores"
    }
    figures |= _bought(region, loads, figures, sizing)
    figures["offer_cores"] = most(sizing.offer_cores(load) for load in loads)
    figures |= cost.costs(figures, calm[region.name], region, sizing)
    shares = [case.shares[region.name] for case in mine]
    worst = max(range(len(mine)), key=lambda at: shares[at].entering + shares[at].served)
    return RegionPlan(region, mine[worst].lost, figures)


def _bought(
    region: Region, loads: Sequence[Load], passing: dict[str, Quantity], sizing: Sizing
) -> dict[str, Quantity]:
    relays = sizing.relays(most(load.relay_cores for load in loads))
    transceivers = sizing.transceivers(passing["served"])
    flows = most(load.flows for load in loads)
    none = Quantity(0.0, relays.rests_on)
    return {
        "edge_relays": none if region.cluster else relays,
        "cluster_relays": relays if region.cluster else none,
        "transceivers": transceivers,
        "clusters": sizing.clusters(transceivers),
        "cores": relays * sizing.basis["relay_cores"] + transceivers,
        "memory": sizing.relay_memory(relays, flows)
        + sizing.transceiver_memory(transceivers, passing["served"]),
        "cache_memory": sizing.cache_memory(flows),
        "heartbeats": sizing.heartbeats(relays + transceivers),
    }


def _whole(
    regions: Sequence[RegionPlan], calm: dict[str, Load], sizing: Sizing
) -> dict[str, Quantity]:
    whole = {
        figure.name: total(of.figures[figure.name] for of in regions)
        for figure in (*BOUGHT, *COSTS)
    }
    for figure in PASSING:
        if figure.name != "offer_cores":
            whole[figure.name] = total(getattr(load, figure.name) for load in calm.values())
    # What is between two regions was counted at both.
    whole["backbone"] = whole["backbone"] / 2
    whole["offer_cores"] = total(sizing.offer_cores(load) for load in calm.values())
    return whole
