"""The environment of the `firsthop` processes that are measured: their settings and no others."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from firsthop.config import ENVIRONMENT_PREFIX


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Return this process's environment with `settings`, named as ``RELAY__LISTEN``."""
    others = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(ENVIRONMENT_PREFIX)
    }
    ours = {
        ENVIRONMENT_PREFIX + name: value if isinstance(value, str) else json.dumps(value)
        for name, value in settings.items()
    }
    return others | ours
