"""What a request is about: a call that there is, a call to be, or neither.

Only as much is read as routing needs. Whether a request is right and who may send it is for the
transceivers to say: the gateway has no keys.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from firsthop.calls.callid import CallIds

#: Paths that name a call.
_OF_CALL: Final = re.compile(r"/v1/realtime/calls/([^/]+)(?:/[a-z_]+)?")
_WHIP_SESSION: Final = re.compile(r"/whip/([^/]+)")
#: Paths whose bodies name one, by ``pc_id``.
_PIPECAT: Final = re.compile(r"(?:/sessions/[^/]+)?/api/offer")
_FASTRTC: Final = "/webrtc/offer"
_PLACING: Final = frozenset({"/v1/realtime", "/v1/realtime/calls", "/whip"})
#: What any transceiver answers.
_ANYWHERE: Final = frozenset(
    {"/v1/realtime/client_secrets", "/v1/realtime/sessions", "/start"}
    | {"/", "/docs", "/openapi.json", "/favicon.ico"}
)
_FOLDER: Final = "/demo/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request is about."""

    call_id: str | None = None
    """The call that it names."""
    places: bool = False
    """Whether it asks for a call: then ingress points matter."""
    elsewhere: bool = False
    """Whether another cluster will do if that of the call does not: its client wants a new one."""
    key: str | None = None
    """What brings requests of one client together at one transceiver, as long as that is there."""

    @property
    def cluster(self) -> int | None:
        """The cluster that the call's id names; None if it names none."""
        return None if self.call_id is None else CallIds.cluster_of(self.call_id)


def by_http(method: str, path: str, body: bytes) -> Asked | None:
    """Return what a request by HTTP is about; None if it is for no route of signaling.

    Args:
        method: As POST.
        path: Decoded.
        body: All of it.
    """
    if not {".", ".."}.isdisjoint(path.split("/")):
        # Whoever resolves these finds another path than the one that was looked at here.
        return None
    if path in _ANYWHERE or path.startswith(_FOLDER):
        return Asked()
    if path in _PLACING:
        return Asked(places=method == "POST")
    if found := _OF_CALL.fullmatch(path) or _WHIP_SESSION.fullmatch(path):
        return Asked(call_id=found[1])
    if _PIPECAT.fullmatch(path):
        places = method == "POST"
        return Asked(call_id=_text_in(body, "pc_id"), places=places, elsewhere=places)
    if path == _FASTRTC:
        return Asked(places=method == "POST", key=_text_in(body, "webrtc_id"))
    return None


def by_websocket(path: str, call_ids: list[str]) -> Asked | None:
    """Return what a WebSocket is about; None if there is none at this path.

    Args:
        path: Decoded.
        call_ids: The values of ``?call_id=``.
    """
    if path != "/v1/realtime":
        return None
    # Two ids are an error, and the transceiver's to explain.
    return Asked(call_id=call_ids[0]) if len(call_ids) == 1 else Asked(places=True)


def _text_in(body: bytes, name: str) -> str | None:
    """A field of a JSON object, if it is there and a text with something in it."""
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    text = value.get(name) if isinstance(value, dict) else None
    return text if isinstance(text, str) and text else None
