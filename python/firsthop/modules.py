"""Modules that settings name: imported as Python would where the service was started."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType

from firsthop.errors import ConfigError


def load(name: str, *, key: str, value: str | None = None) -> ModuleType:
    """Import a module; those in the current folder count.

    Args:
        name: The module, as package.module.
        key: The setting that names it.
        value: What the setting is, if that is more than the name.

    Raises:
        ConfigError: There is no such module, one that it needs is missing, or there is a mistake
            within: then it tells the line.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(key, f"{value or name!r}: {error}") from None
    except Exception as error:
        # A line and its place: our own frames are no business of who wrote the module.
        problem = f"{type(error).__name__}: {' '.join(str(error).split())}{_where(error, here)}"
        raise ConfigError(key, f"{value or name!r}: {problem}") from error


def _where(error: Exception, folder: str) -> str:
    """Name the last line in the current folder that led to an error."""
    if isinstance(error, SyntaxError):
        return ""  # It says so itself.
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(folder)
        and not Path(frame.filename).is_relative_to(Path(__file__).parent)
    ]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
