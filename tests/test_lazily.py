"""Packages whose names are imported when they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import firsthop
from firsthop import load
from firsthop.lazily import lazily

#: What takes long to import, and what only some commands need.
HEAVY = ("fastapi", "numpy", "onnxruntime", "pydantic", "structlog", "uvicorn")


@pytest.mark.parametrize("module", ["firsthop", "firsthop.cli"])
def test_who_imports_it_does_not_wait_for_what_he_may_not_need(module: str) -> None:
    program = f"import sys, {module}; print(*sorted(set({HEAVY}) & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.split() == []


def test_every_name_has_a_home() -> None:
    for package in (firsthop, load):
        assert [name for name in package.__all__ if not hasattr(package, name)] == []


def test_a_name_is_imported_once_and_then_is_there() -> None:
    first = firsthop.run
    assert vars(firsthop)["run"] is first
    assert firsthop.run is first


def test_other_names_are_missing_as_everywhere() -> None:
    get = lazily("firsthop", {"run": "firsthop.runner"})
    with pytest.raises(AttributeError, match="module 'firsthop' has no attribute 'walk'"):
        get("walk")
