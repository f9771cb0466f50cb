"""The command `firsthop`: arguments and environment become settings."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
import os
import secrets
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from firsthop import __version__, runner
from firsthop import token as routing_token
from firsthop.bench import command as bench_command
from firsthop.config import Settings, load
from firsthop.errors import FirsthopError
from firsthop.load import command as load_command
from firsthop.telemetry import logs
from firsthop.values import KEY_BYTES

app = typer.Typer(
    name="firsthop",
    help="An open WebRTC edge for voice AI.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

token_app = typer.Typer(help="Look into routing tokens.", no_args_is_help=True)
app.add_typer(token_app, name="token")
app.add_typer(bench_command.app, name="bench")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="A YAML file of settings; FIRSTHOP_... variables win."),
]
BackendOption = Annotated[
    str | None,
    typer.Option(
        "--backend", "-b", help="Who answers: realtime, pipecat, echo, mirror, or module:function."
    ),
]


@app.command()
def dev(config: ConfigOption = None, backend: BackendOption = None) -> None:
    """Run relay and transceiver on this machine, with the demo page. Needs nothing set up."""
    _serve(runner.serve_dev, _settings(config, backend))


@app.command()
def relay(
    config: ConfigOption = None,
    takeover: Annotated[
        bool,
        typer.Option("--takeover", help="Take the place of the relay at relay.takeover_socket."),
    ] = False,
) -> None:
    """Run a relay."""
    _serve(functools.partial(runner.serve_relay, take_over=takeover), _settings(config))


@app.command()
def transceiver(config: ConfigOption = None, backend: BackendOption = None) -> None:
    """Run a transceiver, with its signaling."""
    _serve(runner.serve_transceiver, _settings(config, backend))


@app.command()
def agent(config: ConfigOption = None) -> None:
    """Run an agent service: calls by WebSocket, answered by models and tools."""
    _serve(runner.serve_agent, _settings(config))


app.command()(load_command.load)


@app.command()
def key() -> None:
    """Make a cluster key, for `keys` of relays and transceivers."""
    print(secrets.token_hex(KEY_BYTES))


@app.command()
def settings(config: ConfigOption = None) -> None:
    """Show all settings as they are in effect, as YAML; keys are left out."""
    values = _settings(config).model_dump(mode="json", exclude={"keys"})
    print(yaml.safe_dump(values, sort_keys=False), end="")


@token_app.command("inspect")
def inspect_token(
    ufrag: Annotated[str, typer.Argument(help="The server's ufrag, or a USERNAME with it.")],
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Explain a server's ufrag, by `keys` and `relay.clusters`; 1 if a relay would drop it."""
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


def _settings(config: Path | None, backend: str | None = None) -> Settings:
    environment = dict(os.environ)
    if backend is not None:
        environment["FIRSTHOP_BACKEND"] = backend
    return load(config, environment)


def _serve(serve: Callable[[Settings], Coroutine[None, None, None]], settings: Settings) -> None:
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
