"""What all plots share: colours, a figure with title and legend, and the files that it becomes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from firsthop.bench.errors import BenchError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GOOD: Final = "#0b6e4f"
MISSED: Final = "#c1121f"
NEUTRAL: Final = "#8a9099"
INK: Final = "#22262b"
GRID: Final = "#e3e6ea"
_DPI: Final = 160


@contextmanager
def figure(
    paths: list[Path], *, title: str, legend: str, inches: tuple[float, float], font_size: float
) -> Iterator[Figure]:
    """Give an empty figure, and write it to `paths`, by their suffixes, once it is drawn.

    Raises:
        BenchError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise BenchError(
            "no plot without matplotlib: `pip install 'firsthop[bench]'`, or `make bench`"
        ) from None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(
        {"font.size": font_size, "svg.fonttype": "none", "svg.hashsalt": "bench"}
    ):
        canvas = Figure(figsize=inches, layout="constrained")
        FigureCanvasAgg(canvas)
        canvas.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK, weight="bold")
        yield canvas
        canvas.supxlabel(legend, x=0.01, ha="left", fontsize=7.5, color=NEUTRAL)
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            canvas.savefig(path, dpi=_DPI, facecolor="white")
