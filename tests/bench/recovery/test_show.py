"""Tables of gaps."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from firsthop.bench.recovery import chart, show
from firsthop.bench.report import Report, Row, Target

REPORT = Report(
    "recovery",
    {"machine": "a toaster"},
    [
        Row("crash", "talks, Redis", "up p50", 12.34, "ms", 12, 13),
        Row("crash", "talks, Redis", "up p99", 1234.5, "ms", 12, 13, target=Target("value", 100)),
        Row("crash", "talks, Redis", "up lost", 0, "", 0, 0, target=Target("value", 0)),
        Row("crash", "silent, Redis", "up p50", 1, "ms", 1, 1),
        Row("crash", "silent, Redis", "up p99", 2, "ms", 2, 2, target=Target("value", 100)),
        Row("crash", "silent, no Redis", "up p50", 3, "ms", 3, 3),
    ],
    ["the butter is out"],
)


def lines(text: str) -> dict[str, str]:
    return {
        line.strip(" |").split("  ")[0].split(" | ")[0]: line
        for line in text.splitlines()
        if line.strip()
    }


def test_a_table_has_a_line_per_kind_of_call_within_80_columns() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(show.SHEET.table(REPORT))
    text = out.getvalue()
    found = lines(text)
    for shown in ("12.3 / 1,234", "≤ 100, 0 lost", "✗"):
        assert shown in found[" talks, Redis".strip()]
    assert "✓" in found["silent, Redis"]
    assert not {"✓", "✗"} & set(found["silent, no Redis"])
    assert "a toaster" in text
    assert "the butter is out" in text


def test_markdown_has_in_bold_what_misses_its_target() -> None:
    text = show.SHEET.markdown(REPORT)
    assert "| crash: talks, Redis | 12.3 / **1,234** | 0 |  |  | ≤ 100, 0 lost | **no** |" in text
    assert "| crash: silent, Redis | 1.0 / 2.0 |  |  |  | ≤ 100 | yes |" in text
    assert "| crash: silent, no Redis | 3.0 |  |  |  |  |  |" in text


def test_a_chart_is_a_png_and_an_svg(tmp_path: Path) -> None:
    png, svg = chart.CHART.save(REPORT, tmp_path / "new", title="Silence")
    assert png.read_bytes().startswith(b"\x89PNG")
    text = svg.read_text()
    for shown in ("Silence", "crash · talks, Redis", "12.3 / 1,234", "a toaster"):
        assert shown in text


def test_a_report_without_rows_has_no_chart(tmp_path: Path) -> None:
    assert chart.CHART.save(Report("recovery", {}), tmp_path, title="Nothing") == []
    assert list(tmp_path.iterdir()) == []
