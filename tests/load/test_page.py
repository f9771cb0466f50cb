"""The report as a page, and its plots."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.load.page import page
from firsthop.load.svg import Plot, Series, ticks
from load.findings import TOTALS, measured


def plots(text: str) -> dict[str, ElementTree.Element]:
    """Return the plots of a page by their names; each is well-formed."""
    found = [ElementTree.fromstring(one) for one in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]
    return {one.attrib["aria-label"]: one for one in found}


def test_a_page_has_every_plot_and_needs_nothing_else() -> None:
    text = page(measured(), ["on a quiet machine"])
    assert set(plots(text)) == {
        "Calls",
        "Packets lost",
        "Longest silence between packets",
        "Set-up",
        "Time between packets",
        "Mouth to ear",
    }
    assert "on a quiet machine" in text
    assert "prefers-color-scheme: dark" in text
    assert not re.findall(r"(?:src|href|@import|url\()", text)
    assert "<script" not in text


def test_what_a_server_says_is_text_on_a_page() -> None:
    text = page(measured(url="http://x/<script>alert(1)</script>/whip"))
    assert "&lt;b&gt;another&lt;/b&gt;" in text
    assert "no &lt;i&gt;key&lt;/i&gt;" in text
    assert "<script" not in text


def test_a_load_that_found_nothing_has_a_page_without_plots() -> None:
    found = measured(
        started=1,
        stood=0,
        failures={"timed out": 1},
        stages_ms={},
        totals=dict.fromkeys(TOTALS, 0),
        gaps=[0] * 2000,
        jitter_ms=[],
        round_trip_ms=[],
        delays_ms=[],
        moves_failed={},
        instants=[],
    )
    text = page(found)
    assert plots(text) == {}
    assert "timed out" in text


@pytest.mark.parametrize("kind", ["line", "area", "steps", "bars"])
@pytest.mark.parametrize("log_y", [False, True])
def test_what_is_drawn_stays_within_the_plot(kind: str, log_y: bool) -> None:
    points = [(0.0, 0.0), (5.0, 7.0), (9.0, 100_000.0), (1e9, 1e9)]
    series = Series("x", "c1", points, kind)  # type: ignore[arg-type]
    drawn = Plot("x", "y", [series], x_range=(0.0, 10.0), y_top=50.0, log_y=log_y).render("plot")
    svg = ElementTree.fromstring(drawn)
    _, _, width, height = map(float, svg.attrib["viewBox"].split())
    for element in svg:
        if element.tag == "rect":
            x, y, wide, high = (
                float(element.attrib[name]) for name in ("x", "y", "width", "height")
            )
            assert 0 <= x <= x + wide <= width
            assert 0 <= y <= y + high <= height
        for x, y in re.findall(r"([\d.]+) ([\d.]+)(?=[LVZ]|$)", element.attrib.get("d", "")):
            assert 0 <= float(x) <= width
            assert 0 <= float(y) <= height


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_a_few_even_steps_within_the_range(low: float, size: float) -> None:
    high = low + size
    found = ticks(low, high)
    assert 1 <= len(found) <= 8
    slack = size * 1e-3
    assert all(low - slack <= tick <= high + slack for tick in found)
    distances = [after - tick for tick, after in pairwise(found)]
    assert all(distance == pytest.approx(distances[0], rel=1e-3) for distance in distances)
