"""What a docstring says of a function and of its parameters, in Google's style."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field

_ARGUMENTS = re.compile(r"(Args|Arguments|Parameters):\s*$")
_ARGUMENT = re.compile(r"\*{0,2}(\w+)(?:\s*\([^)]*\))?:\s*(.*)$")


@dataclass(frozen=True, slots=True)
class Docstring:
    """A docstring, read.

    Attributes:
        summary: Its first paragraph, as one line.
        parameters: What it says of each parameter, as one line.
    """

    summary: str = ""
    parameters: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str | None) -> Docstring:
        """Read a docstring as it stands in the source."""
        lines = inspect.cleandoc(text or "").splitlines()
        return cls(_paragraph(lines), _arguments(lines))


def _paragraph(lines: list[str]) -> str:
    paragraph: list[str] = []
    for line in lines:
        if not line.strip() or _ARGUMENTS.match(line):
            break
        paragraph.append(line.strip())
    return " ".join(paragraph)


def _arguments(lines: list[str]) -> dict[str, str]:
    """Read the Args section: a line for each parameter, what is indented deeper continues it."""
    start = next((n for n, line in enumerate(lines) if _ARGUMENTS.match(line)), None)
    if start is None:
        return {}
    found: dict[str, list[str]] = {}
    indent, name = None, None
    for line in lines[start + 1 :]:
        if not line.strip():
            continue
        depth = len(line) - len(line.lstrip())
        if depth == 0:
            break
        indent = depth if indent is None else indent
        entry = _ARGUMENT.match(line.strip()) if depth <= indent else None
        if entry:
            name = entry[1]
            found[name] = [entry[2]]
        elif name is not None:
            found[name].append(line.strip())
    return {name: " ".join(words).strip() for name, words in found.items()}
