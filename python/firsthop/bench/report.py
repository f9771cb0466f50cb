"""What a benchmark found: rows, and the ways to show them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from statistics import median
from typing import Final, Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

HOLDS: Final = {True: "yes", False: "**no**", None: ""}
"""What Markdown shows of whether targets hold."""


@dataclass(frozen=True)
class Target:
    """What a row should reach."""

    of: Literal["ratio", "value"]
    bound: float
    at_least: bool = False
    """Whether more is better; less is, otherwise."""

    def met_by(self, figure: float) -> bool:
        """Whether `figure` reaches it."""
        return figure >= self.bound if self.at_least else figure <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


@dataclass(frozen=True)
class Row:
    """One figure of one contender."""

    case: str
    contender: str
    metric: str
    value: float
    """Median over rounds."""
    unit: str
    low: float
    high: float
    """Smallest and largest round."""
    reference: str | None = None
    """The contender that `ratio` is relative to."""
    ratio: float | None = None
    target: Target | None = None
    note: str = ""
    unfit: bool = False
    """Whether no round was a fair one, as when each lost packets; then no target holds."""

    @classmethod
    def of_one(
        cls,
        case: str,
        contender: str,
        metric: str,
        value: float,
        unit: str,
        target: Target | None = None,
        note: str = "",
    ) -> Row:
        """Return the row of what was measured once."""
        return cls(case, contender, metric, value, unit, value, value, target=target, note=note)

    @classmethod
    def of_rounds(
        cls, case: str, contender: str, metric: str, unit: str, rounds: Sequence[float]
    ) -> Row:
        """Make a row of what each round measured."""
        return cls(case, contender, metric, median(rounds), unit, min(rounds), max(rounds))

    @property
    def holds(self) -> bool | None:
        """Whether the target is met; None when there is none."""
        if self.target is None:
            return None
        figure = self.value if self.target.of == "value" else self.ratio
        return not self.unfit and figure is not None and self.target.met_by(figure)


@dataclass
class Report:
    """All rows of a run, and where and how it was made."""

    bench: str
    about: Mapping[str, str]
    """Machine, kernel, versions, method: what a figure means nothing without."""
    rows: list[Row] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """Contenders that were left out, and why; what else was not as it should be."""

    def row(self, case: str, contender: str, metric: str) -> Row | None:
        """Return one row, if it was measured."""
        for row in self.rows:
            if (row.case, row.contender, row.metric) == (case, contender, metric):
                return row
        return None

    def missed(self) -> list[Row]:
        """Return the rows that miss their target."""
        return [row for row in self.rows if row.holds is False]


def json_lines(report: Report) -> Iterator[str]:
    """Yield one JSON object per row, after one that has only ``bench`` and ``about``."""
    yield json.dumps({"bench": report.bench, "about": {**report.about}, "remarks": report.remarks})
    for row in report.rows:
        yield json.dumps(
            {
                "bench": report.bench,
                "case": row.case,
                "contender": row.contender,
                "metric": row.metric,
                "value": _rounded(row.value),
                "unit": row.unit,
                "spread": [_rounded(row.low), _rounded(row.high)],
                "reference": row.reference,
                "ratio": None if row.ratio is None else _rounded(row.ratio),
                "target": None if row.target is None else f"{row.target.of} {row.target}",
                "holds": row.holds,
                "note": row.note,
            },
            ensure_ascii=False,
        )


def table(report: Report) -> RenderableType:
    """Return the report for a terminal."""
    grid = Table(
        "contender",
        title=f"firsthop bench {report.bench}",
        title_justify="left",
        header_style="dim",
    )
    for heading in ("", "rounds", "ratio", "target", ""):
        grid.add_column(heading, justify="right", no_wrap=True)
    grid.add_column("", overflow="fold")
    for heading, rows in _sections(report):
        grid.add_section()
        grid.add_row(Text(heading, style="bold"))
        for row in rows:
            value, spread, ratio, target, note = _cells(row)
            grid.add_row(
                *(row.contender, value, spread, ratio, target, mark(row.holds), note),
                style="" if row.target is None else "bold",
            )
    return Group(grid, footer(report))


def markdown(report: Report) -> str:
    """Return the report as Markdown, for documents."""
    lines = markdown_header(report)
    for heading, rows in _sections(report):
        lines += ["", f"**{heading}**", ""]
        lines += ["| | median | rounds | ratio | target | holds | |", "| --- |" + " --- |" * 6]
        for row in rows:
            value, spread, ratio, target, note = _cells(row)
            cells = (row.contender, value, spread, ratio, target, HOLDS[row.holds], note)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def footer(report: Report) -> Text:
    """Return what stands below a table: where and how the report was made."""
    lines = [f"{name}: {value}" for name, value in report.about.items()]
    lines += [f"note: {remark}" for remark in report.remarks]
    return Text("\n".join(lines), style="dim")


def markdown_header(report: Report) -> list[str]:
    """Return the lines that stand above Markdown: the same."""
    lines = [f"{name}: {value}  " for name, value in report.about.items()]
    return lines + [f"Note: {remark}  " for remark in report.remarks]


def mark(holds: bool | None) -> Text:
    """Return what a terminal shows of whether targets hold."""
    return {True: Text("✓", "green"), False: Text("✗", "bold red"), None: Text("")}[holds]


def figure(value: float) -> str:
    """Return a figure with three digits that count, and no more than are known."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def _sections(report: Report) -> Iterator[tuple[str, list[Row]]]:
    for (case, metric), rows in groupby(report.rows, key=lambda row: (row.case, row.metric)):
        yield f"{case}: {metric}", list(rows)


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    """Return value, spread, ratio, target and note as text."""
    return (
        f"{figure(row.value)} {row.unit}",
        "" if row.low == row.high else f"{figure(row.low)}-{figure(row.high)}",
        "" if row.ratio is None else f"{row.ratio:.2f}",
        "" if row.target is None else f"{row.target.of} {row.target}",
        row.note,
    )


def _rounded(value: float) -> float:
    """Four digits that count: more would be noise."""
    return float(f"{value:.4g}")
