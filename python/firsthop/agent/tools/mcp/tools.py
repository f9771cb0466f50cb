"""The tools of an MCP server, as models see them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from mcp.types import Tool as Listed
from pydantic_core import to_json

from firsthop.agent.tools.base import Tool, ToolContext
from firsthop.agent.tools.mcp.server import McpServer

#: Longest description that a model is told, in characters.
MAX_DESCRIPTION: Final = 1024
#: Largest schema of parameters, as JSON.
MAX_SCHEMA_BYTES: Final = 16_384
_MAX_NAME = 64


class McpTool(Tool):
    """A tool of a server.

    Args:
        server: Whose it is.
        listed: What the server says of it.
        name: What the model calls it.
    """

    def __init__(self, server: McpServer, listed: Listed, name: str) -> None:
        self.name = name
        self.server = server.label
        self.description = (listed.description or listed.title or listed.name)[:MAX_DESCRIPTION]
        self.parameters = {"type": "object", "properties": {}} | listed.input_schema
        self._server = server
        self._listed = listed.name

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """Let the server do it.

        Raises:
            ToolError: It did not, or is not there.
        """
        return await self._server.call(self._listed, arguments)


def fits(listed: Listed) -> bool:
    """Whether what a server says of a tool is small enough for models."""
    return len(to_json(listed.input_schema)) <= MAX_SCHEMA_BYTES


def allowed(name: str) -> str:
    """The name, as models take names."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:_MAX_NAME] or "_"


def named(name: str, label: str, taken: Mapping[str, object]) -> str:
    """What a model calls the tool of a server: its name, unless that is taken."""
    wanted = allowed(name)
    if wanted in taken:
        wanted = allowed(f"{label}_{name}")
    numbered, number = wanted, 2
    while numbered in taken:
        numbered = f"{wanted[: _MAX_NAME - 4]}_{number}"
        number += 1
    return numbered
