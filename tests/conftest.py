"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from firsthop.config import ENVIRONMENT_PREFIX
from redis_server import RedisServer

# How long something takes says more about the machine than about us.
hypothesis.settings.register_profile(
    "firsthop", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("firsthop")


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the developer has set does not reach a test."""
    for name in list(os.environ):
        if name.upper().startswith(ENVIRONMENT_PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Yield a real redis-server that runs."""
    server = RedisServer(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.close()
