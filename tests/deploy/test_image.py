"""The image as far as it can be held without a container engine: what it is built of, and how."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from deploy import chart

ROOT: Final = chart.CHART.parents[2]
DOCKERFILE: Final = (ROOT / "deploy/Dockerfile").read_text()


def let_in(path: str) -> bool:
    """Tell whether `.dockerignore` lets a file in: the last line that fits it decides."""
    decided = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if pattern and not pattern.startswith("#") and fits(pattern, path):
            decided = line.startswith("!")
    return decided


def fits(pattern: str, path: str) -> bool:
    """Tell whether a pattern is of a path, or of a folder above it."""
    expression = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
    return re.fullmatch(f"{expression}(/.*)?", path) is not None


def copied() -> set[str]:
    """Return what the Dockerfile copies from the checkout."""
    lines = [line.split() for line in DOCKERFILE.splitlines() if line.startswith("COPY ")]
    return {source for line in lines if "--from" not in line[1] for source in line[1:-1]}


def test_all_of_a_checkout_that_the_dockerfile_copies_is_let_in_and_nothing_else() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("this is no checkout of git")
    known = {path for path in listed.stdout.split("\0") if path}
    wanted = {path for path in known if any(fits(source, path) for source in copied())}
    assert {path for path in known if let_in(path)} == wanted
    assert all(any(fits(source, path) for path in wanted) for source in copied())


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        "target/release/libfirsthop.so",
        "python/firsthop/_native.abi3.so",
        "python/firsthop/agent/__pycache__/worker.cpython-311.pyc",
        "python/firsthop/.env",
        "python/.mypy_cache/3.11/firsthop.data.json",
        "crates/firsthop-py/.cargo/credentials.toml",
        "keys.yaml",
        "requirements/dev.txt",
    ],
)
def test_nothing_that_was_made_or_is_secret_is_let_in(path: str) -> None:
    assert not let_in(path)


def test_the_image_has_the_native_core_compiled_as_a_checkout_has() -> None:
    read = {"crates", "Cargo.toml", "Cargo.lock", "pyproject.toml", ".cargo/config.toml"}
    assert {path for path in read if (ROOT / path).exists()} <= copied()


def test_the_dockerfile_is_what_the_pods_expect() -> None:
    assert DOCKERFILE.rstrip().endswith("USER 10001:10001")
    assert 'ENTRYPOINT ["firsthop"]' in DOCKERFILE
    assert "command" not in chart.container(chart.rendered(None), "relay")


def test_base_images_are_named_in_full_since_not_every_engine_completes_short_names() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert bases
    for base in bases:
        assert base in stages or base.startswith("docker.io/library/")


def found(program: str) -> str:
    """Return where a program of this machine is."""
    path = shutil.which(program)
    assert path is not None
    return path


@pytest.fixture
def engines(tmp_path: Path) -> Path:
    """Return a folder of programs that is all that a script finds."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "dirname", "sed"):
        folder.joinpath(name).symlink_to(found(name))
    return folder


def put(folder: Path, engine: str, *, running: bool = True) -> None:
    """Put an engine there that says what it is told, and does nothing."""
    program = folder / engine
    info = "exit 0" if running else "exit 1"
    program.write_text(
        f'#!{found("bash")}\nif [ "$1" = info ]; then {info}; fi\necho "told: {engine} $*"\n'
    )
    program.chmod(0o755)


def build(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `scripts/image` where there is nothing but what is in a folder."""
    return subprocess.run(
        [ROOT / "scripts/image", *words],
        env={"PATH": os.fspath(folder)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def told(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what the engine was told."""
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return [line.removeprefix("told: ") for line in lines if line.startswith("told: ")]


def test_the_image_is_built_and_started_as_pods_are_by_the_engine_that_is_there(
    engines: Path,
) -> None:
    put(engines, "podman")
    built, started = told(build(engines, "voice:1", "--target", "runtime"))
    assert built == "podman build --file deploy/Dockerfile --tag voice:1 --target runtime ."
    assert started.startswith("podman run --rm ") and started.endswith(" voice:1 version")
    for option in ("--read-only", "--cap-drop all", "--security-opt no-new-privileges"):
        assert option in started


def test_the_image_is_called_as_the_chart_expects_it(engines: Path) -> None:
    put(engines, "buildah")
    [built] = told(build(engines))
    expected = chart.container(chart.rendered(None), "relay")["image"]
    assert f"--tag {expected} " in built


def test_an_engine_that_does_not_run_is_passed_over(engines: Path) -> None:
    put(engines, "docker", running=False)
    put(engines, "podman")
    assert all(line.startswith("podman ") for line in told(build(engines)))


def test_without_an_engine_it_is_said_what_is_missing(engines: Path) -> None:
    put(engines, "docker", running=False)
    done = build(engines)
    assert done.returncode == 1
    assert "needs Docker, Podman or Buildah" in done.stderr
    assert done.stdout == ""
