"""What a tool is, and what it raises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from firsthop.call import Call
from firsthop.errors import FirsthopError


class ToolError(FirsthopError):
    """A tool did not do its work. The words are for the model, which tells the user."""


class Tool(ABC):
    """Something that the model may call.

    Attributes:
        name: What the model calls it: 1 to 64 of A-Z a-z 0-9 _ -.
        server: Whose it is, for clients: python, or the name of an MCP server.
        description: For the model.
        parameters: JSON Schema of an object.
    """

    name: str
    server: str
    description: str
    parameters: Mapping[str, Any]

    @abstractmethod
    async def run(self, arguments: Mapping[str, Any], call: Call) -> str:
        """Do it, and return what the model is told. Cancelled when nobody waits any more.

        Raises:
            ToolError: It did not work.
        """

    def definition(self) -> dict[str, Any]:
        """What the model is told of it, as in the Realtime API."""
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": dict(self.parameters),
        }
