"""`firsthop bench ...`: runs a benchmark, shows it, and keeps what it found."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from firsthop.bench import checkout, plot, report
from firsthop.bench.errors import BenchError

app = typer.Typer(
    name="bench",
    help="Measure firsthop, beside others. Needs a checkout.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


QuickOption = Annotated[
    bool, typer.Option("--quick", help="Fewer rounds: under a minute, wider spreads.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print rows as JSON, one object per line; no table.")
]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for plots, JSON lines and Markdown.")
]


@app.callback()
def bench() -> None:
    """Measure firsthop, beside others. Needs a checkout."""


@app.command()
def relay(
    quick: QuickOption = False,
    json: JsonOption = False,
    output: OutputOption = checkout.RESULTS,
) -> None:
    """Measure what the relay costs per packet, beside other relays.

    CPU time, added latency and memory of `firsthop relay`, of relays in C, Go and Python, and of
    coturn. They are built and started here, run in turns on one core, and get the same packets.
    As root it takes a network of its own and real-time priority; without, it says what is missing.
    Contenders whose compiler or program is missing are left out, and the report says so.
    """
    from firsthop.bench import relay as relay_bench

    checkout.check()
    scale = relay_bench.QUICK if quick else relay_bench.FULL
    console = Console(stderr=True)
    with _measuring(relay_bench.steps(scale), console) as (folder, progress):
        found = relay_bench.run(scale, folder, progress)
    title = "The relay beside others: each panel relative to its reference, 1 (less is better)"
    _show(found, output, title=title, as_json=json, console=console)


@app.command()
def recovery(
    quick: QuickOption = False,
    json: JsonOption = False,
    output: OutputOption = checkout.RESULTS,
) -> None:
    """Measure for how long calls are silent when something breaks.

    Relays are upgraded, killed and exchanged, and their Redis is killed, stopped, slowed and filled
    with garbage, while calls of stand-ins go on through them: real `firsthop relay` processes and a
    real redis-server, started here. Without redis-server those rows are left out. As root it takes
    a network of its own and real-time priority; without, it says what is missing.
    """
    from firsthop.bench.recovery import chart, run, show

    checkout.check()
    scale = run.QUICK if quick else run.FULL
    console = Console(stderr=True)
    with _measuring(run.steps(scale), console) as (folder, progress):
        found = run.run(scale, folder, progress)
    _show(
        found,
        output,
        title="For how long calls are silent when something breaks",
        as_json=json,
        console=console,
        table=show.table,
        markdown=show.markdown,
        draw=chart.save,
    )


@app.command("barge-in")
def barge_in(
    quick: QuickOption = False,
    json: JsonOption = False,
    output: OutputOption = checkout.RESULTS,
) -> None:
    """Measure how soon the agent is silent once the caller speaks.

    A caller interrupts an agent again and again, through a relay and a transceiver that are started
    here, and notes when he was told and when he last heard it.
    """
    from firsthop.bench.barge_in import run

    checkout.check()
    scale = run.QUICK if quick else run.FULL
    console = Console(stderr=True)
    with _measuring(run.steps(scale), console) as (folder, progress):
        found = run.run(scale, folder, progress)
    title = "How soon the agent is silent once the caller speaks"
    _show(found, output, title=title, as_json=json, console=console)


@app.command()
def turn(
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer turns: two minutes, wider spreads.")
    ] = False,
    json: JsonOption = False,
    output: OutputOption = checkout.RESULTS,
) -> None:
    """Measure how long an answer takes, stage by stage; 1 if the target is missed.

    A caller asks through relay, transceiver and agent, which are started here: with endpoints that
    take seeded times, with the offline stages, and the same chain built with Pipecat. Without
    Pipecat's packages that one is left out, and the report says so.
    """
    from firsthop.bench.voice import chart, run, show

    checkout.check()
    scale = run.QUICK if quick else run.FULL
    console = Console(stderr=True)
    with _measuring(run.steps(scale), console) as (folder, progress):
        found = run.run(scale, folder, progress)
    _show(
        found,
        output,
        title="How long an answer takes",
        as_json=json,
        console=console,
        table=show.table,
        markdown=show.markdown,
        draw=chart.save,
    )
    raise typer.Exit(int(bool(found.missed())))


@contextmanager
def _measuring(steps: int, console: Console) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """Yield a folder for what nobody needs afterwards, and what to tell of each step."""
    # Asked to end, it ends what it started first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        tempfile.TemporaryDirectory(prefix="firsthop-bench-") as folder,
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        ) as bar,
    ):
        task = bar.add_task("", total=steps)
        yield Path(folder), lambda what: bar.update(task, advance=1, description=what)


def _show(
    found: report.Report,
    output: Path,
    *,
    title: str,
    as_json: bool,
    console: Console,
    table: Callable[[report.Report], RenderableType] = report.table,
    markdown: Callable[[report.Report], str] = report.markdown,
    draw: Callable[..., list[Path]] = plot.save,
) -> None:
    """Print a report, and keep it in `output`."""
    lines = "\n".join(report.json_lines(found))
    if as_json:
        print(lines)
    else:
        Console().print(table(found))
    output.mkdir(parents=True, exist_ok=True)
    kept = [output / f"{found.bench}.jsonl", output / f"{found.bench}.md"]
    kept[0].write_text(lines + "\n")
    kept[1].write_text(markdown(found))
    try:
        kept += draw(found, output, title=title)
    except BenchError as error:
        console.print(str(error))
    console.print("kept: " + ", ".join(str(path) for path in kept), soft_wrap=True)
    missed = found.missed()
    if missed:
        console.print(f"{len(missed)} of the targets missed", style="yellow")
