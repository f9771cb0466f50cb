"""The command `firsthop`: arguments and environment become settings."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.text import Text

from firsthop import __version__, runner
from firsthop.config import KEY_BYTES, Settings, load
from firsthop.errors import FirsthopError
from firsthop.telemetry import logs

app = typer.Typer(
    name="firsthop",
    help="An open WebRTC edge for voice AI.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="A YAML file of settings; FIRSTHOP_... variables win."),
]
BackendOption = Annotated[
    str | None,
    typer.Option("--backend", "-b", help="Who answers: local, echo, or module:function."),
]


@app.command()
def dev(config: ConfigOption = None, backend: BackendOption = None) -> None:
    """Run relay and transceiver on this machine, with the demo page. Needs nothing set up."""
    _serve(runner.serve_dev, _settings(config, backend))


@app.command()
def relay(config: ConfigOption = None) -> None:
    """Run a relay."""
    _serve(runner.serve_relay, _settings(config))


@app.command()
def transceiver(config: ConfigOption = None, backend: BackendOption = None) -> None:
    """Run a transceiver, with its signaling."""
    _serve(runner.serve_transceiver, _settings(config, backend))


@app.command()
def key() -> None:
    """Make a cluster key, for `keys` of relays and transceivers."""
    print(secrets.token_hex(KEY_BYTES))


@app.command()
def settings(config: ConfigOption = None) -> None:
    """Show all settings as they are in effect, as YAML; keys are left out."""
    values = _settings(config).model_dump(mode="json", exclude={"keys"})
    print(yaml.safe_dump(values, sort_keys=False), end="")


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
