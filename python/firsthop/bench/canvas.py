"""What all plots share: colours, a figure with title and legend, and the files that it becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from firsthop.bench.errors import BenchError
from firsthop.bench.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GOOD: Final = "#0b6e4f"
MISSED: Final = "#c1121f"
NEUTRAL: Final = "#8a9099"
INK: Final = "#22262b"
GRID: Final = "#e3e6ea"
_DPI: Final = 160


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A way to draw a report."""

    inches: Callable[[Report], tuple[float, float] | None]
    """Width and height; None when there is nothing to draw."""
    draw: Callable[[Figure, Report], None]
    """Fills an empty figure."""
    legend: str
    """What stands below, before the figures of `about` and whatever parts it from them."""
    about: tuple[str, ...] = ("machine", "date")
    """What of the report's `about` stands below."""
    font_size: float = 9

    def save(self, report: Report, folder: Path, *, title: str) -> list[Path]:
        """Write ``<bench>.png`` and ``<bench>.svg`` into `folder`, and return their paths.

        Raises:
            BenchError: matplotlib is not installed.
        """
        inches = self.inches(report)
        if inches is None:
            return []
        about = [report.about[name] for name in self.about if name in report.about]
        paths = [folder / f"{report.bench}.png", folder / f"{report.bench}.svg"]
        self._write(paths, report, title, self.legend + " · ".join(about), inches)
        return paths

    def _write(
        self,
        paths: list[Path],
        report: Report,
        title: str,
        legend: str,
        inches: tuple[float, float],
    ) -> None:
        try:
            import matplotlib
        except ImportError:
            raise BenchError(
                "no plot without matplotlib: `pip install 'firsthop[bench]'`, or `make bench`"
            ) from None
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        with matplotlib.rc_context(
            {"font.size": self.font_size, "svg.fonttype": "none", "svg.hashsalt": "bench"}
        ):
            figure = Figure(figsize=inches, layout="constrained")
            FigureCanvasAgg(figure)
            figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK, weight="bold")
            self.draw(figure, report)
            figure.supxlabel(legend, x=0.01, ha="left", fontsize=7.5, color=NEUTRAL)
            for path in paths:
                path.parent.mkdir(parents=True, exist_ok=True)
                figure.savefig(path, dpi=_DPI, facecolor="white")


def plain(axes: Axes) -> None:
    """Leave of an axes' frame what is read: labels, and pale lines behind the figures."""
    axes.tick_params(length=0, labelcolor=INK)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)


def label(
    axes: Axes,
    text: str,
    at: tuple[float, float],
    *,
    size: float,
    gap: float = 7,
    colour: str = INK,
    bold: bool = False,
) -> None:
    """Write figures to the right of what was drawn `at` x and y, `gap` points away."""
    axes.annotate(
        text,
        at,
        xytext=(gap, 0),
        textcoords="offset points",
        va="center",
        fontsize=size,
        color=colour,
        weight="bold" if bold else "normal",
    )
