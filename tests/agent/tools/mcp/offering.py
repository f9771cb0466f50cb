"""A real MCP server with tools that behave, and some that do not; run as a script, by stdio.

In its working folder it leaves traces: `pid` while it runs, `hangs` and `cancelled` for `hang`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
from mcp.server.mcpserver import Context, Image, MCPServer
from pydantic import BaseModel


class Sum(BaseModel):
    """What comes of adding."""

    value: int


def offering(traces: Path) -> MCPServer:
    """Return a server of tools."""
    server = MCPServer("offering")

    @server.tool()
    def add(a: int, b: int) -> Sum:
        """Add two numbers."""
        return Sum(value=a + b)

    @server.tool(name="files.read/all")
    def read(name: str) -> str:
        """Read."""
        return f"the words of {name}"

    @server.tool()
    def current_time() -> str:
        """Tell the time, too."""
        return "noon"

    @server.tool()
    def fail() -> str:
        """Fail."""
        raise ValueError("the shelf is empty")

    @server.tool()
    def see() -> list[Image | str]:
        """See."""
        return ["a cat:", Image(data=b"\x89PNG", format="png")]

    @server.tool()
    def flood() -> str:
        """Say more than anybody wants to hear."""
        return "x" * 5_000_000

    @server.tool()
    def die() -> str:
        """End."""
        os._exit(3)

    @server.tool()
    async def hang() -> str:
        """Hang until it is cancelled."""
        (traces / "hangs").touch()
        try:
            await anyio.sleep_forever()
        finally:
            (traces / "cancelled").touch()
        return "never"

    @server.tool()
    async def learn(context: Context) -> str:
        """Learn one more tool."""
        server.add_tool(current_time, name="learned")
        await context.notify_tools_changed()
        return "learned"

    return server


if __name__ == "__main__":
    here = Path.cwd()
    (here / "pid").write_text(str(os.getpid()))
    if "chatty" in sys.argv:
        print("Welcome!\n{}\n[1, 2", flush=True)
        print("what goes wrong, and who said what", file=sys.stderr, flush=True)
    offering(here).run("stdio")
