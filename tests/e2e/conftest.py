"""Fixtures: the network that everything runs in, the edge under test, and browsers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from e2e import network

# Now, because numpy, whose threads would be left outside, is imported below; and because it
# concerns only this process, it does no harm where no test of ours is run.
_problem: str | None = None
try:
    network.enter()
except network.NoNetworkError as error:
    _problem = str(error)

from e2e.peer import Peer  # noqa: E402
from e2e.processes import Edge  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def own_network() -> None:
    """Refuse to send anything unless it stays here."""
    if _problem is not None:
        pytest.fail(f"end-to-end tests need a network of their own: {_problem}")


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    """Yield an edge of which nothing runs yet; whatever ran, its logs are checked in the end."""
    edge = Edge(tmp_path)
    try:
        yield edge
    finally:
        await edge.stop()
    edge.check_logs()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """Yield an aiortc client that has not called yet."""
    async with Peer() as peer:
        yield peer
