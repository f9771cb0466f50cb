"""Servers of tools that are processes of ours: real ones, and ones that misbehave."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from agent.tools.mcp.shops import shop, until
from firsthop.agent.tools.mcp.process import MAX_GARBAGE

SERVER = str(Path(__file__).with_name("offering.py"))
TOOLS = [
    *("add", "files_read_all", "shop_current_time", "fail", "see", "flood", "die", "hang", "learn"),
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own, where servers leave traces."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have little patience with processes that do not end."""
    monkeypatch.setattr("firsthop.agent.tools.mcp.process._GRACE_SECONDS", 0.1)


def running(pid_file: Path) -> bool:
    """Whether a process runs that wrote down its id."""
    try:
        os.kill(int(pid_file.read_text()), 0)
    except ProcessLookupError:
        return False
    return True


async def test_tools_of_a_real_server_are_told_called_and_refreshed(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with shop(command=[sys.executable, SERVER, "chatty"]) as one:
        assert one.names() == TOOLS
        assert (one.box.owner("add"), one.box.owner("current_time")) == ("shop", "python")
        [add] = [tool for tool in one.box.definitions() if tool["name"] == "add"]
        assert add["description"] == "Add two numbers."
        assert add["parameters"]["required"] == ["a", "b"]

        assert '"value": 3' in await one.run("add", '{"a": 1, "b": 2}')
        assert await one.run("files_read_all", '{"name": "x"}') == "the words of x"
        assert await one.run("shop_current_time") == "noon"
        assert " on " in await one.run("current_time")
        assert await one.run("see") == "a cat:\n[image]"
        assert "fail" in await one.failure("fail")
        assert "a" in await one.failure("add", '{"a": "x", "b": 2}')

        await one.run("learn")
        await until(lambda: "learned" in one.names())
        assert await one.run("learned") == "noon"
        assert running(here / "pid")
    assert not running(here / "pid")
    # Neither what it prints nor its errors are for the user.
    assert capfd.readouterr() == ("", "")


async def test_a_call_that_is_cancelled_or_too_slow_is_cancelled_at_the_server(
    here: Path,
) -> None:
    async with shop(command=[sys.executable, SERVER], tool_seconds=0.5) as one:
        run = asyncio.create_task(one.run("hang"))
        await until((here / "hangs").exists)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        await until((here / "cancelled").exists)
        (here / "cancelled").unlink()
        assert "more than 0.5 seconds" in await one.failure("hang")
        await until((here / "cancelled").exists)
        assert '"value": 3' in await one.run("add", '{"a": 1, "b": 2}')


async def test_a_server_that_dies_fails_its_calls_at_once_and_comes_back(here: Path) -> None:
    async with shop(command=[sys.executable, SERVER]) as one:
        waiting = asyncio.create_task(one.failure("hang"))
        await until((here / "hangs").exists)
        os.kill(int((here / "pid").read_text()), signal.SIGKILL)
        assert await waiting == "shop, where this tool is, went away; try later"
        assert one.names() == TOOLS
        assert "cannot be reached" in await one.failure("add")
        # The tools of others work meanwhile.
        assert await one.run("calculate", '{"expression": "1 + 1"}') == "2"

        await one.back(2)
        assert '"value": 3' in await one.run("add", '{"a": 1, "b": 2}')
        assert one.problems() == ["it ended"]


#: A server without the `mcp` package, which starts at once: answers as it is told to.
RAW = """
import json, os, signal, subprocess, sys, time
open("pid", "w").write(str(os.getpid()))
def answer(request, **fields):
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], **fields}), flush=True)

for line in sys.stdin:
    request = json.loads(line)
    method = request["method"]
    if method == "server/discover":
        answer(request, error={"code": -32601, "message": "no such method"})
    elif method == "initialize":
        answer(request, result={"protocolVersion": "2025-06-18",
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "raw", "version": "1"}})
    BODY
"""


def raw(body: str, here: Path) -> list[str]:
    """Write a server, and return its command."""
    script = here / "raw.py"
    script.write_text(RAW.replace("    BODY", body))
    return [sys.executable, "-I", "-S", str(script)]


ENDLESS_LIST = """
    elif method == "tools/list":
        page = int((request.get("params") or {}).get("cursor", 0))
        tools = [{"name": f"t{page}_{n}", "inputSchema": {"type": "object"}} for n in range(50)]
        answer(request, result={"tools": tools, "nextCursor": str(page + 1)})
"""


async def test_an_older_server_with_too_many_tools_has_those_that_models_take(here: Path) -> None:
    async with shop(command=raw(ENDLESS_LIST, here)) as one:
        assert len(one.box.definitions()) == 128
        assert one.names()[:2] == ["t0_0", "t0_1"]
        assert one.names()[-1] == "t2_23"
        assert {"event": "tools.left_out", "tools": 4, "limit": 128, "log_level": "warning"} in (
            one.logs
        )


async def test_lines_that_are_no_messages_are_passed_over(here: Path) -> None:
    body = """
    elif method == "tools/list":
        print("Loading...\\n\\n{}\\n[1]\\nnull\\n" * 10, flush=True)
        answer(request, result={"tools": [{"name": "x", "inputSchema": {"type": "object"}}]})
    elif method == "tools/call":
        answer(request, result={"content": "this is no list"})
"""
    async with shop(command=raw(body, here)) as one:
        assert one.names() == ["x"]
        assert await one.failure("x") == "the answer of shop makes no sense"
        assert await one.failure("x") == "the answer of shop makes no sense"


async def test_a_server_that_answers_too_much_is_started_again(here: Path) -> None:
    body = """
    elif method == "tools/list":
        answer(request, result={"tools": [{"name": "x", "inputSchema": {"type": "object"}}]})
    elif method == "tools/call":
        answer(request, result={"content": [{"type": "text", "text": "x" * 5_000_000}]})
"""
    async with shop(command=raw(body, here)) as one:
        assert "went away" in await one.failure("x")
        await one.back(2)
        assert one.problems() == ["it wrote a message of more than 4194304 bytes"]


BABBLE = f"""
    elif method == "tools/list":
        print("garbage\\n" * {MAX_GARBAGE + 10}, flush=True)
"""


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (BABBLE, "it writes what are no messages"),
        ("    elif method == 'tools/list': sys.exit(1)", "it ended"),
        (
            "    elif method == 'tools/list': answer(request, error={'code': 1, 'message': 'no'})",
            "it refuses: no",
        ),
    ],
)
async def test_a_server_that_cannot_be_used_is_told_of_and_tried_again(
    body: str, problem: str, here: Path
) -> None:
    async with shop(command=raw(body, here)) as one:
        assert one.names() == []
        assert one.problems() == [problem]
        assert len(one.box.definitions()) == 4
        (here / "pid").unlink()
        await until((here / "pid").exists)
        # What is wrong is told once, not at each attempt.
        assert one.problems() == [problem]


async def test_a_program_that_is_not_there_is_named() -> None:
    async with shop(command=["no-such-program", "--secret"]) as one:
        assert one.problems() == ["no-such-program: No such file or directory"]


async def test_a_server_that_ignores_its_end_is_ended_by_force(here: Path, brief: None) -> None:
    body = """
    elif method == "tools/list":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        answer(request, result={"tools": []})
time.sleep(600)
"""
    async with shop(command=raw(body, here)):
        assert running(here / "pid")
    assert not running(here / "pid")


async def test_what_a_server_started_ends_with_it(here: Path, brief: None) -> None:
    body = """
    elif method == "tools/list":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open("child", "w").write(str(child.pid))
        answer(request, result={"tools": []})
os._exit(0)
"""
    async with shop(command=raw(body, here)):
        assert running(here / "child")
    # It is dead; whoever adopted it has to notice.
    await until(lambda: not running(here / "child"))


async def test_a_server_gets_its_variables_and_no_others(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRSTHOP_AGENT__CHAT__API_KEY", "swordfish")
    body = """
    elif method == "tools/list":
        answer(request, result={"tools": [
            {"name": name, "inputSchema": {"type": "object"}} for name in os.environ]})
"""
    async with shop(command=raw(body, here), environment={"SHOP_KEY": "x"}) as one:
        assert "SHOP_KEY" in one.names()
        assert "PATH" in one.names()
        assert not [name for name in one.names() if "FIRSTHOP" in name]


async def test_closing_while_a_server_still_starts_ends_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firsthop.agent.tools.mcp.server._PATIENCE_SECONDS", 0.01)
    async with shop(command=raw("    elif method == 'tools/list': time.sleep(600)", here)) as one:
        assert [entry["event"] for entry in one.logs] == ["mcp.slow"]
        await until((here / "pid").exists)
    assert not running(here / "pid")
