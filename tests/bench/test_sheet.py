"""A table with several figures to a line."""

from __future__ import annotations

from firsthop.bench.report import Report, Row
from firsthop.bench.sheet import Line, Section, Sheet

ROW = Row("a case", "ours", "gap", 7.0, "ms", 6.0, 8.0)


def markdown(*sections: Section) -> list[str]:
    sheet = Sheet(
        corner="ms",
        headings=("p50", "p95", "p99"),
        sections=lambda report: sections,
        shown=lambda row: f"{row.value:g}",
    )
    return sheet.markdown(Report("gaps", {}, [ROW])).splitlines()


def test_a_section_has_the_headings_of_the_sheet() -> None:
    lines = markdown(Section("up", [Line("ours", [[ROW], [], [ROW]])]))
    assert "| ms | p50 | p95 | p99 | target | holds |" in lines
    assert "| ours | 7 |  | 7 |  |  |" in lines


def test_a_section_may_have_headings_of_its_own_and_fewer_cells() -> None:
    lines = markdown(Section("up", [Line("ours", [[ROW]])], ("lost",)))
    assert "| ms | lost | target | holds |" in lines
    assert "| ours | 7 |  |  |" in lines
