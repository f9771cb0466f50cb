"""Who answers calls: one file per kind of backend.

`base` has the seam, `load` finds a backend by name.
"""

from __future__ import annotations

from firsthop.backends.base import Backend
from firsthop.backends.echo import EchoBackend
from firsthop.backends.function import FunctionBackend
from firsthop.backends.local import LocalBackend

__all__ = ["Backend", "load"]


def load(name: str) -> Backend:
    """Return the backend that the setting `backend` names: local, echo or ``module:function``.

    Raises:
        ConfigError: There is no such module or function.
    """
    match name:
        case "local":
            return LocalBackend()
        case "echo":
            return EchoBackend()
        case _:
            return FunctionBackend.find(name)
