"""Parts of the interface's description (OpenAPI) that all protocols share: credentials, errors."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel, Field

from firsthop.values import CLIENT_SECRET


class ErrorBody(BaseModel):
    """What was wrong, and what would be right."""

    message: str = Field(description="For people, as it is.")
    type: str = Field(description="invalid_request_error, or server_error from 500 on.")
    code: str = Field(description="A word for programs.")
    param: str | None = Field(description="The part of the request that is wrong.")


class Refusal(BaseModel):
    """The one form of all errors."""

    error: ErrorBody


#: How to show who one is.
_SECURITY_SCHEMES: Final = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": f"An API key, or a client secret ({CLIENT_SECRET}...). While the server has "
        "no API keys, callers on its own machine need none.",
    },
    "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
}
#: The least that an offer has to have.
EXAMPLE_OFFER: Final = "\r\n".join(
    [
        "v=0",
        "o=- 1 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "c=IN IP4 0.0.0.0",
        "a=ice-ufrag:abcd",
        "a=ice-pwd:abcdefghijklmnopqrstuv",
        "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
        "a=setup:actpass",
        "a=mid:0",
        "a=sendrecv",
        "a=rtcp-mux",
        "a=rtpmap:111 opus/48000/2",
        "",
    ]
)
#: An offer, as a schema.
OFFER: Final = {
    "type": "string",
    "description": "An SDP offer.",
    "pattern": "^v=0\r\n",
    "example": EXAMPLE_OFFER,
}
SECURITY: Final[list[dict[str, list[str]]]] = [{"bearer": []}, {"api-key": []}, {}]


def complete(app: FastAPI) -> None:
    """Let the description tell how to show who one is, and of no answer that is never sent."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        described = generate()
        components = described.setdefault("components", {})
        components["securitySchemes"] = _SECURITY_SCHEMES
        components.setdefault("schemas", {}).update(_schemas())
        for path in described["paths"].values():
            for operation in path.values():
                # What FastAPI adds is 400 here, as in the Realtime API.
                if "HTTPValidationError" in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
        return described

    app.openapi = openapi  # type: ignore[method-assign]


_REFUSALS: Final = {
    400: "The request is wrong; the error names the part, and the line of an offer.",
    401: "The API key or client secret is missing, wrong or expired.",
    403: "Who asks may not have this, or not from where.",
    404: "There is no such call.",
    412: "The condition does not hold: another ICE session is meant.",
    413: "The body is too large.",
    415: "The body's content type is none of those that are taken.",
    422: "What is asked for is not supported.",
    426: "Connect by WebSocket.",
    428: "A condition is missing: If-Match.",
    502: "The transceiver that owns the call cannot be reached.",
    503: "There is no room; Retry-After says when to try again.",
    504: "The transceiver that owns the call does not answer.",
}


#: By reference. As a model of each answer it is compiled for each, several times, and holds up
#: the start by more than all else.
_REFUSAL: Final = {
    "application/json": {"schema": {"$ref": f"#/components/schemas/{Refusal.__name__}"}}
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe answers that are errors."""
    return {status: {"content": _REFUSAL, "description": _REFUSALS[status]} for status in statuses}


def _schemas() -> dict[str, Any]:
    """Return what all refusals refer to."""
    schema = Refusal.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), Refusal.__name__: schema}
