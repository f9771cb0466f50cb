"""Messages of RTVI: JSON objects with a label, a type, an id, and data.

What a SmallWebRTC client sends beside them on the same channel, keepalives and notes about its
tracks, asks for nothing here.
"""

from __future__ import annotations

from typing import Any, Final

from firsthop.realtime.events import MAX_ID, from_json

LABEL: Final = "rtvi-ai"
#: The version of the protocol that is spoken here.
VERSION: Final = "2.1.0"
#: Versions that differ from it in nothing that matters here, by their first number.
_COMPATIBLE: Final = frozenset({"1", "2"})
#: How a keepalive begins; the client's clock follows.
_KEEPALIVE: Final = "ping"

Message = dict[str, Any]


class RequestError(Exception):
    """A client's message cannot be read, or asks for what cannot be done.

    Args:
        problem: What is wrong and what would be right; shown to users as it is.
        message_id: The message, if it has an id.
    """

    def __init__(self, problem: str, message_id: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.message_id = message_id

    def answer(self) -> Message:
        """Return the message that tells of it."""
        return error(self.problem, self.message_id)


def read(text: str) -> Message | None:
    """Read what a client sends; None if it asks for nothing.

    Raises:
        RequestError: It is no message.
    """
    if text.startswith(_KEEPALIVE):
        return None
    try:
        message = from_json(text)
    except (ValueError, RecursionError):
        raise RequestError("expected one JSON object per message") from None
    if isinstance(message, dict) and message.get("type") == "signalling":
        return None
    if not isinstance(message, dict) or message.get("label") != LABEL:
        raise RequestError(f"expected a JSON object with the label {LABEL!r}")
    if not isinstance(message.get("type"), str):
        raise RequestError("expected a string 'type'", id_of(message))
    if not isinstance(message.get("data"), dict | None):
        raise RequestError("expected an object 'data'", id_of(message))
    return message


def id_of(message: Message) -> str | None:
    """The id that a client gave a message, if it can be sent back."""
    given = message.get("id")
    return given if isinstance(given, str) and 0 < len(given) <= MAX_ID else None


def message(kind: str, data: Any = None, message_id: str | None = None) -> Message:
    """Return a message."""
    made: Message = {"label": LABEL, "type": kind}
    if message_id is not None:
        made["id"] = message_id
    if data is not None:
        made["data"] = data
    return made


def error(problem: str, message_id: str | None = None) -> Message:
    """Return the message that tells of an error: of a client's message, or of none."""
    if message_id is not None:
        return message("error-response", {"error": problem}, message_id)
    return message("error", {"error": problem, "message": problem, "fatal": False})


def peer_left() -> Message:
    """Return what tells a SmallWebRTC client that the bot is gone: it does not come back then."""
    return {"type": "signalling", "message": {"type": "peerLeft"}}


def welcome(ready: Message) -> list[Message]:
    """Return the answers to a ``client-ready``."""
    version = (ready.get("data") or {}).get("version")
    major = version.partition(".")[0] if isinstance(version, str) else ""
    # To a client of the first version, a bot of the second looks as if it sent more than it does.
    spoken = version if major == "1" else VERSION
    answer = message(
        "bot-ready", {"version": spoken, "about": {"library": "firsthop"}}, id_of(ready)
    )
    if major in _COMPATIBLE:
        return [answer]
    problem = f"RTVI {VERSION} is spoken here; not all may work with a client of another version"
    return [error(problem, id_of(ready)), answer]
