"""Who answers calls: one file per kind of backend.

`base` has the seam, `load` finds a backend by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firsthop.backends.base import Backend

if TYPE_CHECKING:
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
    # A backend's packages are imported if it serves: agents import this one for `opus`.
    from firsthop.telemetry.metrics import Metrics

    match settings.backend:
        case "echo":
            from firsthop.backends.echo import EchoBackend

            return EchoBackend()
        case "mirror":
            from firsthop.backends.mirror import MirrorBackend

            return MirrorBackend()
        case "realtime":
            from firsthop.backends.realtime import RealtimeBackend

            return RealtimeBackend(settings.server_of_realtime, metrics or Metrics())
        case "pipecat":
            from firsthop.backends.pipecat import PipecatBackend

            return PipecatBackend(settings.pipecat, metrics or Metrics())
        case name:
            from firsthop.backends.function import FunctionBackend

            return FunctionBackend.find(name)
