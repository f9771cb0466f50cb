"""Logs, in processes of their own: they are set up for a whole process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

LOG = """
import logging, structlog
from firsthop.telemetry import logs
logs.configure({log_format!r})
log = structlog.get_logger()
{body}
"""


def logged(body: str, log_format: str) -> list[str]:
    script = LOG.format(log_format=log_format, body=body)
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "", "stdout belongs to commands' results"
    return done.stderr.splitlines()


def test_json_has_event_level_time_and_fields() -> None:
    [line] = logged("log.info('call.ended', call='rtc_1', reason='hung_up')", "json")
    entry = json.loads(line)
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {
        "event": "call.ended",
        "level": "info",
        "call": "rtc_1",
        "reason": "hung_up",
    }


def test_auto_is_json_where_nobody_watches() -> None:
    [line] = logged("log.info('call.ended')", "auto")
    assert json.loads(line)["event"] == "call.ended"


def test_console_is_a_line_for_people() -> None:
    [line] = logged("log.info('call.ended', reason='hung_up')", "console")
    assert "call.ended" in line
    assert "hung_up" in line


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_is_logged_without_what_variables_hold(log_format: str) -> None:
    body = """
def agent():
    secret = "".join(["swor", "dfish"])
    raise ValueError("a mistake")
try:
    agent()
except ValueError as error:
    log.error("agent.failed", exc_info=error)
"""
    text = "\n".join(logged(body, log_format))
    assert "ValueError: a mistake" in text
    assert "in agent" in text
    assert "swordfish" not in text


def test_debug_lines_and_chatter_of_libraries_are_left_out() -> None:
    body = """
log.debug("nothing")
logging.getLogger("uvicorn.access").info("127.0.0.1 GET /")
logging.getLogger("mcp.client.streamable_http").error("what a tool said")
logging.getLogger("asyncio").warning("something")
"""
    [line] = logged(body, "json")
    assert json.loads(line)["event"] == "something"


def test_what_libraries_say_has_the_form_of_our_lines() -> None:
    body = """
try:
    raise ValueError("a mistake")
except ValueError:
    logging.getLogger("uvicorn.error").exception("failed: %s", "why")
"""
    [line] = logged(body, "json")
    entry = json.loads(line)
    assert (entry["event"], entry["level"]) == ("failed: why", "error")
    assert entry["timestamp"].endswith("Z")
    assert entry["exception"].endswith("ValueError: a mistake")
