"""What all signaling protocols share: bounded bodies, and errors that clients can read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from firsthop.errors import OverloadedError, SignalingError

#: An offer of 32 KiB, a session of as much, and the seams of a multipart body.
MAX_BODY_BYTES = 96 * 1024


class BodyTooLarge(SignalingError):
    """The request's body exceeds `MAX_BODY_BYTES`."""

    def __init__(self) -> None:
        message = f"the request body is too large; at most {MAX_BODY_BYTES} bytes are read"
        super().__init__(message, status=413, code="body_too_large")


class BoundedBody:
    """ASGI middleware: refuses a body that is too large, by its header or while it is read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > MAX_BODY_BYTES:
            response = error_response(BodyTooLarge())
            return await response(scope, receive, send)
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise BodyTooLarge
            return message

        await self._app(scope, bounded, send)


def error_body(error: SignalingError) -> dict[str, Any]:
    """Return the error as the Realtime API words it."""
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "code": error.code,
            "param": error.param,
        }
    }


def error_response(error: SignalingError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the answer that tells of an error."""
    headers = dict(headers or {})
    if isinstance(error, OverloadedError):
        headers["Retry-After"] = str(error.retry_after_seconds)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error_body(error), status_code=error.status, headers=headers)


def install_error_handlers(app: FastAPI) -> None:
    """Let every refusal of `app` have one form."""

    @app.exception_handler(SignalingError)
    async def refused(request: Request, error: SignalingError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(HTTPException)
    async def not_found(request: Request, error: HTTPException) -> JSONResponse:
        code, message = "http_error", error.detail
        if error.status_code == 404:
            code, message = "not_found", "there is nothing here; /docs tells what there is"
        elif error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "another method")
            code, message = "method_not_allowed", f"expected {allowed}"
        message = f"{request.method} {request.url.path}: {message}"
        refusal = SignalingError(message, status=error.status_code, code=code)
        return error_response(refusal, error.headers)  # 405 has to say what is allowed.

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        problem = error.errors()[0]
        param = ".".join(str(part) for part in problem["loc"])
        return error_response(SignalingError(problem["msg"], code="invalid_request", param=param))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        # The server logs it; to a client it is none of its business what.
        return error_response(SignalingError("internal error", status=500, code="internal_error"))
