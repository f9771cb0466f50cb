"""A decision laid open: what was known, what there was to choose from, and why it fell so."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from firsthop.fleet.model import kilometres
from firsthop.fleet.view import View
from firsthop.steering.context import Context
from firsthop.steering.decide import Decision, Weighed, decide, weigh_clusters, weigh_ingresses


@dataclass(frozen=True, slots=True)
class Choice:
    """A cluster or an ingress, and what became of it."""

    weighed: Weighed
    verdict: str
    """Chosen, or why not."""
    chosen: bool

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        one = self.weighed
        return {
            "id": one.id,
            "name": one.name,
            "kilometres": None if one.kilometres is None else round(one.kilometres),
            "healthy": one.healthy,
            "chosen": self.chosen,
            "verdict": self.verdict,
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """All about one decision."""

    context: Context
    decision: Decision
    clusters: tuple[Choice, ...]
    """Best first."""
    ingresses: tuple[Choice, ...]
    """Best first; those that do not reach the cluster last."""

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        context, decision = self.context, self.decision
        return {
            "client": {
                "location": context.location,
                "country": context.country,
                "source": context.source,
            },
            "cluster": decision.cluster,
            "ingresses": decision.ingresses,
            "reasons": decision.reasons,
            "clusters": [
                choice.as_json() | {"room": _finite(choice.weighed.room)}
                for choice in self.clusters
            ],
            "all_ingresses": [choice.as_json() for choice in self.ingresses],
        }

    def as_tables(self) -> Group:
        """Return it for people."""
        parts: list[Table | Text] = [
            Text.assemble(("client  ", "bold"), _place(self.context)),
            _table("cluster", self.clusters, room=True),
            _table("ingress", self.ingresses, room=False),
        ]
        return Group(*parts, *(Text(f"  {reason}.") for reason in self.decision.reasons))


def explain(context: Context, view: View) -> Explanation:
    """Decide, and tell all about it."""
    decision = decide(context, view)
    clusters = tuple(_cluster(one, decision) for one in weigh_clusters(context, view))
    return Explanation(context, decision, clusters, tuple(_ingresses(context, view, decision)))


def _cluster(one: Weighed, decision: Decision) -> Choice:
    chosen = one.id == decision.cluster
    later = "farther" if one.kilometres is not None else "less room, or a later id"
    return Choice(one, "chosen" if chosen else one.problem or later, chosen)


def _ingresses(context: Context, view: View, decision: Decision) -> Iterable[Choice]:
    if decision.cluster is None:
        return
    reaching = weigh_ingresses(context, view, decision.cluster)
    for one in reaching:
        chosen = one.id in decision.ingresses
        word = "first" if one.id == decision.ingresses[0] else "second"
        yield Choice(one, word if chosen else one.problem or "farther", chosen)
    known = {one.id for one in reaching}
    for ingress in view.fleet.ingresses:
        if ingress.id not in known:
            place = context.location
            far = None if place is None else kilometres(place, ingress.location)
            healthy = view.ingress(ingress.id).healthy
            other = Weighed(ingress.id, ingress.name, far, healthy)
            yield Choice(other, f"does not reach cluster {decision.cluster}", False)


def _table(part: str, choices: tuple[Choice, ...], *, room: bool) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column(part)
    table.add_column("name")
    table.add_column("km", justify="right")
    table.add_column("health")
    if room:
        table.add_column("room", justify="right")
    table.add_column("")
    for choice in choices:
        one = choice.weighed
        left = _finite(one.room)
        cells = [
            str(one.id),
            one.name,
            "?" if one.kilometres is None else f"{one.kilometres:.0f}",
            "up" if one.healthy else "down",
            *(["?" if left is None else str(left)] if room else []),
            choice.verdict,
        ]
        table.add_row(*map(Text, cells), style="bold" if choice.chosen else None)
    return table


def _place(context: Context) -> str:
    if context.location is None:
        return "nobody knows where"
    latitude, longitude = context.location
    country = f", {context.country}" if context.country else ""
    return f"{latitude:.2f}, {longitude:.2f}{country} (by {context.source})"


def _finite(room: float) -> int | None:
    """Room as a number; None if nobody knows."""
    return None if math.isinf(room) else int(room)
