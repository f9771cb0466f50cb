"""All tools of a service."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from doubles import Line
from firsthop.agent.tools import ToolContext, ToolError
from firsthop.agent.tools.base import MAX_TASKS
from firsthop.agent.tools.function import PythonTool
from firsthop.agent.tools.toolbox import MAX_ARGUMENTS, MAX_OUTPUT, MAX_PROBLEM, Toolbox
from firsthop.config import AgentSettings
from firsthop.errors import ConfigError
from firsthop.telemetry.metrics import Metrics

EXAMPLES = Path(__file__).parents[3] / "examples" / "tools"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own; what is imported from there is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


@pytest.fixture
async def context() -> AsyncIterator[ToolContext]:
    """The context of a call; when the call is over, no task is left."""
    context = ToolContext(Line(), lambda _: None)
    yield context
    await context.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


class Service:
    """A toolbox of some functions, and what it counted."""

    def __init__(self, *functions: Callable[..., Any], timeout: float = 20) -> None:
        self._metrics = Metrics()
        settings = AgentSettings(tool_timeout_seconds=timeout)
        self.box = Toolbox(
            [PythonTool(function) for function in functions], settings, self._metrics
        )

    def counted(self) -> list[str]:
        """Who was called with which outcome."""
        lines = self._metrics.render().decode().splitlines()
        start = "firsthop_agent_tool_calls_total{"
        return [line.removeprefix(start) for line in lines if line.startswith(start)]


async def greet(name: str, times: int = 1) -> str:
    """Greet."""
    return " ".join([f"hello {name}"] * times)


async def farewell() -> str:
    """Say goodbye."""
    return "goodbye"


def test_tools_are_found_in_modules_of_the_current_folder(here: Path) -> None:
    (here / "greetings.py").write_text(
        "import firsthop\n"
        "from firsthop.agent.tools.builtin import calculate\n"
        "@firsthop.tool\n"
        "def greet(name: str) -> str:\n"
        "    'Greet.'\n"
        "    return 'hello'\n"
        "def helper(): ...\n"
    )
    box = Toolbox.of(AgentSettings(tools=("greetings",)), builtin=True)
    names = [definition["name"] for definition in box.definitions()]
    # The same tool in two modules is one tool.
    assert names == ["current_time", "set_timer", "cancel_timer", "calculate", "greet"]
    assert [box.owner(name) for name in ("greet", "set_timer", "nothing")] == [
        "python",
        "python",
        None,
    ]


def test_without_modules_there_are_the_built_in_tools_or_none() -> None:
    assert len(Toolbox.of(AgentSettings(), builtin=True).definitions()) == 4
    assert Toolbox.of(AgentSettings(), builtin=False).definitions() == []


TOOL = "import firsthop\n@firsthop.tool\ndef {}() -> None: ...\n"


@pytest.mark.parametrize(
    ("modules", "problem"),
    [
        ({}, "'first': No module named 'first'"),
        ({"first": ""}, "'first' has no tools; mark functions in it with @firsthop.tool"),
        ({"first": TOOL.format("calculate")}, "'first': there is another tool 'calculate', in"),
        (
            {
                "first": "import functools\n"
                + TOOL.format("a")
                + "b = functools.wraps(a)(lambda: 1)"
            },
            "'first': tool a: put @tool above the other decorators",
        ),
        (
            {"first": "\n".join(TOOL.format(f"t{n}") for n in range(125))},
            "129 tools; models take 128",
        ),
    ],
)
def test_mistakes_in_settings_are_told(modules: dict[str, str], problem: str, here: Path) -> None:
    for name, source in modules.items():
        (here / f"{name}.py").write_text(source)
    with pytest.raises(ConfigError, match=problem) as error:
        Toolbox.of(AgentSettings(tools=("first",)), builtin=True)
    assert error.value.key == "agent.tools"


def test_no_server_is_called_as_our_own_tools_are() -> None:
    settings = AgentSettings.model_validate({"mcp": {"python": {"command": ["x"]}}})
    with pytest.raises(ConfigError, match="name it else"):
        Toolbox.of(settings, builtin=False)


async def test_a_tool_is_run_with_what_the_model_words(context: ToolContext) -> None:
    service = Service(greet)
    assert await service.box.run("greet", '{"name": "Ada", "times": 2}', context) == (
        "hello Ada hello Ada"
    )
    assert service.counted() == ['outcome="done",server="python",tool="greet"} 1.0']


async def test_half_a_character_in_arguments_is_replaced(context: ToolContext) -> None:
    assert await Service(greet).box.run("greet", '{"name": "\ud800"}', context) == "hello ?"


@pytest.mark.parametrize("arguments", ["", "  ", "{}"])
async def test_no_arguments_may_be_worded_as_nothing(arguments: str, context: ToolContext) -> None:
    async def nothing() -> None: ...

    assert await Service(nothing).box.run("nothing", arguments, context) == "done"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("{", "the arguments are no JSON: EOF"),
        ('{"name": "Ada"} and more', "the arguments are no JSON: trailing"),
        ('{"times": NaN}', "the arguments are no JSON"),
        ('{"name": "\\ud800"}', "the arguments are no JSON"),
        ("[" * 5000, "the arguments are no JSON: recursion limit"),
        ('["Ada"]', "the arguments are no JSON object"),
        ('"Ada"', "the arguments are no JSON object"),
        ("null", "the arguments are no JSON object"),
        (" " * (MAX_ARGUMENTS + 1), "longer than 100000 characters"),
    ],
)
async def test_garbage_for_arguments_is_refused_with_what_is_wrong(
    arguments: str, problem: str, context: ToolContext
) -> None:
    service = Service(greet)
    with pytest.raises(ToolError, match=problem):
        await service.box.run("greet", arguments, context)
    assert service.counted() == ['outcome="garbage",server="python",tool="greet"} 1.0']


async def test_an_unknown_tool_is_refused_with_those_that_there_are(context: ToolContext) -> None:
    service = Service(greet, farewell)
    with pytest.raises(ToolError) as error:
        await service.box.run("gret" * 100, "{}", context)
    assert str(error.value).startswith("there is no tool 'gretgret")
    assert str(error.value).endswith("there are: greet, farewell")
    assert len(str(error.value)) < 150
    assert service.counted() == ['outcome="unknown",server="",tool=""} 1.0']


async def test_what_a_tool_raises_is_told_by_its_kind_and_logged_without_its_words(
    context: ToolContext,
) -> None:
    async def fail(secret: str) -> str:
        raise ValueError(f"cannot do {secret}")

    service = Service(fail)
    with structlog.testing.capture_logs() as logs, pytest.raises(ToolError) as error:
        await service.box.run("fail", '{"secret": "swordfish"}', context)
    assert str(error.value) == "the tool failed: ValueError"
    [entry] = logs
    assert (entry["event"], entry["tool"], entry["error"]) == ("tool.failed", "fail", "ValueError")
    assert "in fail" in entry["where"]
    assert "swordfish" not in json.dumps(entry)
    assert service.counted() == ['outcome="failed",server="python",tool="fail"} 1.0']


async def test_a_tool_can_word_its_own_failure(context: ToolContext) -> None:
    async def sold_out(words: str) -> str:
        raise ToolError(words)

    with pytest.raises(ToolError, match=r"^we are sold out$"):
        await Service(sold_out).box.run("sold_out", '{"words": "we are sold out"}', context)
    with pytest.raises(ToolError) as error:
        await Service(sold_out).box.run("sold_out", json.dumps({"words": "x" * 5000}), context)
    assert len(str(error.value)) < MAX_PROBLEM + 10


@pytest.mark.parametrize("plain", [False, True])
async def test_a_tool_that_ends_the_process_does_not(plain: bool, context: ToolContext) -> None:
    async def leave() -> None:
        sys.exit(1)

    def leave_plainly() -> None:
        sys.exit(1)

    function = leave_plainly if plain else leave
    with pytest.raises(ToolError, match="the tool failed: SystemExit"):
        await Service(function).box.run(function.__name__, "{}", context)


async def test_a_tool_that_hangs_is_given_up_and_cancelled(context: ToolContext) -> None:
    ended = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    service = Service(hang, timeout=0.05)
    with pytest.raises(ToolError, match=r"took more than 0.05 seconds and was given up"):
        await service.box.run("hang", "{}", context)
    await ended.wait()
    assert service.counted() == ['outcome="timeout",server="python",tool="hang"} 1.0']


async def test_a_tool_that_ignores_being_cancelled_holds_up_nobody(context: ToolContext) -> None:
    free = asyncio.Event()

    async def stubborn() -> None:
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue

    service = Service(stubborn, greet, timeout=0.05)
    with pytest.raises(ToolError, match="given up"):
        await service.box.run("stubborn", "{}", context)
    assert await service.box.run("greet", '{"name": "Ada"}', context) == "hello Ada"
    free.set()


async def test_a_thread_that_hangs_is_given_up(context: ToolContext) -> None:
    free = threading.Event()

    def hang() -> None:
        free.wait()

    with pytest.raises(ToolError, match="given up"):
        await Service(hang, timeout=0.05).box.run("hang", "{}", context)
    free.set()


async def test_a_run_that_is_cancelled_cancels_the_tool(context: ToolContext) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    service = Service(hang)
    run = asyncio.create_task(service.box.run("hang", "{}", context))
    await begun.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await ended.wait()
    assert service.counted() == ['outcome="cancelled",server="python",tool="hang"} 1.0']


async def test_the_end_of_the_call_ends_its_tools(context: ToolContext) -> None:
    begun = asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    service = Service(hang)
    run = asyncio.create_task(service.box.run("hang", "{}", context))
    await begun.wait()
    await context.close()
    with pytest.raises(ToolError, match="given up"):
        await run
    with pytest.raises(ToolError, match="the call is over"):
        await service.box.run("hang", "{}", context)


async def test_what_a_tool_leaves_running_is_bounded_and_its_failure_is_logged(
    context: ToolContext,
) -> None:
    async def fail(secret: str) -> None:
        raise ValueError(secret)

    with structlog.testing.capture_logs() as logs:
        await asyncio.wait({context.spawn(fail("swordfish"))})
        await asyncio.sleep(0)
    [entry] = logs
    assert (entry["event"], entry["error"]) == ("tool.failed_later", "ValueError")
    assert "swordfish" not in json.dumps(entry)

    async def wait() -> None:
        await asyncio.Event().wait()

    for _ in range(MAX_TASKS):
        context.spawn(wait())
    with pytest.raises(ToolError, match="too much goes on"):
        context.spawn(wait())


async def test_output_is_cut_where_it_is_too_long(context: ToolContext) -> None:
    async def talk(length: int) -> str:
        return "x" * length

    box = Service(talk).box
    assert await box.run("talk", f'{{"length": {MAX_OUTPUT}}}', context) == "x" * MAX_OUTPUT
    cut = await box.run("talk", '{"length": 1000000}', context)
    assert cut == "x" * MAX_OUTPUT + "\n[cut: the first 16000 of 1000000 characters]"


async def test_output_can_be_put_into_json(context: ToolContext) -> None:
    async def half_a_pair() -> str:
        return "a\ud800b"

    assert await Service(half_a_pair).box.run("half_a_pair", "", context) == "a?b"


async def test_the_example_serves_pizza(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    announced: asyncio.Queue[str] = asyncio.Queue()
    context = ToolContext(Line(), announced.put_nowait)
    box = Toolbox.of(AgentSettings(tools=("pizzeria",)), builtin=False)
    assert [definition["name"] for definition in box.definitions()] == ["opening_hours", "order"]
    assert await box.run("opening_hours", '{"day": "monday"}', context) == "closed"
    order = '{"pizza": "margherita", "count": "2", "minutes": 0}'
    assert await box.run("order", order, context) == "2 margherita ordered"
    assert await announced.get() == "Your margherita is ready."
    with pytest.raises(ToolError, match="offer the margherita"):
        await box.run("order", '{"pizza": "Hawaii"}', context)
    await context.close()
