"""`firsthop plan`: its arguments."""

# Annotations are not put off here: those of a command are what its options are made of.

import json as json_format
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def plan(
    regions: Annotated[
        Path,
        typer.Option(
            "--regions", "-r", metavar="FILE", help="A YAML file: where users and clusters are."
        ),
    ],
    sessions: Annotated[
        float | None, typer.Option("--sessions", "-n", help="At the same time, at peak.")
    ] = None,
    weekly_users: Annotated[
        float | None, typer.Option("--weekly-users", "-w", help="In the place of --sessions.")
    ] = None,
    minutes_per_week: Annotated[
        float | None,
        typer.Option("--minutes-per-week", help="Of calls of a weekly user; 10 is assumed."),
    ] = None,
    peak_to_mean: Annotated[
        float | None,
        typer.Option("--peak-to-mean", help="Sessions at peak to their mean; 3 is assumed."),
    ] = None,
    call_minutes: Annotated[
        float | None, typer.Option("--call-minutes", help="Mean of a call; 5 is assumed.")
    ] = None,
    agent_speaks: Annotated[
        float | None,
        typer.Option("--agent-speaks", help="Share of a call, 0 to 1; 0.5 is assumed."),
    ] = None,
    media: Annotated[
        str, typer.Option("--media", help="What agents are handed: pcm, or opus as it is.")
    ] = "pcm",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compute what a fleet needs, per region and in all.

    Relays, transceivers, cores, memory, traffic, Redis, offers, and the cost if prices are given.
    Below each table stands what its figures rest on: measurements, and what was assumed. What
    nobody has measured is not made up.
    """
    # Other commands start without what only this one needs.
    from firsthop.plan import show
    from firsthop.plan.demand import Demand
    from firsthop.plan.plan import plan as planned
    from firsthop.plan.regions import read

    demand = Demand(
        sessions=sessions,
        weekly_users=weekly_users,
        minutes_per_week=minutes_per_week,
        peak_to_mean=peak_to_mean,
        call_minutes=call_minutes,
        agent_speaks=agent_speaks,
        media=media,  # type: ignore[arg-type]  # It is checked there.
    )
    found = planned(demand, read(regions))
    if json:
        print(json_format.dumps(show.as_json(found), ensure_ascii=False))
    else:
        console = Console(highlight=False)
        # What is piped or kept has no width of its own.
        console.width = console.width if console.is_terminal else show.COLUMNS
        console.print(show.table(found))
