"""A dialect of the Realtime protocol. Events go in and come out; nothing is remembered, no I/O.

Inside firsthop everything has the shape of the API as it is generally available. A dialect puts
that into its server's words and its server's words back into that. What it does not know, it
passes on unchanged: new events need no new code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from firsthop.config import Capability

Event = dict[str, Any]

#: PCM16LE, mono, 24 kHz: the one format that every server has, and the rate of the call.
PCM: Final[Mapping[str, Any]] = {"type": "audio/pcm", "rate": 24_000}
#: Fields of a session that only its own server gives it, and the model, which stands in the URL.
_NOT_OURS: Final = frozenset({"id", "object", "model", "expires_at", "created_at", "client_secret"})
#: What concerns firsthop and its own clients.
_NOT_THEIRS: Final = frozenset({"client"})


class Dialect:
    """How one kind of server is spoken to.

    Args:
        capabilities: What the server understands; by default what its kind does.
    """

    #: What servers of this kind understand.
    speaks: ClassVar[frozenset[Capability]] = frozenset()

    def __init__(self, capabilities: frozenset[Capability] | None = None) -> None:
        self.capabilities = self.speaks if capabilities is None else capabilities

    def has(self, capability: Capability) -> bool:
        """Whether the server understands something."""
        return capability in self.capabilities

    def url(self, url: str, model: str | None) -> str:
        """Return where to connect to; a model that the URL names already stays."""
        return with_query(url, "model", model)

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Return the headers of the handshake. They hold the key: not for logs."""
        return {} if api_key is None else {"Authorization": f"Bearer {api_key}"}

    def session(self, session: Mapping[str, Any]) -> Event:
        """Return a session, or part of one, in the server's form.

        The sound of a connection is `PCM` both ways, whatever format the client has.
        """
        unwanted = _NOT_OURS | _NOT_THEIRS
        wanted = {name: value for name, value in session.items() if name not in unwanted}
        wanted["type"] = "realtime"
        if isinstance(session.get("audio"), Mapping):
            wanted["audio"] = self.audio(session["audio"])
        return wanted

    def audio(self, audio: Mapping[str, Any]) -> Event:
        """Return what a session says of sound, in the server's form."""
        ways = {name: dict(value) for name, value in audio.items() if isinstance(value, Mapping)}
        for way in ways.values():
            way["format"] = dict(PCM)
        if "turn_detection" in ways.get("input", {}):
            detection = self.turn_detection(ways["input"]["turn_detection"])
            ways["input"]["turn_detection"] = detection
        voice = ways.get("output", {}).get("voice")
        if voice == "default":
            # Ours: the server has a default of its own.
            del ways["output"]["voice"]
        return ways

    def turn_detection(self, detection: object) -> Event | None:
        """Return how turns are found, in a way that the server has."""
        if not isinstance(detection, Mapping):
            return None
        given = {name: value for name, value in detection.items() if value is not None}
        if given.get("type") == "semantic_vad" and not self.has("semantic_vad"):
            kept = {"create_response", "interrupt_response"}
            return {"type": "server_vad"} | {n: v for n, v in given.items() if n in kept}
        return given

    def outgoing(self, event: Mapping[str, Any]) -> list[Event]:
        """Translate an event of a client; none is left of what the server has no use for."""
        if event.get("type") == "session.update" and isinstance(event.get("session"), Mapping):
            told = self.session(event["session"])
            return [{**event, "session": told}] if told.keys() - {"type"} else []
        response = event.get("response")
        if isinstance(response, Mapping) and isinstance(response.get("audio"), Mapping):
            return [{**event, "response": {**response, "audio": self.audio(response["audio"])}}]
        return [dict(event)]

    def incoming(self, event: Mapping[str, Any]) -> list[Event]:
        """Translate an event of the server, whatever its fields are."""
        return [dict(event)]


def item_of_old(event: Mapping[str, Any]) -> list[Event]:
    """Tell ``conversation.item.created`` as ``added`` and, unless more follows, ``done``."""
    item = event.get("item")
    added = {**event, "type": "conversation.item.added"}
    status = item.get("status") if isinstance(item, Mapping) else None
    spoken = isinstance(item, Mapping) and item.get("role") == "assistant"
    if status == "in_progress" or (status is None and spoken):
        return [added]
    done = {name: value for name, value in added.items() if name != "event_id"}
    return [added, done | {"type": "conversation.item.done"}]


def with_query(url: str, name: str, value: str | None) -> str:
    """Return a URL with one more parameter, unless it is there or there is no value."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    if value is None or name in dict(query):
        return url
    return urlunsplit(parts._replace(query=urlencode([*query, (name, value)])))
