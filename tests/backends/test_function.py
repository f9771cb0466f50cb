"""Agents of one's own, found by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from doubles import Line
from firsthop.backends.function import FunctionBackend
from firsthop.call import Call
from firsthop.errors import ConfigError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own; what is imported from there is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


async def test_a_function_serves_the_call() -> None:
    async def agent(call: Call) -> None:
        call.say(b"hi")

    call, backend = Line(), FunctionBackend(agent)
    await backend.prepare()
    await backend.serve(call)
    assert call.notes == [("play", 0, b"hi", True)]


async def test_an_agent_is_found_in_a_module_of_the_current_folder(here: Path) -> None:
    (here / "found_agents.py").write_text("async def greet(call):\n    call.say(b'hi')\n")
    call = Line()
    await FunctionBackend.find("found_agents:greet").serve(call)
    assert call.notes == [("play", 0, b"hi", True)]


async def test_an_agent_is_found_in_a_package(here: Path) -> None:
    (here / "agent_package").mkdir()
    (here / "agent_package" / "polite.py").write_text("async def agent(call): ...\n")
    FunctionBackend.find("agent_package.polite:agent")


def test_a_module_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match="'nowhere:agent': No module named 'nowhere'") as error:
        FunctionBackend.find("nowhere:agent")
    assert error.value.key == "backend"


@pytest.mark.parametrize("body", ["", "agent = 3", "def agent(call): ..."])
def test_what_is_no_coroutine_function_is_refused(here: Path, body: str) -> None:
    name = f"wrong_agent_{len(body)}"
    (here / f"{name}.py").write_text(f"{body}\n")
    with pytest.raises(ConfigError, match="has no 'async def agent"):
        FunctionBackend.find(f"{name}:agent")


@pytest.mark.parametrize(
    ("name", "body", "problem"),
    [
        ("broken_agent", "\n1 / 0", r"ZeroDivisionError: .* \(broken_agent\.py, line 2\)$"),
        ("half_agent", "x =", r"SyntaxError: invalid syntax \(half_agent\.py, line 1\)$"),
        ("rooted_agent", "import broken_agent", r"ZeroDivision.* \(broken_agent\.py, line 2\)$"),
        ("marked_agent", "import firsthop\nfirsthop.tool(3)", r" \(marked_agent\.py, line 2\)$"),
    ],
)
def test_a_mistake_within_the_module_is_told_with_its_line(
    here: Path, name: str, body: str, problem: str
) -> None:
    (here / "broken_agent.py").write_text("\n1 / 0\n")
    (here / f"{name}.py").write_text(f"{body}\n")
    with pytest.raises(ConfigError, match=problem) as error:
        FunctionBackend.find(f"{name}:agent")
    assert error.value.key == "backend"
    assert error.value.__cause__ is not None, "programs have all of it"
