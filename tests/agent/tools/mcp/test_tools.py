"""What models are told of tools of MCP servers, and of their results."""

from __future__ import annotations

import re

import pytest
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
    Tool,
)

from firsthop.agent.tools.base import NAME
from firsthop.agent.tools.mcp.results import worded
from firsthop.agent.tools.mcp.tools import MAX_SCHEMA_BYTES, fits, named


@pytest.mark.parametrize(
    ("name", "taken", "shown"),
    [
        ("add", [], "add"),
        ("files.read/all", [], "files_read_all"),
        ("caf\u00e9 \u5317\u4eac", [], "caf____"),
        ("", [], "_"),
        ("x" * 99, [], "x" * 64),
        ("add", ["add"], "shop_add"),
        ("a.b", ["a_b"], "shop_a_b"),
        ("add", ["add", "shop_add"], "shop_add_2"),
        ("add", ["add", "shop_add", "shop_add_2"], "shop_add_3"),
        ("x" * 99, ["x" * 64, f"shop_{'x' * 59}"], f"shop_{'x' * 55}_2"),
    ],
)
def test_names_are_such_as_models_take_and_no_two_are_alike(
    name: str, taken: list[str], shown: str
) -> None:
    assert named(name, "shop", dict.fromkeys(taken)) == shown
    assert re.fullmatch(NAME, shown)


TEXT = TextContent(text="a cat")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([TEXT, TextContent(text="and a dog")], "a cat\nand a dog"),
        ([TEXT, ImageContent(data="eA==", mime_type="image/png")], "a cat\n[image]"),
        ([AudioContent(data="eA==", mime_type="audio/wav")], "[audio]"),
        ([ResourceLink(name="x", uri="file:///x")], "[resource file:///x]"),
        (
            [EmbeddedResource(resource=TextResourceContents(uri="file:///x", text="its words"))],
            "its words",
        ),
        (
            [EmbeddedResource(resource=BlobResourceContents(uri="file:///x", blob="eA=="))],
            "[resource file:///x]",
        ),
        ([], "done"),
        ([TextContent(text="")], "done"),
    ],
)
def test_text_is_told_and_what_else_there_is_is_named(
    content: list[ContentBlock], told: str
) -> None:
    assert worded(CallToolResult(content=content)) == told


def test_structured_content_is_told_where_there_is_no_text() -> None:
    value = {"value": 3}
    assert worded(CallToolResult(content=[], structured_content=value)) == '{"value":3}'
    assert worded(CallToolResult(content=[TEXT], structured_content=value)) == "a cat"


def test_a_tool_with_too_large_a_schema_is_left_out() -> None:
    small = {"type": "object", "properties": {"x": {"type": "string"}}}
    assert fits(Tool(name="x", input_schema=small))
    assert not fits(Tool(name="x", input_schema=small | {"enum": ["x" * MAX_SCHEMA_BYTES]}))
