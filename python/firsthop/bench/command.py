"""`firsthop bench ...`: runs a benchmark, shows it, and keeps what it found."""

# Annotations are not put off here: those of a command are what its options are made of.

import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from firsthop.bench import checkout, report
from firsthop.bench.errors import BenchError

if TYPE_CHECKING:
    from firsthop.bench.benchmark import Benchmark

app = typer.Typer(
    name="bench",
    help="Measure firsthop, beside others. Needs a checkout.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A benchmark as the command line knows it, before anything that it needs is imported."""

    name: str
    module: str
    """Where its `BENCHMARK` is."""
    help: str
    quick: str = "Fewer rounds: under a minute, wider spreads."
    """What ``--quick`` does."""


LISTED: Final = (
    Listed(
        name="relay",
        module="firsthop.bench.relay",
        help="""Measure what the relay costs per packet, beside other relays.

        CPU time, added latency and memory of `firsthop relay`, of relays in C, Go and Python, and
        of coturn. They are built and started here, run in turns on one core, and get the same
        packets. As root it takes a network of its own and real-time priority; without, it says
        what is missing. Contenders whose compiler or program is missing are left out, and the
        report says so.
        """,
    ),
    Listed(
        name="recovery",
        module="firsthop.bench.recovery.benchmark",
        help="""Measure for how long calls are silent when something breaks.

        Relays are upgraded, killed and exchanged, and their Redis is killed, stopped, slowed and
        filled with garbage, while calls of stand-ins go on through them: real `firsthop relay`
        processes and a real redis-server, started here. Without redis-server those rows are left
        out. As root it takes a network of its own and real-time priority; without, it says what is
        missing.
        """,
    ),
    Listed(
        name="barge-in",
        module="firsthop.bench.barge_in.run",
        help="""Measure how soon the agent is silent once the caller speaks.

        A caller interrupts an agent again and again, through a relay and a transceiver that are
        started here, and notes when he was told and when he last heard it.
        """,
    ),
    Listed(
        name="turn",
        module="firsthop.bench.voice.benchmark",
        help="""Measure how long an answer takes, stage by stage.

        A caller asks through relay, transceiver and agent, which are started here: with endpoints
        that take seeded times, with the offline stages, and the same chain built with Pipecat.
        Without Pipecat's packages that one is left out, and the report says so. It ends with 1 if
        the target is missed.
        """,
        quick="Fewer turns: two minutes, wider spreads.",
    ),
    Listed(
        name="media",
        module="firsthop.bench.media.run",
        help="""Measure what a call costs the server that answers it.

        CPU time and memory of `firsthop transceiver`, of Pion with libopus and of aiortc, which
        echo calls: as sound that is decoded and encoded again, and as packets that pass through.
        How many calls each holds on one core, and what those cost in which nobody speaks. Pion
        needs Go and libopus, and is left out without; then the report says so.
        """,
        quick="Fewer calls and rounds: under a minute, no figures of a thousand calls.",
    ),
    Listed(
        name="setup",
        module="firsthop.bench.setup.benchmark",
        help="""Measure how many round trips pass until a call is heard.

        Chromium calls firsthop, with and without relay, Pion and aiortc, all started here, through
        a network that is 0 to 200 ms long. It takes Playwright, and is best as root; without, it
        says what is missing. `python -m firsthop.bench.setup` prints one call packet by packet.
        """,
        quick="Fewer distances and calls: under a minute, wider spreads.",
    ),
    Listed(
        name="quality",
        module="firsthop.bench.quality.benchmark",
        help="""Measure how speech sounds, and how late, on a bad network.

        Speech goes through seeded networks to `firsthop transceiver`, to aiortc and to Chromium,
        all started here: the same packets are lost and late for each. What an agent is handed, what
        a track brings and what the browser plays is scored by PESQ. It takes espeak-ng; without
        Chromium or Playwright that one is left out, and the report says so.
        """,
        quick="Three networks, fewer clips: under a minute, wider spreads.",
    ),
    Listed(
        name="global",
        module="firsthop.bench.global_.benchmark",
        help="""Measure calls from afar: direct, by TURN, by Global Relay.

        Three regions of network namespaces on this machine, with jitter and loss between them, and
        in them relays, transceivers, a gateway, coturn and a browser. It shows how long set-up
        takes and what media goes through in each way, and for how long calls are silent when an
        edge, a link, a relay, a region or the Redis of steering is gone. It takes root. Without
        coturn or redis-server those rows are left out, and the report says so.
        """,
        quick="Fewer calls, everything breaks once: under four minutes, wider spreads.",
    ),
    Listed(
        name="rollout",
        module="firsthop.bench.rollout.benchmark",
        help="""Rehearse the Helm chart under calls: upgrades, a lost node.

        What the chart says is run without a cluster: its pods are processes in network namespaces
        on this machine, brought up, probed, drained and ended as its manifests have it, behind
        virtual addresses of the kernel. It shows what becomes of calls meanwhile. It takes root,
        helm, nftables and conntrack. Without redis-server it goes without, and the report says so.
        """,
        quick="Fewer calls, which are shorter: a minute and a half.",
    ),
    Listed(
        name="fleet",
        module="firsthop.bench.fleet.benchmark",
        help="""Simulate a fleet of a million calls, parts of which fail.

        A fleet is planned (`firsthop plan`), steered by the real steering, loses relays and a whole
        ingress, and is called by a crowd. Nothing is started and nothing measured: silences are
        drawn from what `firsthop bench recovery` measured, and from clients' clocks. The same seed
        gives the same rows.
        """,
        quick="A hundred thousand calls.",
    ),
)


@app.callback()
def bench() -> None:
    """Measure firsthop, beside others. Needs a checkout."""


def _add(listed: Listed) -> None:
    """Make a command of a benchmark."""

    @app.command(listed.name, help=listed.help)
    def run(
        quick: Annotated[bool, typer.Option("--quick", help=listed.quick)] = False,
        json: Annotated[
            bool,
            typer.Option("--json", help="Print rows as JSON, one object per line; no table."),
        ] = False,
        output: Annotated[
            Path,
            typer.Option("--output", "-o", metavar="DIR", help="For plots, JSON lines, Markdown."),
        ] = checkout.RESULTS,
    ) -> None:
        of: Benchmark[Any] = import_module(listed.module).BENCHMARK
        checkout.check()
        scale = of.quick if quick else of.full
        console = Console(stderr=True)
        with _measuring(of.steps(scale), console) as (folder, progress):
            found = of.run(scale, folder, progress)
        _show(of, found, output, as_json=json, console=console)
        if of.must_hold:
            raise typer.Exit(int(bool(found.missed())))


for _listed in LISTED:
    _add(_listed)


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
    of: "Benchmark[Any]", found: report.Report, output: Path, *, as_json: bool, console: Console
) -> None:
    """Print a report, and keep it in `output`."""
    lines = "\n".join(report.json_lines(found))
    if as_json:
        print(lines)
    else:
        Console().print(of.table(found))
    output.mkdir(parents=True, exist_ok=True)
    kept = [output / f"{found.bench}.jsonl", output / f"{found.bench}.md"]
    kept[0].write_text(lines + "\n")
    kept[1].write_text(of.markdown(found))
    try:
        kept += of.chart.save(found, output, title=of.title)
    except BenchError as error:
        console.print(str(error))
    console.print("kept: " + ", ".join(str(path) for path in kept), soft_wrap=True)
    missed = found.missed()
    if missed:
        console.print(f"{len(missed)} of the targets missed", style="yellow")
