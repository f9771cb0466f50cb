"""Reads the tables of docs/benchmarks.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Section:
    """Of a benchmark: where it ran, and its tables by the bold heading above each."""

    about: dict[str, str]
    tables: dict[str, dict[str, dict[str, str]]]
    """By their heading; of each, cells by the first of their line, then by column."""

    def cell(self, table: str, line: str, column: str) -> str:
        """Return what stands in a cell of the line that is called so."""
        return self.tables[table][line][column]


def numbers(cell: str) -> list[float]:
    """Return all numbers of a cell, in order."""
    return [float(number.replace(",", "")) for number in _NUMBER.findall(cell)]


def section(page: str, title: str) -> Section:
    """Read the results of a section."""
    [text] = re.findall(
        rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE
    )
    results = text.partition("### Results\n")[2]
    about = dict(re.findall(r"^([\w ]+): (.*?) *$", results, re.MULTILINE))
    return Section(about, dict(_tables(results)))


def _tables(text: str) -> Iterator[tuple[str, dict[str, dict[str, str]]]]:
    heading, names, rows = "", list[str](), dict[str, dict[str, str]]()
    for line in [*text.splitlines(), ""]:
        if bold := re.fullmatch(r"\*\*(.+)\*\*", line):
            heading = bold[1]
        if not line.startswith("|"):
            if rows:
                yield heading, rows
            names, rows = [], {}
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not names:
            names = cells
        elif not set(cells[0]) <= set("- :"):
            rows[cells[0]] = dict(zip(names[1:], cells[1:], strict=True))
