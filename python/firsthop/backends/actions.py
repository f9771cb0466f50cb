"""What translators of any backend want done on a call: values, carried out by who has the call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ToClient:
    """Send an event to the client."""

    event: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fail:
    """Tell the client of an error."""

    code: str
    message: str
    event_id: str | None = None
