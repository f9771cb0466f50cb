"""The table of a turn: a section per stage, a line per contender."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from firsthop.bench.report import Report, Row, footer, markdown_header
from firsthop.bench.voice.run import CPU, FIGURES, METRICS, named

_HEADINGS = (*FIGURES, "target")

Line = tuple[str, Sequence[Row]]
"""A contender, and its rows: one for each of `FIGURES`, or one."""


def table(report: Report) -> RenderableType:
    """Return the report for a terminal of 80 columns. What misses its target is red."""
    grid = Table(
        "ms",
        title=f"firsthop bench {report.bench}",
        title_justify="left",
        header_style="dim",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for heading in (*_HEADINGS, ""):
        grid.add_column(heading, justify="right", no_wrap=True)
    for heading, lines in sections(report):
        grid.add_row()
        grid.add_row(Text(heading, style="bold"))
        for contender, rows in lines:
            cells = [Text(shown(row), "bold red" if row.holds is False else "") for row in rows]
            cells += [Text("")] * (len(FIGURES) - len(rows))
            mark = {True: Text("✓", "green"), False: Text("✗", "bold red"), None: Text("")}
            grid.add_row(contender, *cells, _target(rows), mark[_holds(rows)])
    return Group(grid, footer(report))


def markdown(report: Report) -> str:
    """Return the report as Markdown, for documents. What misses its target is bold."""
    lines = markdown_header(report)
    holds = {True: "yes", False: "**no**", None: ""}
    for heading, contenders in sections(report):
        lines += ["", f"**{heading}**", "", f"| ms | {' | '.join(_HEADINGS)} | holds |"]
        lines.append("| --- |" + " ---: |" * len(_HEADINGS) + " --- |")
        for contender, rows in contenders:
            cells = [f"**{shown(row)}**" if row.holds is False else shown(row) for row in rows]
            cells += [""] * (len(FIGURES) - len(rows))
            cells += [_target(rows), holds[_holds(rows)]]
            lines.append(f"| {contender} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def sections(report: Report) -> Iterator[tuple[str, list[Line]]]:
    """Yield what was measured, and the lines of it."""
    for metric in METRICS:
        names = [named(metric, figure) for figure in FIGURES]
        if lines := _lines(report, names):
            yield metric, lines
    if lines := _lines(report, [CPU]):
        yield f"{CPU}, all processes", lines


def shown(row: Row) -> str:
    """Milliseconds are what counts; tenths of them are noise."""
    return f"{row.value:,.0f}"


def _lines(report: Report, metrics: Sequence[str]) -> list[Line]:
    contenders = dict.fromkeys(row.contender for row in report.rows if row.metric in metrics)
    return [
        (
            contender,
            [row for row in report.rows if row.contender == contender and row.metric in metrics],
        )
        for contender in contenders
    ]


def _holds(rows: Sequence[Row]) -> bool | None:
    bound = [row.holds for row in rows if row.holds is not None]
    return all(bound) if bound else None


def _target(rows: Sequence[Row]) -> str:
    return next((f"p95 {row.target}" for row in rows if row.target is not None), "")
