"""Servers of tools that speak the Model Context Protocol, through the `mcp` package.

`server` has the one session with each, `process` and `web` how they are reached, `tools` what
models are told of their tools and of what these answer.
"""

from firsthop.agent.tools.mcp.server import McpServer
from firsthop.agent.tools.mcp.tools import McpTool

__all__ = ["McpServer", "McpTool"]
