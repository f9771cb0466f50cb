"""How a backend is found by name."""

from __future__ import annotations

import pytest

from firsthop import backends
from firsthop.backends.base import Backend
from firsthop.backends.echo import EchoBackend
from firsthop.backends.mirror import MirrorBackend
from firsthop.backends.realtime import RealtimeBackend
from firsthop.config import Settings
from firsthop.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "kind"),
    [("realtime", RealtimeBackend), ("echo", EchoBackend), ("mirror", MirrorBackend)],
)
def test_built_in_backends_are_found_by_name(name: str, kind: type) -> None:
    backend: Backend = backends.load(Settings(backend=name))
    assert isinstance(backend, kind)


def test_another_name_is_a_module_and_a_function() -> None:
    with pytest.raises(ConfigError, match="no_such_module"):
        backends.load(Settings(backend="no_such_module:agent"))
