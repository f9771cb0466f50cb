"""One JSON-like object laid over another.

Settings from the environment go over those of a file, a client's ``session.update`` over its
session. Imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def overlaid(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Merge deeply; `high` wins. An object changes only the fields that it names."""
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            value = overlaid(below, value)
        merged[key] = value
    return merged
