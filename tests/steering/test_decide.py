"""The decision: for every fleet, in every state."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from firsthop.fleet.model import Fleet, Location, kilometres
from firsthop.fleet.view import ClusterState, IngressState, View
from firsthop.steering.context import Context
from firsthop.steering.decide import decide, weigh_clusters, weigh_ingresses
from steering.fleets import FRANKFURT, SINGAPORE, VIRGINIA, WORLD, cluster, fleet, ingress

PARIS = Context(location=Location(48.9, 2.4))
JAKARTA = Context(location=Location(-6.2, 106.8))

places = st.tuples(st.integers(-90, 90), st.integers(-180, 180))
states = st.builds(
    ClusterState,
    healthy=st.booleans(),
    draining=st.booleans(),
    sessions=st.none() | st.integers(0, 3),
    capacity=st.none() | st.integers(0, 3),
)


@st.composite
def views(draw: st.DrawFn) -> View:
    """Draw any view."""
    ids = draw(st.lists(st.integers(0, 9), unique=True, max_size=5))
    some = st.lists(st.sampled_from(ids), unique=True) if ids else st.just([])
    drawn = fleet(
        [cluster(id_, draw(places)) for id_ in ids],
        [
            ingress(id_, draw(places), clusters=draw(some))
            for id_ in draw(st.lists(st.integers(1, 9), unique=True, max_size=5))
        ],
    )
    seen = st.dictionaries(st.sampled_from(ids), states) if ids else st.just({})
    ingresses = st.dictionaries(st.integers(1, 9), st.builds(IngressState, healthy=st.booleans()))
    return View(drawn, draw(seen), draw(ingresses))


contexts = st.builds(Context, location=st.none() | places.map(lambda place: Location(*place)))


def full(sessions: int = 5) -> ClusterState:
    return ClusterState(sessions=sessions, capacity=5)


def test_a_client_goes_to_the_nearest_cluster_by_the_nearest_ingress() -> None:
    decision = decide(PARIS, View(WORLD))
    assert (decision.cluster, decision.ingresses) == (1, (1, 2))
    assert decision.reasons == (
        "cluster 1 (c1): nearest with room, 474 km",
        "ingress 1 (i1): nearest to the client, 474 km",
        "ingress 2 (i2): second, 6191 km",
    )


def test_the_ingress_is_near_the_client_even_if_the_cluster_is_not() -> None:
    decision = decide(JAKARTA, View(WORLD))
    assert (decision.cluster, decision.ingresses) == (1, (3, 1))


def test_a_full_cluster_is_passed_over() -> None:
    decision = decide(PARIS, View(WORLD, {1: full()}))
    assert decision.cluster == 2
    assert "cluster 1 (c1): nearer, but full, 474 km" in decision.reasons


def test_a_cluster_that_drains_is_passed_over() -> None:
    decision = decide(PARIS, View(WORLD, {1: ClusterState(draining=True)}))
    assert decision.cluster == 2
    assert "cluster 1 (c1): nearer, but drains, 474 km" in decision.reasons


def test_a_cluster_that_is_down_is_passed_over() -> None:
    decision = decide(PARIS, View(WORLD, {1: ClusterState(healthy=False)}))
    assert decision.cluster == 2
    assert "cluster 1 (c1): nearer, but not healthy, 474 km" in decision.reasons


def test_if_all_seem_down_the_nearest_is_tried() -> None:
    down = ClusterState(healthy=False)
    decision = decide(PARIS, View(WORLD, {1: down, 2: down}))
    assert decision.cluster == 1
    assert decision.reasons[0] == (
        "cluster 1 (c1): not healthy, but no healthy one has room; nearest with room, 474 km"
    )


def test_if_all_are_full_there_is_none() -> None:
    decision = decide(PARIS, View(WORLD, {1: full(), 2: full(6)}))
    assert (decision.cluster, decision.ingresses) == (None, ())
    assert decision.reasons == ("no cluster has room",)


def test_of_a_client_from_nowhere_the_emptiest_cluster_takes_care() -> None:
    view = View(WORLD, {1: full(3), 2: full(1)})
    decision = decide(Context(), view)
    assert (decision.cluster, decision.ingresses) == (2, (2, 1))
    assert decision.reasons == (
        "cluster 2 (c2): most room; nobody knows where the client is",
        "ingress 2 (i2): nearest to the cluster, 0 km",
        "ingress 1 (i1): second, 6555 km",
    )
    assert decide(Context(), View(WORLD, {1: full(1), 2: full(1)})).cluster == 1


def test_the_fleet_files_capacity_counts_where_no_other_is_known() -> None:
    small = fleet([cluster(1, FRANKFURT, capacity=2), cluster(2, VIRGINIA)])
    assert decide(PARIS, View(small, {1: ClusterState(sessions=2)})).cluster == 2
    assert decide(PARIS, View(small, {1: ClusterState(sessions=1)})).cluster == 1


def test_an_ingress_that_does_not_reach_the_cluster_is_not_named() -> None:
    some = fleet(
        [cluster(1, FRANKFURT)],
        [ingress(1, FRANKFURT), ingress(3, SINGAPORE, clusters=[1]), ingress(4, SINGAPORE)],
    )
    assert decide(JAKARTA, View(some)).ingresses == (3, 4)
    other = fleet(
        [cluster(1, FRANKFURT), cluster(2, SINGAPORE)], [ingress(3, SINGAPORE, clusters=[2])]
    )
    decision = decide(PARIS, View(other))
    assert decision.ingresses == ()
    assert decision.reasons[-1] == "no ingress reaches cluster 1"


def test_if_no_ingress_seems_healthy_the_nearest_are_named_all_the_same() -> None:
    view = View(WORLD, {}, dict.fromkeys((1, 2, 3), IngressState(healthy=False)))
    decision = decide(JAKARTA, view)
    assert decision.ingresses == (3, 1)
    assert decision.reasons[-1] == "no ingress is healthy, as far as is known"


def test_who_has_a_call_already_is_kept_in_its_cluster() -> None:
    decision = decide(PARIS, View(WORLD, {2: full()}), cluster=2)
    assert (decision.cluster, decision.ingresses) == (2, (1, 2))
    assert decide(PARIS, View(WORLD), cluster=77).cluster == 77


def test_a_cluster_that_was_tried_is_not_chosen_again() -> None:
    assert decide(PARIS, View(WORLD), without={1}).cluster == 2
    assert decide(PARIS, View(WORLD), without={1, 2}).cluster is None


def test_an_empty_fleet_serves_nobody() -> None:
    decision = decide(PARIS, View(Fleet()))
    assert (decision.cluster, decision.reasons) == (None, ("there is no cluster to try",))


# For all fleets.


@given(contexts, views())
def test_no_cluster_without_room_is_chosen_while_another_has_some(
    context: Context, view: View
) -> None:
    chosen = decide(context, view).cluster
    with_room = [one.id for one in view.fleet.clusters if view.cluster(one.id).has_room]
    assert (chosen is None) == (not with_room)
    assert chosen is None or chosen in with_room


@given(contexts, views())
def test_a_healthy_one_goes_before_all_others_and_of_these_the_nearest(
    context: Context, view: View
) -> None:
    chosen = view.fleet.cluster(decide(context, view).cluster or -1)
    if chosen is None:
        return
    healthy = [
        one
        for one in view.fleet.clusters
        if view.cluster(one.id).has_room and view.cluster(one.id).healthy
    ]
    if not healthy:
        return
    assert chosen in healthy
    if context.location is not None:
        far = kilometres(context.location, chosen.location)
        assert far == min(kilometres(context.location, one.location) for one in healthy)


@given(contexts, views(), st.integers(0, 9))
def test_no_two_ingresses_are_the_same_and_all_reach_the_cluster(
    context: Context, view: View, fixed: int
) -> None:
    for decision in (decide(context, view), decide(context, view, fixed)):
        assert len(set(decision.ingresses)) == len(decision.ingresses) <= 2
        found = [view.fleet.ingress(id_) for id_ in decision.ingresses]
        assert all(one and one.reaches(decision.cluster or 0) for one in found)
        healthy = [view.ingress(id_).healthy for id_ in decision.ingresses]
        assert len(set(healthy)) <= 1


@given(contexts, views(), st.randoms(use_true_random=False))
def test_the_order_of_anything_does_not_matter(
    context: Context, view: View, order: random.Random
) -> None:
    def shuffled(things: list[Any]) -> list[Any]:
        return order.sample(things, len(things))

    other = View(
        Fleet(
            clusters=tuple(shuffled(list(view.fleet.clusters))),
            ingresses=tuple(shuffled(list(view.fleet.ingresses))),
        ),
        dict(shuffled(list(view.clusters.items()))),
        dict(shuffled(list(view.ingresses.items()))),
    )
    assert decide(context, other) == decide(context, view) == decide(context, view)


@given(contexts, views())
def test_the_decision_is_first_in_both_lists(context: Context, view: View) -> None:
    decision = decide(context, view)
    if decision.cluster is None:
        return
    assert weigh_clusters(context, view)[0].id == decision.cluster
    weighed = [one.id for one in weigh_ingresses(context, view, decision.cluster)]
    assert tuple(weighed[: len(decision.ingresses)]) == decision.ingresses


@given(contexts, views())
def test_reasons_are_short_sentences(context: Context, view: View) -> None:
    decision = decide(context, view)
    assert decision.reasons
    assert all(0 < len(reason) < 160 for reason in decision.reasons)
