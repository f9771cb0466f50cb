"""Rolling updates as the Deployment controller does them, decision by decision."""

from __future__ import annotations

from dataclasses import replace

import pytest

from firsthop.bench.rollout.controller import Decision, Seen, Wanted, decide, is_done


class Cluster:
    """Pods that do as they are told; time passes between decisions."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.pods: list[Seen] = []
        self.fewest = self.most = wanted.replicas
        self.now = 0

    def turn(self) -> Decision:
        """Decide, and do it: what is deleted is leaving, what is started is not ready."""
        self.now += 1
        decision = decide(self.wanted, self.pods)
        self.pods = [
            replace(pod, deleted=True) if pod.name in decision.delete else pod for pod in self.pods
        ]
        for number in range(decision.start):
            name, node = f"{self.now}-{number}", f"node {number % 2}"
            revision = self.wanted.revision
            self.pods.append(Seen(name, revision, node, self.now, ready=False, available=False))
        staying = [pod for pod in self.pods if not pod.deleted]
        self.most = max(self.most, len(staying))
        return decision

    def become_ready(self) -> None:
        self.pods = [replace(pod, ready=True, available=True) for pod in self.pods]
        self.fewest = min(self.fewest, self.available())

    def end(self) -> None:
        self.pods = [pod for pod in self.pods if not pod.deleted]
        self.fewest = min(self.fewest, self.available())

    def available(self) -> int:
        return sum(pod.available and not pod.deleted for pod in self.pods)

    def settle(self) -> None:
        for _ in range(100):
            if is_done(self.wanted, self.pods):
                return
            self.turn()
            self.fewest = min(self.fewest, self.available())
            self.end()
            self.become_ready()
        pytest.fail(f"does not settle: {self.pods}")


def made(wanted: Wanted) -> Cluster:
    """Return a cluster that is as it should be."""
    cluster = Cluster(wanted)
    assert cluster.turn() == Decision(start=wanted.replicas)
    cluster.become_ready()
    assert is_done(cluster.wanted, cluster.pods)
    cluster.fewest = wanted.replicas
    return cluster


@pytest.mark.parametrize(
    ("surge", "unavailable"), [(1, 0), (0, 1), (2, 1), (5, 0)], ids=lambda number: str(number)
)
def test_an_update_stays_within_its_bounds(surge: int, unavailable: int) -> None:
    cluster = made(Wanted(5, 1, surge, unavailable))
    cluster.wanted = replace(cluster.wanted, revision=2)
    cluster.settle()
    assert {pod.revision for pod in cluster.pods} == {2}
    assert 5 < cluster.most <= 5 + surge if surge else cluster.most == 5
    assert cluster.fewest >= 5 - unavailable


def test_no_old_pod_goes_before_a_new_one_is_available() -> None:
    cluster = made(Wanted(2, 1))
    cluster.wanted = replace(cluster.wanted, revision=2)
    assert cluster.turn().start == 1
    assert cluster.turn() == Decision()
    cluster.become_ready()
    decision = cluster.turn()
    assert (decision.start, len(decision.delete)) == (0, 1)
    # One that is leaving counts no more: the next may start while the first drains.
    assert cluster.turn().start == 1


def test_a_new_pod_that_does_not_come_up_stops_an_update_and_a_rollback_takes_it_away() -> None:
    cluster = made(Wanted(2, 1))
    old = {pod.name for pod in cluster.pods}
    cluster.wanted = replace(cluster.wanted, revision=2)
    [new] = (cluster.turn(), {pod.name for pod in cluster.pods} - old)[1]
    assert cluster.turn() == Decision()
    cluster.wanted = replace(cluster.wanted, revision=1)
    assert cluster.turn() == Decision(delete=(new,))
    cluster.end()
    assert {pod.name for pod in cluster.pods} == old
    assert is_done(cluster.wanted, cluster.pods)


def test_scaling_out_starts_what_is_missing_at_once() -> None:
    cluster = made(Wanted(2, 1))
    cluster.wanted = replace(cluster.wanted, replicas=5)
    assert cluster.turn() == Decision(start=3)


def test_scaling_in_takes_the_unready_then_of_the_fullest_node_the_youngest() -> None:
    pods = [
        Seen("a", 1, "one", 1, ready=True, available=True),
        Seen("b", 1, "one", 3, ready=True, available=True),
        Seen("c", 1, "one", 2, ready=True, available=True),
        Seen("d", 1, "two", 9, ready=True, available=True),
        Seen("e", 1, "two", 0, ready=False, available=False),
    ]
    assert decide(Wanted(3, 1), pods) == Decision(delete=("e", "b"))


def test_recreating_waits_until_the_last_old_pod_has_ended() -> None:
    cluster = made(Wanted(2, 1, recreate=True))
    cluster.wanted = replace(cluster.wanted, revision=2)
    assert len(cluster.turn().delete) == 2
    assert cluster.turn() == Decision()
    cluster.end()
    assert cluster.turn() == Decision(start=2)


def test_all_is_done_only_when_the_old_pods_have_ended() -> None:
    here = Seen("a", 2, "one", 1, ready=True, available=True)
    leaving = Seen("b", 1, "one", 0, ready=False, available=False, deleted=True)
    assert not is_done(Wanted(1, 2), [here, leaving])
    assert is_done(Wanted(1, 2), [here])
    assert not is_done(Wanted(1, 2), [replace(here, available=False)])
