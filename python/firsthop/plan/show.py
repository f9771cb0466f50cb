"""A plan for people: tables, below each what its figures rest on; and for programs: one object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from firsthop.plan.demand import Input
from firsthop.plan.measurements import shipped
from firsthop.plan.plan import FIGURES, Plan
from firsthop.plan.quantity import Quantity, joined

#: For which tables are made.
COLUMNS: Final = 100
NOT_MEASURED: Final = "not measured"
NO_PRICE: Final = "no price"
#: What is less is said to be.
_LEAST: Final = 0.01
_IN_ALL: Final = "in all"
_PRICE: Final = "price."


@dataclass(frozen=True)
class _Column:
    heading: str
    figure: str
    digits: int = 0


@dataclass(frozen=True)
class _Part:
    """One of the tables."""

    title: str
    columns: tuple[_Column, ...]


_COST: Final = _Part(
    "Cost of a month",
    (
        _Column("cores", "cost_core"),
        _Column("memory", "cost_gib"),
        _Column("to the internet", "cost_public_gb"),
        _Column("backbone", "cost_backbone_gb"),
        _Column("in all", "cost"),
    ),
)
_PARTS: Final = (
    _Part(
        "Sessions at peak, and what they run on",
        (
            _Column("served here", "served"),
            _Column("edge relays", "edge_relays"),
            _Column("cluster relays", "cluster_relays"),
            _Column("transceivers", "transceivers"),
            _Column("clusters", "clusters"),
            _Column("cores", "cores"),
            _Column("memory, GiB", "memory", 1),
        ),
    ),
    _Part(
        "Network, Mbit/s",
        (
            _Column("enter here, sessions", "entering"),
            _Column("from the internet", "public_in", 1),
            _Column("to the internet", "public_out", 1),
            _Column("backbone, both ways", "backbone", 1),
        ),
    ),
    _Part(
        "Redis",
        (
            _Column("flow cache, ops/s", "cache_operations", 1),
            _Column("its memory, MiB", "cache_memory", 1),
            _Column("fleet, beats/s", "heartbeats"),
            _Column("Mbit/s per gateway", "fleet_reads", 1),
        ),
    ),
    _Part(
        "Signaling",
        (
            _Column("gateway, offers/s", "entering_offers", 1),
            _Column("signaling, offers/s", "served_offers", 1),
            _Column("cores for offers", "offer_cores", 1),
        ),
    ),
    _COST,
)
_NO_PRICES: Final = (
    "No price is given, and none is ours: `prices` of the regions file is where they belong "
    "(core, gib, public_gb, backbone_gb)."
)
_READING: Final = (
    "Regions: each figure at the loss of a region that asks most of it. In all: processes, memory "
    "and beats are summed; sessions, traffic and offers are those of a fleet that lost nothing.",
    "Left out: agents and their models, TCP, checks in bandwidth, Redis itself, and what a network "
    "card costs in interrupts, for relays were measured on loopback.",
)


def table(plan: Plan) -> RenderableType:
    """Return the plan for a terminal of 100 columns."""
    parts: list[RenderableType] = []
    for part in _PARTS:
        if part is _COST and not _priced(plan):
            parts += [Text(_COST.title, style="bold"), Text(_NO_PRICES, style="dim"), Text()]
        else:
            parts += [_table(plan, part), *_rests(plan, part), Text()]
    return Group(*parts, *_bases(plan), *(Text(line, style="dim") for line in _READING))


def as_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as one JSON object. Null: not measured, or no price; `missing` says what."""
    benches = shipped().benches
    return {
        "sessions": plan.basis.sessions.value,
        "sessions_each": _json(plan.sessions_each, "sessions"),
        "regions": [
            {
                "name": of.region.name,
                "cluster": of.region.cluster,
                "worst_loss": of.worst,
                "figures": {
                    figure.name: _json(of.figures[figure.name], figure.unit) for figure in FIGURES
                },
            }
            for of in plan.regions
        ],
        "in_all": {figure.name: _json(plan.whole[figure.name], figure.unit) for figure in FIGURES},
        "measurements": {
            name: {
                "value": of.value,
                "unit": of.unit,
                "what": of.what,
                "kind": of.kind,
                "source": of.source(benches),
                "machine": benches[of.bench].machine if of.bench else None,
            }
            for name, of in plan.basis.measurements.items()
        },
        "inputs": {
            name: {"value": of.value, "unit": of.unit, "what": of.what, "assumed": not of.given}
            for name, of in plan.basis.inputs.items()
        },
    }


def text(quantity: Quantity, digits: int = 0) -> str:
    """Return a figure as text, or why there is none."""
    value = quantity.value
    if value is not None:
        if value.is_integer() or value >= 1000:
            return f"{value:,.0f}"
        if value < _LEAST:
            return f"< {_LEAST:g}"
        return f"{value:.{digits}f}" if value >= 1 else f"{value:.2f}"
    priced = all(name.startswith(_PRICE) for name in quantity.missing)
    return NO_PRICE if priced else NOT_MEASURED


def _json(quantity: Quantity, unit: str) -> dict[str, Any]:
    return {
        "value": quantity.value,
        "unit": unit,
        "rests_on": quantity.rests_on,
        "missing": quantity.missing,
    }


def _table(plan: Plan, part: _Part) -> Table:
    grid = Table(
        title=part.title,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    grid.add_column("region", no_wrap=True)
    for column in part.columns:
        grid.add_column(column.heading, justify="right", min_width=min(len(column.heading), 12))
    for of in plan.regions:
        grid.add_row(of.region.name, *_cells(of.figures, part))
    grid.add_section()
    grid.add_row(_IN_ALL, *_cells(plan.whole, part), style="bold")
    return grid


def _cells(figures: dict[str, Quantity], part: _Part) -> Iterator[str]:
    for column in part.columns:
        yield text(figures[column.figure], column.digits)


def _rests(plan: Plan, part: _Part) -> Iterator[RenderableType]:
    """Yield what the columns of a table rest on: first what all do, then what some do beside."""
    used = {column.heading: _used(plan, column.figure) for column in part.columns}
    common = [name for name in next(iter(used.values())) if all(name in of for of in used.values())]
    yield _line("all of it rests on", common)
    own = {heading: [name for name in of if name not in common] for heading, of in used.items()}
    for names, columns in groupby(own.items(), key=lambda pair: pair[1]):
        if names:
            yield _line(", ".join(heading for heading, _ in columns) + ", also", names)


def _line(of: str, names: Sequence[str]) -> RenderableType:
    """Return a line that tells what something rests on."""
    text = Text(f"{of}: ", style="dim") + Text(" ".join(names), style="dim italic")
    return Padding(text, (0, 0, 0, 2))


def _priced(plan: Plan) -> bool:
    return any(
        of.value is not None for name, of in plan.basis.inputs.items() if name.startswith(_PRICE)
    )


def _used(plan: Plan, figure: str) -> tuple[str, ...]:
    """Return what a figure rests on, in the order in which all is listed below."""
    names = set(joined([plan.whole[figure], *(of.figures[figure] for of in plan.regions)]))
    order = (*plan.basis.inputs, *plan.basis.measurements)
    return tuple(name for name in order if name in names)


def _bases(plan: Plan) -> Iterator[RenderableType]:
    """Yield all that figures rest on: what was given and assumed, then what was measured."""
    used = {name for figure in FIGURES for name in _used(plan, figure.name)}
    inputs = {name: of for name, of in plan.basis.inputs.items() if name in used}
    given = (_input(name, of) for name, of in inputs.items() if of.value is not None)
    yield _listed("Given and assumed", given)
    each = f"{text(plan.sessions_each, 1)} sessions to a transceiver, by"
    yield _line(each, plan.sessions_each.rests_on)
    yield Text()
    benches = shipped().benches
    measured = [
        (name, _value(of.value, of.unit), f"{of.what}\n{of.source(benches)}")
        for name, of in plan.basis.measurements.items()
        if name in used
    ]
    yield _listed("Measured", measured)
    machines = {bench.machine for bench in benches.values()}
    yield Padding(Text(f"machine: {'; '.join(sorted(machines))}", style="dim"), (0, 0, 1, 2))


def _input(name: str, of: Input) -> tuple[str, str, str]:
    how = "given" if of.given else "assumed"
    return name, _value(of.value, of.unit), f"{how}: {of.what}"


def _value(value: float | None, unit: str) -> str:
    return "none" if value is None else f"{value:,.10g} {unit}".rstrip()


def _listed(title: str, rows: Iterable[Sequence[str]]) -> Table:
    grid = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        show_header=False,
        padding=(0, 2, 0, 0),
        pad_edge=False,
    )
    grid.add_column(no_wrap=True, style="italic")
    grid.add_column(no_wrap=True, justify="right")
    grid.add_column(style="dim")
    for row in rows:
        grid.add_row(*row)
    return grid
