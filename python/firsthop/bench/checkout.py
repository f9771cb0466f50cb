"""The checkout that benchmarks run from, and the programs that they build there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from firsthop.bench.errors import BenchError, SkippedError

_ROOT = Path(__file__).absolute().parents[3]
SOURCES = _ROOT / "bench"
CHART = _ROOT / "deploy" / "helm" / "firsthop"
#: What is built, and what a run leaves behind. `target` is already ignored by git.
BUILT = _ROOT / "target" / "bench-peers"
RESULTS = _ROOT / "target" / "bench"

_BUILD_SECONDS = 300


def check() -> None:
    """Make sure that this is a checkout.

    Raises:
        BenchError: It is not.
    """
    if not (SOURCES / "load").is_dir():
        raise BenchError(
            "benchmarks need a checkout of firsthop, for their load and the relays to compare "
            "with are not part of the package: clone the repository, `make install`, and run "
            "`.venv/bin/firsthop bench` there"
        )


def build_c(source: str) -> Path:
    """Compile ``bench/<source>`` unless that was done, and return the program.

    Raises:
        SkippedError: There is no C compiler, or it refuses.
    """
    path = SOURCES / source
    inputs = [path, *path.parent.glob("*.h")]
    command = ["cc", "-O2", "-Wall", "-Wextra", "-pthread", str(path), "-o"]
    return _build(path.stem, inputs, command, path.parent, "a C compiler, `apt-get install gcc`")


def build_go(source: str, name: str) -> Path:
    """Build the Go program in ``bench/<source>/`` as `name` unless that was done, and return it.

    Raises:
        SkippedError: Go is not there, or it refuses.
    """
    folder = SOURCES / source
    inputs = [*folder.glob("*.go"), folder / "go.mod"]
    return _build(name, inputs, ["go", "build", "-o"], folder, "Go, https://go.dev/dl")


def _build(name: str, inputs: list[Path], command: list[str], folder: Path, needs: str) -> Path:
    """Run `command`, with the path of the program behind it, if an input is newer."""
    program = BUILT / name
    newest = max(path.stat().st_mtime for path in inputs)
    if program.exists() and program.stat().st_mtime > newest:
        return program
    if shutil.which(command[0]) is None:
        raise SkippedError(f"{name} needs {needs}")
    BUILT.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [*command, str(program)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise SkippedError(f"{name} does not build:\n{done.stderr.strip()}")
    return program
