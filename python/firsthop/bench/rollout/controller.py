"""What the Deployment controller does, as decisions: which pods to start, and which to delete.

The rules are those of Kubernetes: `maxSurge` and `maxUnavailable` bound a rolling update, pods that
are being deleted count for nothing, and scaling in takes the pod that is missed least.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wanted:
    """What there should be."""

    replicas: int
    revision: int
    """Of the pods' template. Pods of any other are old, so an earlier one is a rollback."""
    max_surge: int = 1
    max_unavailable: int = 0
    recreate: bool = False
    """Whether all old pods end before a new one starts."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A pod as the controller sees it."""

    name: str
    revision: int
    node: str
    started: float
    """When, on any clock."""
    ready: bool
    available: bool
    """Whether it has been ready for `minReadySeconds`."""
    deleted: bool = False
    """Whether it is on its way out."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now."""

    start: int = 0
    """Pods of the wanted revision."""
    delete: tuple[str, ...] = ()


def decide(wanted: Wanted, seen: Sequence[Seen]) -> Decision:
    """Return what the controller does next; nothing, once all is as it should be."""
    pods = [pod for pod in seen if not pod.deleted]
    new = [pod for pod in pods if pod.revision == wanted.revision]
    old = [pod for pod in pods if pod.revision != wanted.revision]
    if len(new) > wanted.replicas:
        return Decision(delete=_least_missed(new, len(new) - wanted.replicas))
    if wanted.recreate:
        if old:
            return Decision(delete=tuple(pod.name for pod in old))
        leaving = any(pod.deleted and pod.revision != wanted.revision for pod in seen)
        return Decision(start=0 if leaving else wanted.replicas - len(new))
    surge = wanted.max_surge if old else 0
    room = wanted.replicas + surge - len(pods)
    return Decision(
        start=max(min(room, wanted.replicas - len(new)), 0),
        delete=_old_to_delete(wanted, old, new),
    )


def is_done(wanted: Wanted, seen: Sequence[Seen]) -> bool:
    """Whether all is as it should be: no old pods, not even leaving ones, and all available."""
    return (
        all(pod.revision == wanted.revision and not pod.deleted for pod in seen)
        and len(seen) == wanted.replicas
        and all(pod.available for pod in seen)
    )


def _old_to_delete(wanted: Wanted, old: Sequence[Seen], new: Sequence[Seen]) -> tuple[str, ...]:
    least = wanted.replicas - wanted.max_unavailable
    # Those that serve nobody go first: nothing is lost with them.
    useless = [pod for pod in old if not pod.available]
    new_unavailable = sum(not pod.available for pod in new)
    most = max(len(old) + len(new) - least - new_unavailable, 0)
    gone = [pod.name for pod in useless[:most]]
    available = [pod for pod in (*old, *new) if pod.available]
    spare = min(max(len(available) - least, 0), most - len(gone))
    return (*gone, *_least_missed([pod for pod in old if pod.available], spare))


def _least_missed(pods: Sequence[Seen], count: int) -> tuple[str, ...]:
    """Return those to delete first: not ready, on the node that has the most, the youngest."""
    crowd = Counter(pod.node for pod in pods)
    ordered = sorted(pods, key=lambda pod: (pod.ready, -crowd[pod.node], -pod.started))
    return tuple(pod.name for pod in ordered[:count])
