"""Writes the examples of docs/planning.md anew: `PYTHONPATH=tests python -m plan.page`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from typer.testing import CliRunner

from firsthop.cli import app

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "planning.md"
#: Below the heading under which examples stand with what they print.
_EXAMPLES = "## A thousand weekly users"
_BLOCK = re.compile(r"(```console\n\$ firsthop (plan [^\n]*)\n)(.*?)(```)", re.DOTALL)


def rendered(page: str) -> str:
    """Return the page with what its examples print now."""
    before, heading, examples = page.partition(_EXAMPLES)
    assert heading, "the page has lost its examples"
    return before + heading + _BLOCK.sub(_with_output, examples)


def _with_output(block: re.Match[str]) -> str:
    return f"{block[1]}{output(block[2])}{block[4]}"


def output(command: str) -> str:
    """Return what a command prints, run in the checkout."""
    here = Path.cwd()
    os.chdir(ROOT)
    try:
        done = CliRunner().invoke(app, command.split())
    finally:
        os.chdir(here)
    assert done.exit_code == 0, done.output
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text()))
