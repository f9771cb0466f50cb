"""Modules that settings name: imported as Python would where the service was started."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from firsthop.errors import ConfigError


def load(name: str, *, key: str, value: str | None = None) -> ModuleType:
    """Import a module; those in the current folder count.

    A mistake within the module raises what it raises, with its own traceback.

    Args:
        name: The module, as package.module.
        key: The setting that names it.
        value: What the setting is, if that is more than the name.

    Raises:
        ConfigError: There is no such module, or one that it needs is missing.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(key, f"{value or name!r}: {error}") from None
