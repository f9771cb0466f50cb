"""Client secrets: a server asks for one, and gives it to a browser that will place a call."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request

from firsthop.errors import SignalingError
from firsthop.signaling import offers
from firsthop.signaling.access import caller_of
from firsthop.signaling.description import refusals
from firsthop.signaling.desk import Desk
from firsthop.signaling.realtime import flat
from firsthop.signaling.realtime.bodies import FLAT_BODY, SECRET_BODY

#: How long a secret is good for new calls, in seconds. Calls may outlive it.
_DEFAULT_SECONDS: Final = 600
_MIN_SECONDS: Final = 10
_MAX_SECONDS: Final = 7200


def add(router: APIRouter, desk: Desk) -> None:
    """Add the routes under /v1/realtime that make client secrets."""
    errors = refusals(400, 401, 403, 413, 415)

    @router.post("/client_secrets", responses=errors, openapi_extra=SECRET_BODY)
    async def create_secret(request: Request) -> dict[str, Any]:
        """Make a secret that is good for calls with this session, until it expires."""
        caller_of(request).must_be_server("making client secrets")
        body = await offers.read_object(request)
        _refuse_unknown(body, {"expires_after", "session"}, "")
        session = offers.as_object(body.get("session"), "session")
        expires_at = _expiry(body.get("expires_after"), "expires_after")
        value, effective = _sealed(desk, request, session, expires_at)
        return {"value": value, "expires_at": expires_at, "session": effective}

    @router.post("/sessions", responses=errors, openapi_extra=FLAT_BODY, deprecated=True)
    async def create_session(request: Request) -> dict[str, Any]:
        """Make a secret as clients of the beta ask for it: the session is flat, in and out."""
        caller_of(request).must_be_server("making client secrets")
        body = await offers.read_object(request)
        wish = offers.as_object(body.pop("client_secret", None), "client_secret")
        _refuse_unknown(wish, {"expires_after"}, "client_secret.")
        expires_at = _expiry(wish.get("expires_after"), "client_secret.expires_after")
        value, effective = _sealed(desk, request, flat.nested(body), expires_at)
        secret = {"value": value, "expires_at": expires_at}
        return {**flat.flattened(effective), "client_secret": secret}


def _sealed(
    desk: Desk, request: Request, session: Mapping[str, Any], expires_at: int
) -> tuple[str, dict[str, Any]]:
    """Return a secret, and the session that calls with it begin with."""
    terms = desk.placing.terms(caller_of(request), session)
    effective = desk.placing.effective(terms)
    return desk.secrets.seal(terms, expires_at), effective


def _expiry(wish: object, param: str) -> int:
    """When a secret expires, in Unix seconds."""
    after = offers.as_object(wish, param)
    _refuse_unknown(after, {"anchor", "seconds"}, f"{param}.")
    if after.get("anchor", "created_at") != "created_at":
        raise SignalingError("expected created_at", code="invalid_value", param=f"{param}.anchor")
    seconds = after.get("seconds", _DEFAULT_SECONDS)
    if isinstance(seconds, float) and seconds.is_integer():
        seconds = int(seconds)  # To JSON, 60.0 is a whole number too.
    if type(seconds) is not int or not _MIN_SECONDS <= seconds <= _MAX_SECONDS:
        message = f"expected a whole number from {_MIN_SECONDS} to {_MAX_SECONDS}"
        raise SignalingError(message, code="invalid_value", param=f"{param}.seconds")
    return int(time.time()) + seconds


def _refuse_unknown(value: Mapping[str, Any], known: set[str], where: str) -> None:
    for name in value:
        if name not in known:
            message = f"no such field; there are {', '.join(sorted(known))}"
            param = where + name[:100]
            raise SignalingError(message, code="unknown_parameter", param=param)
