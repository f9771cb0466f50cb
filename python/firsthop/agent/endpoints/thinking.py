"""What models think aloud within their answers, which nobody should hear. No I/O."""

from __future__ import annotations

import re
from typing import Final

_TAG: Final = re.compile("</?think>")
#: What may become a tag.
_BEGUN: Final = re.compile("<(?:/?(?:t(?:h(?:i(?:nk?)?)?)?)?)?$")


class Thinking:
    """Takes an answer as it comes, and returns it without ``<think>...</think>``."""

    def __init__(self) -> None:
        self._held = ""
        self._inside = False
        self._trim = False

    def feed(self, text: str) -> str:
        """Return what is certain not to be thinking."""
        text = self._held + text
        said: list[str] = []
        at = 0
        for tag in _TAG.finditer(text):
            said.append(self._said(text[at : tag.start()]))
            # One that ends what was not begun is dropped alone.
            self._inside = tag[0] == "<think>"
            self._trim = True
            at = tag.end()
        begun = _BEGUN.search(text, at)
        end = begun.start() if begun else len(text)
        self._held = text[end:]
        return "".join([*said, self._said(text[at:end])])

    def finish(self) -> str:
        """Return what was held because it might have become a tag."""
        held, self._held = self._held, ""
        return self._said(held)

    def _said(self, text: str) -> str:
        if self._inside:
            return ""
        if self._trim:
            # The blank lines between thinking and answer are neither.
            text = text.lstrip()
            self._trim = not text
        return text
