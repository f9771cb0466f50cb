"""What the model may call: Python functions, and the tools of MCP servers."""

from firsthop.agent.tools.base import Tool, ToolContext, ToolError
from firsthop.agent.tools.function import tool

__all__ = ["Tool", "ToolContext", "ToolError", "tool"]
