"""What the Realtime API takes and answers, for the interface's description (OpenAPI)."""

from __future__ import annotations

from typing import Any, Final

from firsthop.realtime.events import CLIENT_EVENTS
from firsthop.signaling.description import EXAMPLE_OFFER, OFFER, SECURITY
from firsthop.signaling.offers import SDP

_MODEL: Final = {"type": "string", "maxLength": 256}
_SESSION: Final[dict[str, Any]] = {
    "type": ["object", "null"],
    "description": "A session of the Realtime API.",
    "properties": {
        "type": {"type": "string", "enum": ["realtime"]},
        "model": _MODEL,
        "instructions": {"type": "string"},
        "client": {
            "type": ["object", "null"],
            "description": "What the caller may do; for holders of an API key to say.",
            "properties": {
                "data_channel": {
                    "type": ["object", "null"],
                    "properties": {
                        "allowed_client_events": {
                            "type": ["array", "null"],
                            "items": {"type": "string", "enum": sorted(CLIENT_EVENTS)},
                        }
                    },
                    "additionalProperties": False,
                }
            },
            "additionalProperties": False,
        },
    },
    "example": {"type": "realtime", "instructions": "You are a kind receptionist."},
}
_EXPIRES_AFTER: Final = {
    "type": ["object", "null"],
    "properties": {
        "anchor": {"type": "string", "enum": ["created_at"]},
        "seconds": {"type": "integer", "minimum": 10, "maximum": 7200, "default": 600},
    },
    "additionalProperties": False,
}

ANSWER: Final = {
    "description": "The SDP answer.",
    "content": {SDP: {"schema": {"type": "string"}}},
    "headers": {
        "Location": {
            "description": "/v1/realtime/calls/{call_id}",
            "required": True,
            "schema": {"type": "string"},
        }
    },
}
PLACE_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            SDP: {"schema": OFFER, "example": EXAMPLE_OFFER},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["sdp"],
                    "properties": {"sdp": OFFER, "session": {**_SESSION, "type": "object"}},
                    "additionalProperties": False,
                },
                "encoding": {
                    "sdp": {"contentType": SDP},
                    "session": {"contentType": "application/json"},
                },
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["sdp"],
                    "properties": {
                        "sdp": OFFER,
                        "session": _SESSION,
                        "model": {"type": ["string", "null"], "maxLength": 256},
                    },
                }
            },
        },
    },
    "security": SECURITY,
}
SECRET_BODY: Final = {
    "requestBody": {
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"expires_after": _EXPIRES_AFTER, "session": _SESSION},
                    "additionalProperties": False,
                }
            }
        }
    },
    "security": SECURITY,
}
_FLAT_FORMAT: Final = {"enum": ["pcm16", "g711_ulaw", "g711_alaw"]}
FLAT_BODY: Final = {
    "requestBody": {
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "model": _MODEL,
                        "instructions": {"type": "string"},
                        "modalities": {
                            "type": "array",
                            "items": {"type": "string", "enum": ["audio", "text"]},
                        },
                        "voice": {"description": "A name, as the backend knows it."},
                        "speed": {"type": "number", "minimum": 0.25, "maximum": 1.5},
                        "input_audio_format": _FLAT_FORMAT,
                        "output_audio_format": _FLAT_FORMAT,
                        "input_audio_transcription": {},
                        "input_audio_noise_reduction": {},
                        "turn_detection": {
                            "type": ["object", "null"],
                            "properties": {
                                "type": {"enum": ["server_vad", None]},
                                "threshold": {
                                    "type": ["number", "null"],
                                    "minimum": 0,
                                    "maximum": 1,
                                },
                            },
                        },
                        "tools": {
                            "type": "array",
                            "maxItems": 512,
                            "items": {"type": "object"},
                        },
                        "tool_choice": {"type": ["string", "object"]},
                        "max_response_output_tokens": {
                            "anyOf": [{"type": "integer"}, {"enum": ["inf"]}]
                        },
                        "temperature": {"description": "Has no effect."},
                        "tracing": {},
                        "prompt": {},
                        "include": {},
                        "client": _SESSION["properties"]["client"],
                        "client_secret": {
                            "type": ["object", "null"],
                            "properties": {"expires_after": _EXPIRES_AFTER},
                            "additionalProperties": False,
                        },
                    },
                    "additionalProperties": False,
                }
            }
        }
    },
    "security": SECURITY,
}
