"""The table of gaps: a line per fault and kind of call, both ways side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from firsthop.bench.recovery.run import (
    DOWN_LOST,
    DOWN_P50,
    DOWN_P99,
    UP_LOST,
    UP_P50,
    UP_P99,
)
from firsthop.bench.report import Report, Row, footer, markdown_header

_HEADINGS = ("up, ms", "lost", "down, ms", "lost", "target")
#: Per column: what stands in it, one behind the other.
_COLUMNS = ((UP_P50, UP_P99), (UP_LOST,), (DOWN_P50, DOWN_P99), (DOWN_LOST,))

Line = Mapping[str, Row]
"""The rows of one kind of call, by metric."""


def table(report: Report) -> RenderableType:
    """Return the report for a terminal of 80 columns. What misses its target is red."""
    grid = Table(
        "p50 / p99",
        title=f"firsthop bench {report.bench}",
        title_justify="left",
        header_style="dim",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    grid.columns[0].no_wrap = True
    for heading in (*_HEADINGS, ""):
        grid.add_column(heading, justify="right", no_wrap=True)
    for fault, lines in _faults(report):
        grid.add_row()
        grid.add_row(Text(fault, style="bold"))
        for contender, line in lines:
            cells = [_coloured(line, metrics) for metrics in _COLUMNS]
            mark = {True: Text("✓", "green"), False: Text("✗", "bold red"), None: Text("")}
            grid.add_row(contender, *cells, _targets(line), mark[_holds(line)])
    return Group(grid, footer(report))


def markdown(report: Report) -> str:
    """Return the report as Markdown, for documents. What misses its target is bold."""
    lines = markdown_header(report)
    lines += ["", f"| p50 / p99 | {' | '.join(_HEADINGS)} | holds |"]
    lines.append("| --- |" + " ---: |" * len(_HEADINGS) + " --- |")
    holds = {True: "yes", False: "**no**", None: ""}
    for fault, contenders in _faults(report):
        for contender, line in contenders:
            cells = [_bold(line, metrics) for metrics in _COLUMNS]
            cells += [_targets(line), holds[_holds(line)]]
            lines.append(f"| {fault}: {contender} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def shown(row: Row) -> str:
    """Tenths of a millisecond are what a busy machine leaves of precision."""
    return f"{row.value:.1f}" if row.unit and row.value < 100 else f"{row.value:,.0f}"


def _faults(report: Report) -> Iterator[tuple[str, list[tuple[str, Line]]]]:
    for fault, of_fault in groupby(report.rows, key=lambda row: row.case):
        yield (
            fault,
            [
                (contender, {row.metric: row for row in rows})
                for contender, rows in groupby(of_fault, key=lambda row: row.contender)
            ],
        )


def _holds(line: Line) -> bool | None:
    """Whether all targets of a line are met; None when there is none."""
    bound = [row.holds for row in line.values() if row.holds is not None]
    return all(bound) if bound else None


def _coloured(line: Line, metrics: tuple[str, ...]) -> Text:
    parts = [
        (shown(line[metric]), "bold red" if line[metric].holds is False else "")
        for metric in metrics
        if metric in line
    ]
    return Text(" / ").join(Text(*part) for part in parts)


def _bold(line: Line, metrics: tuple[str, ...]) -> str:
    parts = []
    for row in (line[metric] for metric in metrics if metric in line):
        parts.append(f"**{shown(row)}**" if row.holds is False else shown(row))
    return " / ".join(parts)


def _targets(line: Line) -> str:
    """Both directions have the same targets, or nearly."""
    targets = []
    if UP_P99 in line and line[UP_P99].target is not None:
        targets.append(str(line[UP_P99].target))
    if UP_LOST in line and line[UP_LOST].target is not None:
        targets.append("0 lost")
    return ", ".join(targets)
