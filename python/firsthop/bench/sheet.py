"""A table with several figures to a line: sections of lines, for terminals and for documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from firsthop.bench.report import HOLDS, Report, Row, footer, mark, markdown_header


@dataclass(frozen=True)
class Line:
    """One line: its name, and in each cell the rows that stand there one behind the other."""

    name: str
    cells: Sequence[Sequence[Row]]
    target: str = ""
    """What stands in the last column."""

    @property
    def holds(self) -> bool | None:
        """Whether all targets of its rows are met; None when there is none."""
        bound = [row.holds for rows in self.cells for row in rows if row.holds is not None]
        return all(bound) if bound else None


class Section(NamedTuple):
    """Lines about one thing."""

    title: str
    """What was measured."""
    lines: Sequence[Line]
    headings: Sequence[str] | None = None
    """Others than the sheet's, and no more of them; its lines have as many cells."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What a table looks like, and how it comes out of a report."""

    corner: str
    """Above the names of lines: what all figures are."""
    headings: tuple[str, ...]
    """One for each cell; a column for targets follows."""
    sections: Callable[[Report], Iterable[Section]]
    shown: Callable[[Row], str]
    """The text of a row."""
    one_table: bool = False
    """Whether Markdown has one table for all sections, whose lines begin with their section."""

    def table(self, report: Report) -> RenderableType:
        """Return the report for a terminal of 80 columns. What misses its target is red."""
        grid = Table(
            self.corner,
            title=f"firsthop bench {report.bench}",
            title_justify="left",
            header_style="dim",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        for heading in (*self.headings, "target", ""):
            grid.add_column(heading, justify="right", no_wrap=True)
        for section in self.sections(report):
            grid.add_row()
            headings = [Text(heading, "dim") for heading in section.headings or ()]
            grid.add_row(Text(section.title, style="bold"), *headings)
            for line in section.lines:
                cells = [self._coloured(rows) for rows in line.cells]
                missing = [""] * (len(self.headings) - len(cells))
                grid.add_row(line.name, *cells, *missing, line.target, mark(line.holds))
        return Group(grid, footer(report))

    def markdown(self, report: Report) -> str:
        """Return the report as Markdown, for documents. What misses its target is bold."""
        text = markdown_header(report)
        if self.one_table:
            text += ["", *self._head(self.headings)]
        for section in self.sections(report):
            if not self.one_table:
                head = self._head(section.headings or self.headings)
                text += ["", f"**{section.title}**", "", *head]
            for line in section.lines:
                name = f"{section.title}: {line.name}" if self.one_table else line.name
                cells = [self._bold(rows) for rows in line.cells]
                text.append(f"| {' | '.join([name, *cells, line.target, HOLDS[line.holds]])} |")
        return "\n".join(text) + "\n"

    def _head(self, headings: Sequence[str]) -> list[str]:
        headings = (*headings, "target")
        return [
            f"| {self.corner} | {' | '.join(headings)} | holds |",
            "| --- |" + " ---: |" * len(headings) + " --- |",
        ]

    def _coloured(self, rows: Sequence[Row]) -> Text:
        parts = [Text(self.shown(row), "bold red" if row.holds is False else "") for row in rows]
        return Text(" / ").join(parts)

    def _bold(self, rows: Sequence[Row]) -> str:
        texts = [
            f"**{self.shown(row)}**" if row.holds is False else self.shown(row) for row in rows
        ]
        return " / ".join(texts)
