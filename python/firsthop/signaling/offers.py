"""What a request for a call holds, in whichever form it comes: the offer, a session, a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from fastapi import Query, Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from firsthop.errors import SignalingError
from firsthop.realtime.events import from_json

SDP: Final = "application/sdp"
#: How deep a session may be: what merges it goes down by calling itself.
_MAX_LEVELS: Final = 64
_MAX_MODEL: Final = 256

#: A request's query: the data channel that client and server have without telling each other.
ChannelId = Annotated[
    int | None,
    Query(
        ge=0,
        le=65_534,
        description="The id of a data channel made with `negotiated: true`: an offer tells of none",
    ),
]
#: A request's query: what to call the session's model.
Model = Annotated[
    str | None,
    Query(
        max_length=_MAX_MODEL,
        description="Taken if neither the session nor a client secret names one",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A call as a client asks for it."""

    offer: str
    session: Mapping[str, Any] = field(default_factory=dict)
    """Session configuration in the contract's shape."""


async def read(request: Request) -> Placed:
    """Read a request for a call: raw, a form, or JSON.

    Raises:
        SignalingError: 400 or 415: it is in none of these forms.
    """
    match content_type(request):
        case "application/sdp" | "text/plain" | "":
            return Placed(offer=_text(await request.body(), "the offer"))
        case "multipart/form-data":
            return await _read_form(request)
        case "application/json":
            return _read_json(await read_object(request))
        case other:
            raise SignalingError(
                f"content type {other!r}: expected application/sdp, multipart/form-data with "
                "a part 'sdp', or application/json with a field 'sdp'",
                status=415,
                code="unsupported_media_type",
            )


async def read_object(request: Request) -> dict[str, Any]:
    """Read a JSON object; no body is an empty one.

    Raises:
        SignalingError: 400 or 415: it is something else.
    """
    body = await request.body()
    if body and content_type(request) != "application/json":
        message = f"content type {content_type(request)!r}: expected application/json"
        raise SignalingError(message, status=415, code="unsupported_media_type")
    return _json(_text(body, "the body") or "{}", "body")


def content_type(request: Request) -> str:
    """The body's content type, without parameters and in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def as_object(value: object, param: str) -> dict[str, Any]:
    """Return a field that has to be a JSON object; null is an empty one.

    Raises:
        SignalingError: It is none; `param` is its name.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SignalingError("expected a JSON object", code="invalid_json", param=param)
    return value


def as_bool(value: object, param: str) -> bool:
    """Return a field that has to be a boolean; null is false.

    Raises:
        SignalingError: It is none; `param` is its name.
    """
    if not isinstance(value, bool | None):
        raise SignalingError("expected a boolean", code="invalid_value", param=param)
    return bool(value)


def offer_in(body: Mapping[str, Any]) -> str:
    """Return the SDP offer of a JSON body, its field ``sdp``.

    Raises:
        SignalingError: There is none, or it is no text.
    """
    offer = body.get("sdp")
    if not isinstance(offer, str):
        raise SignalingError("expected the SDP offer", code="missing_sdp", param="sdp")
    # JSON can escape half of a character, which is no text.
    return _text(offer.encode(errors="surrogatepass"), "the offer")


def _read_json(body: Mapping[str, Any]) -> Placed:
    offer, model = offer_in(body), body.get("model")
    if not isinstance(model, str | None) or len(model or "") > _MAX_MODEL:
        message = f"expected a string of at most {_MAX_MODEL} characters"
        raise SignalingError(message, code="invalid_value", param="model")
    session = as_object(body.get("session"), "session")
    return Placed(
        offer=offer,
        session=session if model is None else {"model": model} | session,
    )


async def _read_form(request: Request) -> Placed:
    try:
        async with request.form(max_files=2, max_fields=4) as form:
            strange = [name for name in form if name not in ("sdp", "session")]
            session, offer = await _part(form, "session"), await _part(form, "sdp")
    except HTTPException as error:
        raise SignalingError(f"multipart body: {error.detail}", code="invalid_form") from None
    if strange:
        message = f"expected the parts 'sdp' and 'session', not {strange[0][:100]!r}"
        raise SignalingError(message, code="invalid_form")
    if offer is None:
        raise SignalingError("the form has no part 'sdp'", code="missing_sdp", param="sdp")
    return Placed(offer=offer, session={} if session is None else _json(session, "session"))


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
        value = from_json(text)
    except (ValueError, RecursionError) as error:
        message = f"expected a JSON object: {error}"
        raise SignalingError(message, code="invalid_json", param=param) from None
    if not isinstance(value, dict) or _deeper_than(_MAX_LEVELS, value):
        message = f"expected a JSON object, of at most {_MAX_LEVELS} levels"
        raise SignalingError(message, code="invalid_json", param=param)
    return value


def _deeper_than(levels: int, value: object) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return bool(parts) and (levels == 0 or any(_deeper_than(levels - 1, part) for part in parts))
