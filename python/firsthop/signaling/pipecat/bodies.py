"""What SmallWebRTC clients send and get, for the interface's description (OpenAPI)."""

from __future__ import annotations

from typing import Any, Final

from firsthop.signaling.description import OFFER, SECURITY

_SESSION: Final[dict[str, Any]] = {
    "type": ["object", "null"],
    "description": "A session of the Realtime API.",
    "properties": {"instructions": {"type": "string"}, "type": {"enum": ["realtime"]}},
    "example": {"instructions": "You are a kind receptionist."},
}
_TOLD: Final[dict[str, Any]] = {
    "description": "What the application tells its bot. Here, only `session` is read.",
    "properties": {"session": _SESSION},
}


def _body(schema: dict[str, Any], *, required: bool) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": required, "content": content}, "security": SECURITY}


def _answer(description: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


START_BODY: Final = _body(
    {
        "type": "object",
        "properties": {
            "transport": {"enum": ["webrtc", None]},
            "enableDefaultIceServers": {"type": ["boolean", "null"]},
            "body": _TOLD,
        },
    },
    required=False,
)
STARTED: Final = _answer(
    "The session.",
    {
        "sessionId": {"type": "string"},
        "iceConfig": {
            "type": "object",
            "properties": {"iceServers": {"type": "array", "maxItems": 0}},
        },
    },
    ["sessionId"],
)
OFFER_BODY: Final = _body(
    {
        "type": "object",
        "required": ["sdp"],
        "properties": {
            "sdp": OFFER,
            "type": {"enum": ["offer", None]},
            "pc_id": {"type": ["string", "null"], "description": "The call that the client has."},
            "restart_pc": {"type": ["boolean", "null"], "description": "Place another one."},
            "request_data": _TOLD,
            "requestData": _TOLD,
        },
    },
    required=True,
)
ANSWERED: Final = _answer(
    "The SDP answer.",
    {
        "sdp": {"type": "string"},
        "type": {"enum": ["answer"]},
        "pc_id": {"type": "string", "description": "The call's id."},
    },
    ["sdp", "type", "pc_id"],
)
PATCH_BODY: Final = _body(
    {
        "type": "object",
        "required": ["pc_id", "candidates"],
        "properties": {
            "pc_id": {"type": "string"},
            "candidates": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["candidate"],
                    "properties": {
                        "candidate": {"type": "string"},
                        "sdp_mid": {},
                        "sdp_mline_index": {},
                    },
                },
            },
        },
    },
    required=True,
)
TAKEN: Final = _answer("They were read.", {"status": {"enum": ["success"]}}, ["status"])
