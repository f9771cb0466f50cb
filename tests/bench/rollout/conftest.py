"""The network that pods of these tests are in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from firsthop.bench.errors import SkippedError
from firsthop.bench.rollout.network import Network, missing


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Yield one without places."""
    if (problem := missing()) is not None:
        pytest.skip(f"no rehearsal on this machine: {problem}")
    try:
        made = Network(tmp_path_factory.mktemp("network")).__enter__()
    except SkippedError as reason:
        pytest.skip(str(reason))
    try:
        yield made
    finally:
        made.close()
