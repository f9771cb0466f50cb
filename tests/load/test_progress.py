"""How a load test shows itself while it goes on."""

from __future__ import annotations

import io

from rich.console import Console

from firsthop.load.measured import Moment
from firsthop.load.progress import Progress


def moment(at_s: float, connected: int, *, measuring: bool = True) -> Moment:
    gaps = [0] * 2000
    gaps[80] = connected
    return Moment(
        at_s=at_s,
        started=10,
        asking=1,
        connecting=2,
        connected=connected,
        failures={"http 503": 3} if connected else {},
        sent=int(at_s * 1000),
        received=100 * connected,
        lost=connected,
        measuring=measuring,
        setup_ms=[20.0] * connected,
        gaps=gaps,
        moved=connected // 2,
    )


MOMENTS = [moment(n / 4, n // 8, measuring=n > 10) for n in range(41)]


def shown(*, terminal: bool) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100, height=30)
    with Progress(console, asked=10, seconds=30) as progress:
        for one in MOMENTS:
            progress.show(one)
    return stream.getvalue()


def test_without_a_terminal_there_is_a_line_every_two_seconds() -> None:
    lines = shown(terminal=False).splitlines()
    assert [line.split()[0] for line in lines] == ["0", "2", "4", "6", "8", "10"]
    assert "none connected yet; nothing heard yet; setting up" in lines[0]
    assert "5 connected, 3 on their way, 3 failed, 2 moved;" in lines[-1]
    assert "moved" not in lines[0]
    assert "p50 20.0 ms" in lines[-1]
    assert "5 lost (0.99 %), p99 20.2 ms between packets; 23 s to go" in lines[-1]


def test_a_terminal_has_a_view_that_goes_with_the_end() -> None:
    text = shown(terminal=True)
    assert "5 connected" in text
    assert "http 503" in text
    assert "1,000 packets/s sent" in text
    assert "23 s to go" in text
    # The last word is to clear the view.
    assert text.rstrip("\n").endswith("\x1b[2K") or "\x1b[1A\x1b[2K" in text[-400:]
