"""The command `firsthop steer`: its arguments."""

# Annotations are not put off here: those of a command are what its options are made of.

import json
from typing import Annotated

import typer
from rich.console import Console

from firsthop.options import ConfigOption

app = typer.Typer(help="Look into steering.", no_args_is_help=True)


@app.callback()
def steer() -> None:
    """Look into steering."""


@app.command("explain")
def explain_command(
    ip: Annotated[
        str | None, typer.Option("--ip", metavar="IP", help="The client's address.")
    ] = None,
    place: Annotated[
        str | None, typer.Option("--location", metavar="LAT,LON", help="Where it is, in degrees.")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            "--header",
            metavar="LINE",
            help='As a trusted proxy sends it: "Name: value". Repeatable.',
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Tell which cluster and ingresses a client would get, and why.

    It ends with 1 if there is no room.
    """
    # Other commands start without what only this one needs.
    from firsthop.steering.asked import asked

    explanation = asked(ip, place, header or [], config or [])
    if as_json:
        print(json.dumps(explanation.as_json()))
    else:
        Console(highlight=False).print(explanation.as_tables())
    raise typer.Exit(int(explanation.decision.cluster is None))
