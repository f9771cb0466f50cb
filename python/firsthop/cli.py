"""The command `firsthop`: arguments and environment become settings.

Commands import what they need themselves: whoever wants help waits for none of it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
import os
import secrets
import sys
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from firsthop import __version__
from firsthop.bench import command as bench_command
from firsthop.errors import FirsthopError
from firsthop.load import command as load_command
from firsthop.options import ConfigOption
from firsthop.plan import command as plan_command
from firsthop.steering import command as steer_command

if TYPE_CHECKING:
    from firsthop.config import Settings
    from firsthop.reloading import Source

app = typer.Typer(
    name="firsthop",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    # A bug of ours is worth its traceback, in a form that a report can quote.
    pretty_exceptions_enable=False,
)

key_app = typer.Typer()
app.add_typer(key_app, name="key")
token_app = typer.Typer(help="Look into routing tokens.", no_args_is_help=True)
app.add_typer(token_app, name="token")
app.add_typer(bench_command.app, name="bench")
app.add_typer(steer_command.app, name="steer")

BackendOption = Annotated[
    str | None,
    typer.Option(
        "--backend",
        "-b",
        metavar="NAME",
        help="Who answers: realtime, pipecat, echo, mirror, or module:function.",
    ),
]


@app.callback()
def firsthop(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """An open WebRTC edge for voice AI."""
    if version:
        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


@app.command()
def dev(config: ConfigOption = None, backend: BackendOption = None) -> None:
    """Run everything on this machine, with a demo page.

    A relay, a transceiver and, unless somebody else answers, an agent. Nothing has to be set up.
    """
    from firsthop import runner

    _serve_reloading(runner.serve_dev, _source(config, backend))


@app.command()
def relay(
    config: ConfigOption = None,
    takeover: Annotated[
        bool,
        typer.Option("--takeover", help="Take the place of the relay at relay.takeover_socket."),
    ] = False,
) -> None:
    """Run a relay."""
    from firsthop import runner

    _serve_reloading(functools.partial(runner.serve_relay, take_over=takeover), _source(config))


@app.command()
def transceiver(config: ConfigOption = None, backend: BackendOption = None) -> None:
    """Run a transceiver, with its signaling."""
    from firsthop import runner

    _serve_reloading(runner.serve_transceiver, _source(config, backend))


@app.command()
def gateway(config: ConfigOption = None) -> None:
    """Run a gateway: signaling's entry for all clusters of a fleet."""
    from firsthop import runner

    _serve_reloading(runner.serve_gateway, _source(config))


@app.command()
def agent(config: ConfigOption = None) -> None:
    """Run an agent service: it hears, thinks and speaks."""
    from firsthop import runner

    _serve(runner.serve_agent, _settings(config))


app.command()(load_command.load)
app.command()(plan_command.plan)


@key_app.callback(invoke_without_command=True)
def key(context: typer.Context) -> None:
    """Make a cluster key, for `keys` of relays and transceivers."""
    from firsthop.values import KEY_BYTES

    if context.invoked_subcommand is None:
        print(secrets.token_hex(KEY_BYTES))


@key_app.command("edge")
def edge_keys(
    config: ConfigOption = None,
    cluster: Annotated[
        int | None,
        typer.Option("--cluster", help="Its id; by default, the one that the settings are for."),
    ] = None,
) -> None:
    """Print a cluster's edge keys, for `edge_keys` of edge relays.

    They are made of the cluster's `keys`, which the settings have to hold.
    """
    import yaml

    from firsthop._native import edge_key

    settings = _settings(config)
    keys = {id_: edge_key(master).hex() for id_, master in settings.key_bytes().items()}
    if cluster is None:
        cluster = settings.relay.cluster
    if cluster is None:
        cluster = settings.transceiver.cluster
    entry = {cluster: {"keys": keys, "key_id": settings.key_id}}
    print(yaml.safe_dump(entry, sort_keys=False), end="")


@app.command()
def settings(config: ConfigOption = None) -> None:
    """Show all settings in effect, as YAML, without the keys."""
    import yaml

    values = _settings(config).model_dump(mode="json", exclude={"keys"})
    print(yaml.safe_dump(values, sort_keys=False), end="")


@token_app.command("inspect")
def inspect_token(
    ufrag: Annotated[
        str, typer.Argument(metavar="UFRAG", help="The server's ufrag, or a USERNAME with it.")
    ],
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Explain the ufrag of an SDP answer.

    It takes the `keys` and `relay.clusters` of the settings, and ends with 1 if a relay would drop
    the client's packets.
    """
    from firsthop import token as routing_token

    now = datetime.now(UTC)
    inspection = routing_token.inspect(ufrag, _settings(config), now)
    if as_json:
        print(json.dumps(dataclasses.asdict(inspection), default=datetime.isoformat))
    else:
        table = Table.grid(padding=(0, 2))
        for name, value in routing_token.rows(inspection, now):
            table.add_row(Text(name, "bold"), Text(value))
        Console(highlight=False).print(table)
    raise typer.Exit(int(inspection.refusal is not None))


@app.command()
def version() -> None:
    """Show the version."""
    print(__version__)


def _settings(config: Sequence[Path] | None) -> Settings:
    return _source(config).load()


def _source(config: Sequence[Path] | None, backend: str | None = None) -> Source:
    from firsthop.reloading import Source

    environment = dict(os.environ)
    if backend is not None:
        environment["FIRSTHOP_BACKEND"] = backend
    return Source(config or (), environment)


def _serve_reloading(serve: Callable[..., Coroutine[None, None, None]], source: Source) -> None:
    """Serve with settings that may change meanwhile."""
    _serve(functools.partial(serve, source=source), source.load())


def _serve(serve: Callable[[Settings], Coroutine[None, None, None]], settings: Settings) -> None:
    from firsthop.telemetry import logs

    logs.configure(settings.log_format)
    asyncio.run(serve(settings))


def main() -> None:
    """Run the command; an error that we foresaw is one line, not a traceback."""
    try:
        app()
    except FirsthopError as error:
        prefix, message = Text("firsthop: ", style="red"), Text(str(error))
        Console(stderr=True, highlight=False).print(prefix + message, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
