"""`firsthop load`: its arguments, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json as json_format
import platform
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from firsthop import __version__
from firsthop.load.errors import UsageError

if TYPE_CHECKING:
    from firsthop.load.measured import Measured
    from firsthop.load.ramp import Load

_MAX_SECONDS = 86_400.0


def load(
    url: Annotated[
        str,
        typer.Argument(
            help="Where offers go: a WHIP endpoint, or .../v1/realtime/calls.",
            metavar="URL",
            show_default=False,
        ),
    ],
    callers: Annotated[int, typer.Option("--callers", "-n", help="How many calls.")] = 100,
    rate: Annotated[float, typer.Option("--rate", "-r", help="Calls begun per second.")] = 20.0,
    seconds: Annotated[
        float, typer.Option("--seconds", "-s", help="How long they are held, once all are there.")
    ] = 30.0,
    sound: Annotated[
        Path | None,
        typer.Option(
            "--sound",
            metavar="FILE",
            help="What callers say: WAV or Ogg Opus. Otherwise syllables.",
        ),
    ] = None,
    idle: Annotated[bool, typer.Option("--idle", help="Callers say nothing.")] = False,
    listeners: Annotated[
        int, typer.Option("--listeners", help="How many callers time the echo of what they say.")
    ] = 20,
    door: Annotated[
        str,
        typer.Option("--door", metavar="DOOR", help="whip, realtime, or auto: told by the URL."),
    ] = "auto",
    key: Annotated[
        str,
        typer.Option(
            "--key",
            metavar="KEY",
            help="Sent as bearer token.",
            envvar="LOAD_API_KEY",
            show_default=False,
        ),
    ] = "",
    header: Annotated[
        list[str] | None,
        typer.Option(
            "--header",
            metavar="LINE",
            help="Sent with each offer, as 'CF-IPCountry: SG'; may be given again.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the report as one JSON object.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write the report as a page, with plots."),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", "-t", help="Of the clients.")] = 1,
    local: Annotated[
        str | None,
        typer.Option(
            "--local", metavar="IP", help="IP address to send from; otherwise the one towards URL."
        ),
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Take any TLS certificate.")] = False,
) -> None:
    """Place many calls at once, and report how they were.

    Each caller is a whole WebRTC client: ICE, DTLS, SRTP, Opus and a data channel. All are begun at
    the rate, held, measured, and hung up. An endpoint that sends back what it hears shows the delay
    from mouth to ear as well. Ctrl-C ends early, and still reports. It ends with 1 if a
    call failed.
    """
    # Other commands start without what only this one needs.
    from firsthop.load import doors, report
    from firsthop.load import sound as sounds
    from firsthop.load.page import page
    from firsthop.load.progress import Progress
    from firsthop.load.ramp import Load

    console = Console(stderr=True)
    with _usage():
        _check_seconds(seconds)
        if html is not None:
            _check_writable(html)
        if listeners < 0:
            raise UsageError("--listeners", "expected 0 or more")
        if idle and sound is not None:
            raise UsageError("--idle", "callers that say nothing have no use for --sound")
        with Progress(console, callers, seconds) as progress:
            plan = Load(
                doors.door(url, door, key, doors.headers(header or ())),
                callers=callers,
                rate=rate,
                sound=None if sound is None else sounds.read(sound),
                talks=not idle,
                listeners=listeners,
                threads=threads,
                local=local,
                insecure=insecure,
                watch=progress.show,
            )
            measured = asyncio.run(_run(plan, seconds))
    if json:
        print(json_format.dumps(report.as_json(measured), ensure_ascii=False))
    else:
        Console(highlight=False).print(report.table(measured))
    if html is not None:
        about = f"firsthop {__version__}, threads: {threads}, {platform.platform()}"
        html.write_text(page(measured, [about]), encoding="utf-8")
        console.print(f"kept: {html}", soft_wrap=True, highlight=False)
    raise typer.Exit(int(_failed(measured)))


async def _run(plan: Load, seconds: float) -> Measured:
    """Run it; the first Ctrl-C or SIGTERM ends it early, a second one at once."""
    loop = asyncio.get_running_loop()

    def end() -> None:
        plan.end_early()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    return await plan.run(seconds)


@contextmanager
def _usage() -> Iterator[None]:
    """Show what was asked for wrongly as other commands show it."""
    try:
        yield
    except UsageError as error:
        raise typer.BadParameter(error.problem, param_hint=error.what) from None


def _check_seconds(seconds: float) -> None:
    if not 0 < seconds <= _MAX_SECONDS:
        raise UsageError("--seconds", "expected more than 0, up to a day")


def _check_writable(path: Path) -> None:
    """Find out before the load, and not after it."""
    there = path.exists()
    try:
        with path.open("a"):
            pass
        if not there:
            path.unlink()
    except OSError as error:
        raise UsageError("--html", f"{path} cannot be written: {error.strerror}") from None


def _failed(measured: Measured) -> bool:
    """Whether there were calls that did not stand, or none at all."""
    return bool(measured.failed) or (not measured.stood and not measured.ended_early)
