"""Plots as inline SVG: lines, areas and bars on axes. Colours are classes, for a page's styles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, Literal

Point = tuple[float, float]

_WIDTH: Final = 560
_HEIGHT: Final = 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 68, 14, 12, 40
_TICKS: Final = 6


@dataclass(frozen=True, slots=True)
class Series:
    """One thing drawn.

    Args:
        name: For the legend; empty: none.
        style: The class of its marks, which a page gives a colour.
        points: (x, y), with ascending x.
        kind: A line, a line with what is below it, steps, or bars (x is a bar's left end).
        bar: Width of a bar, in units of x.
    """

    name: str
    style: str
    points: Sequence[Point]
    kind: Literal["line", "area", "steps", "bars"] = "line"
    bar: float = 1.0


@dataclass(frozen=True, slots=True)
class Plot:
    """Axes, and what is drawn on them.

    Args:
        x_label: With its unit.
        y_label: With its unit.
        series: Drawn in this order.
        x_range: From and to; None: what there is.
        y_top: None: what there is.
        log_y: Whether the y axis is logarithmic, from 0.8.
    """

    x_label: str
    y_label: str
    series: Sequence[Series]
    x_range: Point | None = None
    y_top: float | None = None
    log_y: bool = False

    def render(self, title: str) -> str:
        """Return an <svg>; `title` is what a screen reader says."""
        x0, x1 = self.x_range or self._extent()
        top = self.y_top or max((y for one in self.series for _, y in one.points), default=1) or 1
        axes = _Axes(x0, x1 if x1 > x0 else x0 + 1, top, self.log_y)
        body = [*axes.grid(), *(axes.draw(one) for one in self.series)]
        middle = _LEFT + (_WIDTH - _LEFT - _RIGHT) / 2
        body.append(
            f'<text class="label" x="{middle:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">'
            f"{escape(self.x_label)}</text>"
        )
        half = _TOP + (_HEIGHT - _TOP - _BOTTOM) / 2
        body.append(
            f'<text class="label" transform="translate(12 {half:.0f}) rotate(-90)" '
            f'text-anchor="middle">{escape(self.y_label)}</text>'
        )
        return (
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
            f"{''.join(body)}</svg>"
        )

    def _extent(self) -> Point:
        xs = [x for one in self.series for x, _ in one.points] or [0.0, 1.0]
        return min(xs), max(xs)


class _Axes:
    """From figures to places."""

    def __init__(self, x0: float, x1: float, top: float, log: bool) -> None:
        self._x0, self._x1 = x0, x1
        self._log = log
        self._bottom = 0.8 if log else 0.0
        self._top = 10 ** math.ceil(math.log10(max(top, 10))) if log else top * 1.05

    def x(self, value: float) -> float:
        part = (min(max(value, self._x0), self._x1) - self._x0) / (self._x1 - self._x0)
        return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high, value = self._bottom, self._top, min(max(value, self._bottom), self._top)
        if self._log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    def grid(self) -> list[str]:
        """Lines and numbers behind everything."""
        parts = []
        for tick in self._y_ticks():
            y = self.y(tick)
            parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
            parts.append(
                f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
                f"{tick:,.10g}</text>"
            )
        for tick in ticks(self._x0, self._x1):
            parts.append(
                f'<text class="tick" x="{self.x(tick):.1f}" y="{_HEIGHT - _BOTTOM + 16}" '
                f'text-anchor="middle">{tick:,.10g}</text>'
            )
        return parts

    def draw(self, series: Series) -> str:
        style = escape(series.style, quote=True)
        points = series.points
        if not points:
            return ""
        if series.kind == "bars":
            return "".join(self._bar(x, y, series.bar, style) for x, y in points if y > 0)
        if series.kind == "steps":
            points = [
                step
                for (x, y), (after, _) in zip(points, [*points[1:], points[-1]], strict=True)
                for step in ((x, y), (after, y))
            ]
        path = "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)
        drawn = f'<path class="line {style}" d="M{path}"/>'
        if series.kind == "area":
            floor = _HEIGHT - _BOTTOM
            ends = f"V{floor}H{self.x(points[0][0]):.1f}Z"
            drawn = f'<path class="area {style}" d="M{path}{ends}"/>' + drawn
        return drawn

    def _bar(self, x: float, y: float, width: float, style: str) -> str:
        left, right, top = self.x(x), self.x(x + width), self.y(y)
        # A hair between neighbours, if there is room for one.
        thick = max(right - left - (1 if right - left > 3 else 0), 0.8)
        height = _HEIGHT - _BOTTOM - top
        return (
            f'<rect class="bar {style}" x="{left:.1f}" y="{top:.1f}" width="{thick:.1f}" '
            f'height="{height:.1f}"/>'
        )

    def _y_ticks(self) -> list[float]:
        if not self._log:
            return ticks(0, self._top)
        highest = round(math.log10(self._top))
        step = max(1, -(-highest // _TICKS))
        return [10.0**power for power in range(0, highest + 1, step)]


def ticks(low: float, high: float, most: int = _TICKS) -> list[float]:
    """Return at most `most` + 1 round numbers from `low` to `high`."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * unit for unit in (1, 2, 5, 10) if power * unit >= rough * 0.999999)
    first = math.ceil(low / step - 1e-9)
    count = math.floor((high - first * step) / step + 1e-9) + 1
    return [round((first + n) * step, 12) for n in range(count)]
