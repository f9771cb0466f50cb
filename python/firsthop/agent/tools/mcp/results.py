"""What a tool of an MCP server answered, in words for the model."""

from __future__ import annotations

from mcp.types import CallToolResult, EmbeddedResource, ResourceLink, TextContent
from pydantic_core import to_json


def worded(result: CallToolResult) -> str:
    """What the model is told of a result: its text, and what else there is by its name."""
    parts = [_part(content) for content in result.content]
    if not any(parts) and result.structured_content is not None:
        return to_json(result.structured_content, fallback=str).decode()
    return "\n".join(part for part in parts if part) or "done"


def _part(content: object) -> str:
    match content:
        case TextContent(text=text):
            return text
        case ResourceLink(uri=uri):
            return f"[resource {uri}]"
        case EmbeddedResource(resource=resource):
            return getattr(resource, "text", f"[resource {resource.uri}]")
        case _:
            return f"[{getattr(content, 'type', 'content')}]"
