"""What people write in YAML: read as values, and refused in one line that says where and why."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from firsthop.errors import ConfigError

#: What pydantic's errors about a value's shape mean in a file or a variable.
_SHAPES = {
    "tuple_type": 'a list, as ["...", "..."]',
    "dict_type": 'an object, as {"...": "..."}',
    "model_type": 'an object, as {"...": "..."}',
    "named_tuple_type": "latitude and longitude, as [50.1, 8.7]",
}
_PASSWORD = re.compile(r"://.*@")
_AT = "at"
M = TypeVar("M", bound=BaseModel)


def read(path: Path, expected: str) -> dict[str, Any]:
    """Read a file that holds an object, or nothing. What is wrong is not quoted: it may be secret.

    Args:
        path: The file.
        expected: What should be in it, for the error.

    Raises:
        ConfigError: It cannot be read, or is something else; names the path.
    """
    try:
        with path.open("rb") as stream:
            values = yaml.safe_load(stream)
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        # Of these, none quotes more than a character.
        syntax = isinstance(error, yaml.scanner.ScannerError | yaml.parser.ParserError)
        reason = f": {getattr(error, 'problem', None) or 'garbled'}" if syntax else ""
        raise ConfigError(str(path), f"not YAML{where}{reason}") from None
    values = {} if values is None else values
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(str(path), f"expected {expected}")
    return values


def read_as(path: Path, model: type[M], expected: str) -> M:
    """Read a file as a model whose fields are all that may stand there.

    Args:
        path: The file.
        model: What it becomes.
        expected: What should be in it, for the error.

    Raises:
        ConfigError: Names the path, and the first place that is wrong.
    """
    values = read(path, expected)
    try:
        return model(**values)
    except ValidationError as error:
        problem = first_problem(error, lambda _: "there is no such field")
        raise ConfigError(f"{path}: {problem.key}", problem.problem) from None


def problem_at(place: str, problem: str) -> PydanticCustomError:
    """Make what a check of several values raises: it knows the place of the one that is wrong."""
    return PydanticCustomError(_AT, "{problem}", {"place": place, "problem": problem})


def first_problem(
    error: ValidationError,
    unknown: Callable[[str], str],
    is_secret: Callable[[str], bool] = lambda key: False,
) -> ConfigError:
    """Return the first thing that is wrong, with its place, dotted.

    Args:
        error: What a model found.
        unknown: What to say of a name that there is not, given the name and its place.
        is_secret: Whether the value at a place must not be quoted.
    """
    problem: Mapping[str, Any] = error.errors()[0]
    # pydantic marks a mapping's own key as "[key]".
    parts = [str(part) for part in problem["loc"] if part != "[key]"]
    if problem["type"] == _AT:
        return ConfigError(".".join([*parts, problem["ctx"]["place"]]), problem["msg"])
    key = ".".join(parts) or "settings"
    if problem["type"] == "extra_forbidden":
        return ConfigError(key, unknown(key))
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in _SHAPES:
        message = f"expected {_SHAPES[problem['type']]}"
    quoted = problem["input"]
    if is_secret(key) or isinstance(quoted, dict) or _PASSWORD.search(repr(quoted)):
        return ConfigError(key, message)
    return ConfigError(key, f"{reprlib.repr(quoted)}: {message}")
