"""The page that tells a reader what there is."""

from __future__ import annotations

import re

import pytest

from firsthop.agent.service import AgentService
from firsthop.config import Settings
from firsthop.signaling import reference
from firsthop.telemetry.metrics import Metrics
from signaling.edge import Edge


async def test_the_reference_has_all_operations_of_the_description() -> None:
    edge = Edge()
    page = (await edge.client.get("/docs")).text
    paths = (await edge.client.get("/openapi.json")).json()["paths"]
    told = re.findall(r'"verb">(\w+)</span><span class="path">([^<]+)<', page)
    assert told == [
        (verb.upper(), path) for path, operations in paths.items() for verb in operations
    ]
    assert len(told) > 10


async def test_the_reference_asks_nobody_for_anything() -> None:
    response = await Edge().client.get("/docs")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "://" not in response.text
    assert "<script" not in response.text


def test_what_a_description_says_is_text() -> None:
    answers = {"200": {"description": "<i>"}}
    fields = {"a<b": {"type": "string", "description": "`x<y`"}}
    body = {"content": {"a/b": {"schema": {"properties": fields}}}}
    page = reference.rendered(
        {
            "openapi": "3.1.0",
            "info": {"title": "<b>"},
            "paths": {"/<p>": {"get": {"responses": answers, "requestBody": body}}},
        }
    )
    for raw in ("<b>:", "<i>", "a<b", "x<y", "/<p>"):
        assert raw not in page
    assert "<code>x&lt;y</code>" in page


@pytest.mark.parametrize("depth", [1, 9])
def test_a_schema_is_told_as_deep_as_a_reader_follows(depth: int) -> None:
    schema: dict[str, object] = {"type": "string"}
    for level in reversed(range(depth)):
        schema = {"type": "object", "properties": {f"level{level}": schema}}
    told = "".join(reference._schema(schema, 3))
    assert told.count("<ul>") == min(depth, 3)


def test_the_agent_service_has_one_too() -> None:
    app = AgentService(Settings(), Metrics()).app()
    assert "/docs" in {getattr(route, "path", "") for route in app.routes}
    assert app.docs_url is None
