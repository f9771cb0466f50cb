"""Where benchmarks run."""

from __future__ import annotations

from pathlib import Path

import pytest

from firsthop.bench import checkout
from firsthop.bench.errors import BenchError, SkippedError


def test_this_is_a_checkout() -> None:
    checkout.check()


def test_outside_a_checkout_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checkout, "SOURCES", tmp_path)
    with pytest.raises(BenchError, match="need a checkout"):
        checkout.check()


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(checkout, "SOURCES", tmp_path)
    monkeypatch.setattr(checkout, "BUILT", tmp_path / "built")
    path = tmp_path / "program.c"
    path.write_text("int main(void) { return 0; }\n")
    return path


def test_a_program_is_built_once_until_its_source_changes(source: Path) -> None:
    program = checkout.build_c("program.c")
    built = program.stat().st_mtime_ns
    assert checkout.build_c("program.c").stat().st_mtime_ns == built
    source.touch()
    assert checkout.build_c("program.c").stat().st_mtime_ns > built


def test_without_a_compiler_a_contender_is_left_out(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(source.parent))
    with pytest.raises(SkippedError, match="needs a C compiler"):
        checkout.build_c("program.c")


def test_what_does_not_compile_is_told(source: Path) -> None:
    source.write_text("int main(void) { return nonsense; }\n")
    with pytest.raises(SkippedError, match="nonsense"):
        checkout.build_c("program.c")
