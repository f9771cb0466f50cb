"""FastRTC's protocol: JSON to /webrtc/offer, and a data channel that tells who speaks.

Its clients name their connection themselves, by a ``webrtc_id``, and read failures from the body
of an answer with status 200: ``{"status": "failed", "meta": {"error": ...}}``. Their candidates are
not needed: we learn where a client is from its checks (RFC 8445 §7.3.1.3).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from fastapi import APIRouter, Request

from firsthop.calls.ends import DataChannel
from firsthop.errors import OverloadedError, SignalingError, UnknownCallError
from firsthop.realtime.events import as_json, from_json
from firsthop.signaling import offers
from firsthop.signaling.access import caller_of
from firsthop.signaling.description import OFFER, SECURITY, refusals
from firsthop.signaling.desk import Desk

_MAX_ID: Final = 128
#: An event of the contract, and the word that FastRTC has for it.
_LOGS: Final[Mapping[str, str]] = {
    "input_audio_buffer.speech_started": "started_talking",
    "input_audio_buffer.speech_stopped": "pause_detected",
    "response.created": "response_starting",
}

_WEBRTC_ID: Final = {"type": "string", "minLength": 1, "maxLength": _MAX_ID}
_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [
                        {
                            "type": "object",
                            "required": ["type", "sdp", "webrtc_id"],
                            "properties": {
                                "type": {"enum": ["offer"]},
                                "sdp": OFFER,
                                "webrtc_id": _WEBRTC_ID,
                            },
                        },
                        {
                            "type": "object",
                            "required": ["type", "candidate", "webrtc_id"],
                            "properties": {
                                "type": {"enum": ["ice-candidate"]},
                                "candidate": {"type": ["object", "null"]},
                                "webrtc_id": _WEBRTC_ID,
                            },
                        },
                    ]
                }
            }
        },
    },
    "security": SECURITY,
}
_ANSWER: Final[dict[str, Any]] = {
    "description": "The SDP answer; or whether a candidate was taken; or what failed.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "type": {"enum": ["answer"]},
                    "sdp": {"type": "string"},
                    "status": {"enum": ["success", "failed"]},
                    "meta": {
                        "type": "object",
                        "required": ["error"],
                        "properties": {
                            "error": {"type": "string"},
                            "limit": {"type": "integer"},
                        },
                    },
                },
            }
        }
    },
}


class TextChannel(DataChannel):
    """The data channel ``text``: who speaks, and what went wrong.

    Clients send nothing on it that means anything to a server; FastRTC itself does not read it.
    """

    def opened(self, greeting: str) -> None:
        """Say that the channel is open, in place of the contract's greeting."""
        super().opened(_log("connected"))

    def received(self, text: str) -> list[str]:
        """Ignore what clients say, as "handshake"."""
        return []

    def deliver(self, text: str) -> None:
        """Tell what there is a word for."""
        event = from_json(text)
        if (word := _LOGS.get(event["type"])) is not None:
            self.say(_log(word))
        elif event["type"] == "error":
            message = event["error"]["message"]
            # Its documentation says `data`, its server and its examples `message`.
            self.say(as_json({"type": "error", "data": message, "message": message}))


class Connections:
    """Which call a ``webrtc_id`` stands for, as long as the call lives.

    Clients draw these ids, and some are easy to guess. So an id is good together with the
    credential that it came with: nobody ends or meets the calls of others by it.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._calls: dict[tuple[str | None, str], str] = {}

    def find(self, credential: str | None, webrtc_id: str) -> str | None:
        """Return the id of the call, if it lives."""
        call_id = self._calls.get((credential, webrtc_id))
        return call_id if call_id is not None and self._desk.calls.owns(call_id) else None

    def note(self, credential: str | None, webrtc_id: str, call_id: str) -> None:
        """Let an id stand for a call; the one that it stood for before is ended."""
        if (before := self.find(credential, webrtc_id)) is not None:
            with contextlib.suppress(UnknownCallError):
                self._desk.calls.hang_up(before)
        calls = self._desk.calls
        if len(self._calls) >= len(calls):
            self._calls = {key: id_ for key, id_ in self._calls.items() if calls.owns(id_)}
        self._calls[credential, webrtc_id] = call_id


def routes(desk: Desk) -> APIRouter:
    """Return the route that FastRTC's clients post to."""
    router = APIRouter(tags=["fastrtc"])
    connections = Connections(desk)

    @router.post(
        "/webrtc/offer",
        responses={200: _ANSWER, **refusals(400, 401, 403, 413)},
        openapi_extra=_BODY,
    )
    async def offer(request: Request, model: offers.Model = None) -> dict[str, Any]:
        """Answer an SDP offer, or take a candidate."""
        try:
            body = await offers.read_object(request)
            if body.get("type") == "ice-candidate":
                return _candidate(connections, request, body)
            return await _place(desk, connections, request, body, model)
        except OverloadedError:
            # All that there is room for are there.
            return _failed("concurrency_limit_reached", limit=len(desk.calls))
        except SignalingError as error:
            if error.status == 413:
                raise
            return _failed(error.message)

    return router


async def _place(
    desk: Desk,
    connections: Connections,
    request: Request,
    body: Mapping[str, Any],
    model: str | None,
) -> dict[str, Any]:
    webrtc_id = _webrtc_id(body)
    if body.get("type") != "offer":
        message = 'expected "offer" or "ice-candidate"'
        raise SignalingError(message, code="invalid_value", param="type")
    sdp = offers.offer_in(body)
    terms = replace(await desk.terms(request, {}, model), channel=TextChannel)
    call_id, answer = desk.calls.open(sdp, terms)
    connections.note(caller_of(request).credential, webrtc_id, call_id)
    return {"sdp": answer, "type": "answer"}


def _candidate(
    connections: Connections, request: Request, body: Mapping[str, Any]
) -> dict[str, Any]:
    if connections.find(caller_of(request).credential, _webrtc_id(body)) is None:
        return _failed("unknown_connection")
    candidate = offers.as_object(body.get("candidate"), "candidate").get("candidate", "")
    if not isinstance(candidate, str) or not (candidate + "candidate:").startswith("candidate:"):
        return _failed("invalid_candidate_format")
    return {"status": "success"}


def _webrtc_id(body: Mapping[str, Any]) -> str:
    webrtc_id = body.get("webrtc_id")
    if not isinstance(webrtc_id, str) or not 1 <= len(webrtc_id) <= _MAX_ID:
        message = f"webrtc_id: expected a string of 1 to {_MAX_ID} characters"
        raise SignalingError(message, code="invalid_value", param="webrtc_id")
    return webrtc_id


def _failed(error: str, **more: int) -> dict[str, Any]:
    return {"status": "failed", "meta": {"error": error, **more}}


def _log(word: str) -> str:
    return as_json({"type": "log", "data": word})
