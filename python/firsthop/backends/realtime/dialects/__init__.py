"""How Realtime servers differ: one file per dialect, each a translation to and from the contract.

`base` has what all of them share, `find` gives the one that the settings name.
"""

from __future__ import annotations

from typing import Final

from firsthop.backends.realtime.dialects.azure import Azure, AzurePreview
from firsthop.backends.realtime.dialects.base import Dialect
from firsthop.backends.realtime.dialects.basic import Basic
from firsthop.backends.realtime.dialects.beta import Beta
from firsthop.backends.realtime.dialects.openai import OpenAI
from firsthop.config import RealtimeSettings

__all__ = ["DIALECTS", "Dialect", "find"]

#: By the name that the setting `realtime.dialect` has for them.
DIALECTS: Final[dict[str, type[Dialect]]] = {
    "openai": OpenAI,
    "azure": Azure,
    "azure-preview": AzurePreview,
    "beta": Beta,
    "basic": Basic,
}


def find(settings: RealtimeSettings) -> Dialect:
    """Return the dialect that the settings name, with what it has and lacks beyond its kind."""
    kind = DIALECTS[settings.dialect]
    return kind((kind.speaks | {*settings.has}) - {*settings.lacks})
