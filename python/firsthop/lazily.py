"""Names of a package that cost time to import, and so are imported when somebody uses them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return what is to be the package's ``__getattr__`` (PEP 562).

    Type checkers do not follow it: the package imports the same names if ``TYPE_CHECKING``.

    Args:
        package: Its name.
        homes: Name -> the module that has it.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return get
