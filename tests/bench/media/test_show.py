"""Tables of what calls cost."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

from rich.console import Console

from bench.media.sights import GOOD, many
from firsthop.bench.media import figures
from firsthop.bench.media.show import SHEET
from firsthop.bench.report import Report


def report() -> Report:
    rounds = {"firsthop": [GOOD], "pion": [replace(GOOD, cpu_s=0.11)]}
    made = Report("media", {"machine": "a toaster"}, figures.cost_rows("pcm", 10, rounds, {}))
    made.rows += figures.ramp_rows("firsthop", [many(10), many(1_000)], 1_000)
    made.rows.append(figures.idle_row("firsthop", many(1_000, cpu_s=0.2)))
    return made


def test_a_line_tells_what_a_server_took_and_how_it_served() -> None:
    text = SHEET.markdown(report())
    assert "| firsthop | **5.00 (0.91)** | 20.2 | 21.0 / 30.0 | ratio ≤ 0.8 | **no** |" in text
    assert "| pion | 5.50 (1.00) | 20.2 | 21.0 / 30.0 |  |  |" in text
    assert "| firsthop, 1,000 | 5.00 | 20.2 | 21.0 / 30.0 |  |  |" in text


def test_what_is_no_cost_has_its_unit() -> None:
    text = SHEET.markdown(report())
    assert "| firsthop | 1,000 |  |  | value ≥ 1000 | yes |" in text
    assert "| firsthop | **10.0 %** |  |  | value ≤ 5 | **no** |" in text


def test_it_fits_a_terminal_of_80_columns() -> None:
    shown = StringIO()
    Console(width=80, file=shown).print(SHEET.table(report()))
    assert "firsthop, 1,000" in shown.getvalue()
    assert max(map(len, shown.getvalue().splitlines())) <= 80
