"""Whatever becomes of a rehearsal, nothing of it stays: a process that removes what is left.

It ends with its standard input, that is with whoever started it, and then removes the network
namespaces of that one. It is started by `command`, without what `firsthop` imports.
"""

from __future__ import annotations

import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from firsthop.bench.world import namespaces

#: `ip netns exec` shows a program these files in place of those in /etc.
FILES: Final = Path("/etc/netns")


def command(owner: int) -> list[str]:
    """Return what starts the guard of a process."""
    # The package itself would import all of firsthop, which takes a second.
    start = (
        "import sys, types; sys.modules['firsthop'] = package = types.ModuleType('firsthop'); "
        f"package.__path__ = [{str(Path(__file__).parents[2])!r}]; "
        f"from firsthop.bench.rollout.guard import main; main({owner})"
    )
    return [sys.executable, "-I", "-c", start]


def clean(owner: int) -> None:
    """Remove the namespaces of a process, what runs in them, and their files."""
    namespaces.remove(owner)
    for folder in FILES.glob(f"{namespaces.name_of(owner, '')}*"):
        shutil.rmtree(folder, ignore_errors=True)
    # It is left to others who have something in it.
    with suppress(OSError):
        FILES.rmdir()


def main(owner: int) -> None:
    """Wait for the end of standard input, then clean."""
    # A terminal's Ctrl-C is for whoever started this, and then closes its standard input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        sys.stdin.read()
    finally:
        clean(owner)
