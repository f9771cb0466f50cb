"""How a load test stands, while it goes on: live in a terminal, in lines elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from firsthop.load.measured import Moment, gap_percentile, percentile
from firsthop.load.report import shown

#: A line this often, where there is no terminal.
_LINE_S: Final = 2.0


class Progress:
    """Shows moments. Use it as a context manager.

    Args:
        console: Where to; a terminal gets a live view, anything else a line every 2 seconds.
        asked: How many calls there should be.
        seconds: How long they are held.
    """

    def __init__(self, console: Console, asked: int, seconds: float) -> None:
        self._console = console
        self._asked = asked
        self._seconds = seconds
        self._before: Moment | None = None
        self._measuring_since: float | None = None
        self._next_s = 0.0
        self._live = Live(console=console, transient=True, auto_refresh=False)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, moment: Moment) -> None:
        """Show how things stand now."""
        if moment.measuring and self._measuring_since is None:
            self._measuring_since = moment.at_s
        if self._console.is_terminal:
            self._live.update(self._view(moment), refresh=True)
        elif moment.at_s >= self._next_s:
            self._next_s = moment.at_s + _LINE_S
            text = f"{line(moment)}; {self._left(moment)}"
            self._console.print(text, highlight=False, soft_wrap=True)
        else:
            return
        self._before = moment

    def _view(self, moment: Moment) -> Table:
        grid = Table.grid(padding=(0, 2))
        grid.add_row(Text("calls", "bold"), self._calls(moment))
        for name, text in self._figures(moment):
            grid.add_row(Text(name, "bold"), Text(text))
        for cause, count in sorted(moment.failures.items()):
            grid.add_row(Text(cause, "red"), Text(f"{count:,}", "red"))
        return grid

    def _calls(self, moment: Moment) -> Text:
        pending = moment.asking + moment.connecting
        return Text.assemble(
            (f"{moment.connected:,} connected", "green"),
            f" of {self._asked:,}, ",
            (f"{pending:,} on their way", "yellow" if pending else "dim"),
            f", {moment.moved:,} moved" if moment.moved else "",
            f" · {self._left(moment)}",
        )

    def _left(self, moment: Moment) -> str:
        if self._measuring_since is None:
            return "setting up"
        passed = moment.at_s - self._measuring_since
        return f"{max(self._seconds - passed, 0):.0f} s to go"

    def _figures(self, moment: Moment) -> list[tuple[str, str]]:
        rates = ""
        before = self._before
        if before is not None and moment.at_s > before.at_s and moment.sent >= before.sent:
            seconds = moment.at_s - before.at_s
            sent = (moment.sent - before.sent) / seconds
            received = (moment.received - before.received) / seconds
            rates = f"{sent:,.0f} packets/s sent, {received:,.0f} received"
        return [("set-up", setup(moment)), ("media", media(moment)), ("rate", rates)]


def line(moment: Moment) -> str:
    """Return a moment in one line."""
    failed = sum(moment.failures.values())
    parts = [
        f"{moment.at_s:.0f} s:",
        f"{moment.connected:,} connected,",
        f"{moment.asking + moment.connecting:,} on their way,",
        f"{failed:,} failed{f', {moment.moved:,} moved' if moment.moved else ''};",
        f"{setup(moment)};",
        media(moment),
    ]
    return " ".join(parts)


def setup(moment: Moment) -> str:
    """Return how long calls take to be connected."""
    if not moment.setup_ms:
        return "none connected yet"
    p50, p95 = (shown(percentile(moment.setup_ms, percent)) for percent in (50, 95))
    return f"connected in p50 {p50} ms, p95 {p95} ms"


def media(moment: Moment) -> str:
    """Return what becomes of packets."""
    due = moment.received + moment.lost
    if not due:
        return "nothing heard yet"
    p99 = gap_percentile(moment.gaps, 99)
    gap = "" if p99 is None else f", p99 {shown(p99)} ms between packets"
    return f"{moment.lost:,} lost ({100 * moment.lost / due:.2g} %){gap}"
