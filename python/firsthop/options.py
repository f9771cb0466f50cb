"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="A YAML file of settings. Repeatable: the last one wins, FIRSTHOP_... variables over "
        "all.",
    ),
]
