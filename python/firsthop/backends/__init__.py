"""Who answers calls: one file per kind of backend.

`base` has the seam, `load` finds a backend by name.
"""

from __future__ import annotations

from firsthop.backends.base import Backend
from firsthop.backends.echo import EchoBackend
from firsthop.backends.function import FunctionBackend
from firsthop.backends.mirror import MirrorBackend
from firsthop.backends.pipecat import PipecatBackend
from firsthop.backends.realtime import RealtimeBackend
from firsthop.config import Settings
from firsthop.telemetry.metrics import Metrics

__all__ = ["Backend", "load"]


def load(settings: Settings, metrics: Metrics | None = None) -> Backend:
    """Return the backend that `settings.backend` names.

    Args:
        settings: `backend` is realtime, pipecat, echo, mirror, or ``module:function``.
        metrics: What the backend counts into.

    Raises:
        ConfigError: There is no such module or function, or a setting that it needs is missing.
    """
    match settings.backend:
        case "echo":
            return EchoBackend()
        case "mirror":
            return MirrorBackend()
        case "realtime":
            return RealtimeBackend(settings.server_of_realtime, metrics or Metrics())
        case "pipecat":
            return PipecatBackend(settings.pipecat, metrics or Metrics())
        case name:
            return FunctionBackend.find(name)
