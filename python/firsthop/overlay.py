"""One JSON-like object laid over another.

Settings from the environment go over those of a file, a client's ``session.update`` over its
session. Imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def overlaid(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Merge deeply; `high` wins.

    An object changes only the fields that it names; one of another ``type`` takes the place of what
    is below it.
    """
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            same = "type" not in value or value["type"] == below.get("type")
            value = overlaid(below, value) if same else value
        merged[key] = value
    return merged
