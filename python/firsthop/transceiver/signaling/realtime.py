"""The Realtime API's WebRTC calls: an SDP offer in, an SDP answer and a call id out."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from firsthop.errors import SignalingError
from firsthop.transceiver.calls import Calls

_SDP = "application/sdp"


def routes(calls: Calls) -> APIRouter:
    """Return the routes under /v1/realtime."""
    router = APIRouter(prefix="/v1/realtime", tags=["realtime"])

    @router.post(
        "/calls",
        status_code=201,
        response_class=Response,
        responses={
            201: {
                "description": "The SDP answer; Location names the call.",
                "content": {_SDP: {"schema": {"type": "string"}}},
            },
            400: {"description": "The offer is wrong; the error names the line."},
            413: {"description": "The body is too large."},
            503: {"description": "There is no room; Retry-After says when to try again."},
        },
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    _SDP: {"schema": {"type": "string", "description": "An SDP offer."}},
                    "multipart/form-data": {
                        "schema": {
                            "type": "object",
                            "required": ["sdp"],
                            "properties": {
                                "sdp": {"type": "string"},
                                "session": {"type": "string", "description": "A JSON object."},
                            },
                        }
                    },
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "required": ["sdp"],
                            "properties": {
                                "sdp": {"type": "string"},
                                "session": {"type": "object"},
                            },
                        }
                    },
                },
            }
        },
    )
    async def create_call(request: Request) -> Response:
        """Answer an SDP offer: raw, as part `sdp` of a form, or as `sdp` of a JSON object."""
        call_id, answer = calls.open(await _read_offer(request))
        location = f"/v1/realtime/calls/{call_id}"
        return Response(answer, 201, media_type=_SDP, headers={"Location": location})

    @router.post("/calls/{call_id}/hangup", status_code=200, response_class=Response)
    async def hang_up(call_id: str) -> Response:
        """End a call."""
        calls.hang_up(call_id)
        return Response()

    return router


async def _read_offer(request: Request) -> str:
    """Return the offer from whichever form the body has."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    match content_type:
        case "application/sdp" | "text/plain" | "":
            return _text(await request.body(), "the offer")
        case "multipart/form-data":
            return await _read_form(request)
        case "application/json":
            body = _json(_text(await request.body(), "the body"), "body")
            offer = body.get("sdp")
            if not isinstance(offer, str):
                raise SignalingError("expected the SDP offer", code="missing_sdp", param="sdp")
            # JSON can escape half of a character, which is no text.
            return _text(offer.encode(errors="surrogatepass"), "the offer")
        case other:
            raise SignalingError(
                f"content type {other!r}: expected application/sdp, multipart/form-data with "
                "a part 'sdp', or application/json with a field 'sdp'",
                status=415,
                code="unsupported_media_type",
            )


async def _read_form(request: Request) -> str:
    try:
        async with request.form(max_files=2, max_fields=4) as form:
            session, offer = await _part(form, "session"), await _part(form, "sdp")
    except HTTPException as error:
        raise SignalingError(f"multipart body: {error.detail}", code="invalid_form") from None
    if session is not None:
        # Which fields have an effect is the agent's matter; that it is JSON is checked here.
        _json(session, "session")
    if offer is None:
        raise SignalingError("the form has no part 'sdp'", code="missing_sdp", param="sdp")
    return offer


async def _part(form: FormData, name: str) -> str | None:
    """A part of the form: a plain field, or a part with a content type of its own."""
    part = form.get(name)
    if isinstance(part, UploadFile):
        return _text(await part.read(), name)
    return part


def _text(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise SignalingError(f"{what} is not UTF-8 text", code="invalid_encoding") from None


def _json(text: str, param: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"expected a JSON object: {error}"
        raise SignalingError(message, code="invalid_json", param=param) from None
    if not isinstance(value, dict):
        raise SignalingError("expected a JSON object", code="invalid_json", param=param)
    return value
