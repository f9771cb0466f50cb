"""Whom the gateway asks, and in which order."""

from __future__ import annotations

import pytest

from firsthop.calls.callid import CallIds
from firsthop.errors import UnknownCallError
from firsthop.fleet.entrance import Entrance
from firsthop.fleet.model import Location
from firsthop.fleet.view import ClusterState, View
from firsthop.gateway.asked import Asked
from firsthop.gateway.targets import Targets
from firsthop.steering.context import Context
from steering.fleets import FRANKFURT, SINGAPORE, VIRGINIA, cluster, fleet

PARIS = Context(location=Location(48.9, 2.4))
PLACE = Asked(places=True)
FLEET = fleet(
    [
        cluster(1, FRANKFURT, signaling=["http://fra-a:80/", "http://fra-b:80"]),
        cluster(2, VIRGINIA, signaling=["http://iad:80"]),
        cluster(3, SINGAPORE),
    ]
)
FRA_A, FRA_B, IAD = "http://fra-a:80", "http://fra-b:80", "http://iad:80"


def call_in(cluster: int) -> str:
    return CallIds({0: bytes(32)}, 0, "10.0.0.1:8080", cluster).mint()


class Clock:
    """Time that the test passes."""

    seconds = 1000.0

    def __call__(self) -> float:
        """Return it."""
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def targets(clock: Clock) -> Targets:
    return Targets(clock)


def urls(targets: Targets, asked: Asked = PLACE, view: View | None = None) -> list[str]:
    return [target.url for target in targets.of(asked, PARIS, view or View(FLEET))]


def fail(targets: Targets, *failed: str) -> None:
    for target in targets.of(PLACE, PARIS, View(FLEET)):
        if target.url in failed:
            targets.note(target, reached=False)


def test_calls_go_round_the_transceivers_of_the_nearest_cluster(targets: Targets) -> None:
    assert urls(targets) == [FRA_A, FRA_B, IAD]
    assert urls(targets) == [FRA_B, FRA_A, IAD]
    assert urls(targets) == [FRA_A, FRA_B, IAD]


def test_a_full_cluster_is_not_asked(targets: Targets) -> None:
    full = {1: ClusterState(sessions=1, capacity=1)}
    assert urls(targets, view=View(FLEET, full)) == [IAD]


def test_a_call_that_is_there_is_asked_for_in_its_cluster_only(targets: Targets) -> None:
    assert urls(targets, Asked(call_id=call_in(2))) == [IAD]
    [target] = targets.of(Asked(call_id=call_in(2)), PARIS, View(FLEET))
    assert target.final


def test_who_may_have_another_call_gets_it_elsewhere(targets: Targets) -> None:
    asked = Asked(call_id=call_in(2), places=True, elsewhere=True)
    assert urls(targets, asked) == [IAD, FRA_A, FRA_B]
    asked = Asked(call_id=call_in(77), places=True, elsewhere=True)
    assert urls(targets, asked)[-1] == IAD


@pytest.mark.parametrize("call_id", [call_in(77), "rtc_x", ""], ids=["unknown", "none", "empty"])
def test_a_call_of_no_cluster_is_none(targets: Targets, call_id: str) -> None:
    with pytest.raises(UnknownCallError):
        urls(targets, Asked(call_id=call_id))


def test_the_same_key_finds_the_same_transceiver(targets: Targets) -> None:
    for number in range(20):
        asked = Asked(places=True, key=str(number))
        assert urls(targets, asked) == urls(targets, asked)
    firsts = {urls(targets, Asked(places=True, key=str(number)))[0] for number in range(20)}
    assert firsts == {FRA_A, FRA_B}


def test_who_could_not_be_reached_is_asked_last_for_a_while(targets: Targets, clock: Clock) -> None:
    fail(targets, FRA_A)
    assert [urls(targets) for _ in range(2)] == [[FRA_B, FRA_A, IAD]] * 2
    clock.seconds += 6
    assert sorted(urls(targets)[0] for _ in range(2)) == [FRA_A, FRA_B]


def test_a_cluster_that_has_gone_dark_is_asked_last(targets: Targets, clock: Clock) -> None:
    fail(targets, FRA_A, FRA_B)
    assert urls(targets)[0] == IAD
    assert sorted(urls(targets)) == [FRA_A, FRA_B, IAD]
    # The call is there, dark or not.
    assert sorted(urls(targets, Asked(call_id=call_in(1)))) == [FRA_A, FRA_B]
    clock.seconds += 6
    assert urls(targets)[-1] == IAD


def test_who_answers_again_is_asked_as_before(targets: Targets) -> None:
    fail(targets, FRA_A, FRA_B)
    for target in targets.of(PLACE, PARIS, View(FLEET)):
        targets.note(target, reached=True)
    assert urls(targets)[-1] == IAD


READY, FULL, SILENT = True, False, None
PODS = fleet([cluster(1, FRANKFURT, signaling=["http://transceivers:80"])])


def pods(*ready: bool | None) -> View:
    """A cluster whose one name stands for several transceivers."""
    found = tuple(
        Entrance(f"http://10.0.0.{number}:80", "transceivers", state)
        for number, state in enumerate(ready)
    )
    return View(PODS, {1: ClusterState(entrances=found)})


def numbers(targets: Targets, view: View, asked: Asked = PLACE) -> list[int]:
    return [int(url.removesuffix(":80").rpartition(".")[2]) for url in urls(targets, asked, view)]


def test_those_are_asked_first_that_want_calls_and_last_those_that_do_not(
    targets: Targets,
) -> None:
    view = pods(FULL, SILENT, READY, FULL, READY)
    assert numbers(targets, view) == [2, 4, 1, 0, 3]
    assert numbers(targets, view)[:2] == [4, 2], "they take turns"


def test_turns_are_even_among_those_that_want_calls(targets: Targets) -> None:
    view = pods(READY, FULL, FULL, FULL, READY)
    firsts = [numbers(targets, view)[0] for _ in range(10)]
    assert sorted(firsts) == [0] * 5 + [4] * 5


def test_who_wants_calls_but_cannot_be_reached_comes_after_those_of_whom_nothing_is_known(
    targets: Targets,
) -> None:
    view = pods(READY, SILENT, FULL)
    [target, *_] = targets.of(PLACE, PARIS, view)
    targets.note(target, reached=False)
    assert numbers(targets, view) == [1, 0, 2]


def test_many_that_want_calls_are_asked_and_few_others(targets: Targets) -> None:
    view = pods(*[READY] * 12, *[SILENT] * 5, *[FULL] * 5)
    asked = numbers(targets, view)
    assert all(number < 12 for number in asked[:8])
    assert all(12 <= number < 17 for number in asked[8:])
    assert (len(asked), len(set(asked))) == (11, 11)


def test_if_none_wants_calls_some_are_asked_all_the_same(targets: Targets) -> None:
    assert len(numbers(targets, pods(*[FULL] * 12))) == 3


def test_a_call_that_is_there_is_as_well_asked_for_at_one_that_wants_no_others(
    targets: Targets,
) -> None:
    asked = Asked(call_id=call_in(1))
    assert numbers(targets, pods(SILENT, FULL, READY), asked) == [2, 1, 0]


def test_what_a_key_finds_does_not_change_when_one_is_full(targets: Targets) -> None:
    asked = Asked(places=True, key="a")
    before = numbers(targets, pods(READY, READY, READY), asked)
    assert numbers(targets, pods(READY, FULL, FULL), asked) == before


def test_targets_know_the_name_that_their_certificate_has(targets: Targets) -> None:
    [target] = targets.of(PLACE, PARIS, pods(READY))
    assert (target.url, target.name) == ("http://10.0.0.0:80", "transceivers")
    [target] = targets.of(PLACE, PARIS, View(PODS))
    assert (target.url, target.name) == ("http://transceivers:80", None)


def test_of_a_large_cluster_a_few_are_asked() -> None:
    many = [f"http://10.0.0.{number}:80" for number in range(16)]
    large = fleet([cluster(1, FRANKFURT, signaling=many)])
    assert len(urls(Targets(), view=View(large))) == 3
