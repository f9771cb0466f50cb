"""Fixtures for all tests."""

from __future__ import annotations

import os

import pytest

from firsthop.config import ENVIRONMENT_PREFIX


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the developer has set does not reach a test."""
    for name in list(os.environ):
        if name.upper().startswith(ENVIRONMENT_PREFIX):
            monkeypatch.delenv(name)
