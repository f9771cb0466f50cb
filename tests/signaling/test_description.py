"""The interface does what its description says, for whatever is sent (schemathesis)."""

from __future__ import annotations

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance, unsupported_method
from starlette.types import Receive, Scope, Send

from firsthop.signaling.access import is_public
from signaling.edge import API_KEY, BEARER, Edge

KEYS = {0: os.urandom(32).hex()}
OPERATIONS = [
    "DELETE /whip/{call_id}",
    "GET /v1/realtime",
    "PATCH /api/offer",
    "PATCH /sessions/{session_id}/api/offer",
    "PATCH /whip/{call_id}",
    "POST /api/offer",
    "POST /sessions/{session_id}/api/offer",
    "POST /start",
    "POST /v1/realtime",
    "POST /v1/realtime/calls",
    "POST /v1/realtime/calls/{call_id}/hangup",
    "POST /v1/realtime/client_secrets",
    "POST /v1/realtime/sessions",
    "POST /webrtc/offer",
    "POST /whip",
]
#: Those whose body can be wrong in a way that the status tells.
REFUSING = [
    label
    for label in OPERATIONS
    if label.startswith("POST") and not label.endswith(("/hangup", "/webrtc/offer"))
]


@schemathesis.serializer("application/sdp", "application/trickle-ice-sdpfrag")
def as_text(ctx: Any, value: Any) -> bytes:
    """Serialize an offer, or what stands for one."""
    return str(value).encode(errors="replace")


def public(path: str) -> bool:
    return is_public({"type": "http", "path": path})


def described(**signaling: Any) -> Any:
    app = Edge(KEYS, **signaling).service.app()

    async def local(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "client": ("127.0.0.1", 50_000)}, receive, send)

    return schemathesis.openapi.from_asgi("/openapi.json", local)


def test_all_operations_are_tried() -> None:
    found = [result.ok().label for result in described().get_all_operations()]
    guarded = [label for label in found if not public(label.partition(" ")[2])]
    assert sorted(guarded) == OPERATIONS


@pytest.mark.parametrize("label", OPERATIONS)
@pytest.mark.parametrize("keys", [(API_KEY,), ()], ids=["keys", "no keys"])
def test_what_is_described_is_answered_as_described(label: str, keys: tuple[str, ...]) -> None:
    # One operation only tells the way, whatever is asked.
    unfit = [positive_data_acceptance] if label.startswith("GET") else []
    answered(label, GenerationMode.POSITIVE, keys, unfit)


@pytest.mark.parametrize("label", REFUSING)
@pytest.mark.parametrize("keys", [(API_KEY,), ()], ids=["keys", "no keys"])
def test_what_is_not_described_is_refused_as_described(label: str, keys: tuple[str, ...]) -> None:
    answered(label, GenerationMode.NEGATIVE, keys, [])


def answered(label: str, mode: GenerationMode, keys: tuple[str, ...], unfit: list[Any]) -> None:
    method, _, path = label.partition(" ")
    operation = described(api_keys=keys)[path][method]

    # The same each time: what a session may hold is described roughly, and its size not at all.
    @settings(max_examples=25, derandomize=True)
    @given(operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        headers = dict(BEARER) if keys else {}  # They are changed: what if there were none?
        case.call_and_validate(headers=headers, excluded_checks=[unsupported_method, *unfit])

    check()


def test_the_description_tells_how_to_show_who_one_is() -> None:
    raw = described().raw_schema
    assert raw["components"]["securitySchemes"].keys() == {"bearer", "api-key"}
    for path, operations in raw["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) == (not public(path))
            assert "HTTPValidationError" not in str(operation["responses"])
