"""The ICE sessions of calls that came by WHIP: which one a call has, and how it gets another.

WHIP restarts ICE by fragments (RFC 9725 §4.3.3), the engine by offers. What an offer says besides
ICE holds for a call's whole life, so the offer that the call had is negotiated again, with other
credentials: it is kept as long as the call lives.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from firsthop.calls.calls import Calls
from firsthop.errors import UnknownCallError

_UFRAG: Final = re.compile(r"^a=ice-ufrag:(\S+)", re.MULTILINE)
_PASSWORD: Final = re.compile(r"^a=ice-pwd:\S+", re.MULTILINE)
#: RFC 8866 §5.2: the number after the session's id rises with each change.
_VERSION: Final = re.compile(r"^(o=\S+ \S+ )(\d{1,18})(?= )", re.MULTILINE)


@dataclass(slots=True)
class _IceSession:
    """What a call was negotiated with last."""

    offer: str
    ufrag: str
    restarts: int = 0


class IceSessions:
    """The ICE sessions of calls that came by WHIP, as long as the calls live.

    Args:
        calls: The calls of this transceiver.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._sessions: dict[str, _IceSession] = {}

    def note(self, call_id: str, offer: str) -> str:
        """Remember a call by its offer, and return the tag of its ICE session."""
        if len(self._sessions) >= len(self._calls):
            kept = self._sessions.items()
            self._sessions = {id_: session for id_, session in kept if self._calls.owns(id_)}
        found = _UFRAG.search(offer)
        self._sessions[call_id] = _IceSession(offer, found[1] if found else "")
        return self.tag(call_id)

    def check(self, call_id: str) -> None:
        """Refuse what is for no call of ours.

        Raises:
            UnknownCallError: It has ended, never was, or was not placed by WHIP.
        """
        if call_id not in self._sessions or not self._calls.owns(call_id):
            raise UnknownCallError(call_id)

    def tag(self, call_id: str) -> str:
        """Return the strong entity tag of the ICE session that a call has."""
        return entity_tag(call_id, self._sessions[call_id].restarts)

    def is_restart(self, call_id: str, ufrag: str | None) -> bool:
        """Whether a client with this ufrag wants another ICE session than the one it has."""
        return ufrag is not None and ufrag != self._sessions[call_id].ufrag

    async def restart(self, call_id: str, ufrag: str, password: str) -> str:
        """Give a call another ICE session with the client's credentials; return the SDP answer.

        Raises:
            OfferError: The engine refuses; the session is the one that it was.
            UnknownCallError: The call has ended.
        """
        session = self._sessions[call_id]
        offer = restarted(session.offer, ufrag, password)
        # Overlapping restarts are answered in their order, so the last one is what holds.
        answer = await self._calls.renegotiate(call_id, offer)
        session.offer, session.ufrag = offer, ufrag
        session.restarts += 1
        return answer


def entity_tag(call_id: str, restarts: int = 0) -> str:
    """Return the entity tag of a call's ICE session after so many restarts."""
    return f'"{hashlib.sha256(f"{call_id} {restarts}".encode()).hexdigest()[:16]}"'


def restarted(offer: str, ufrag: str, password: str) -> str:
    """Return an offer as it is with other ICE credentials, as a later version of it."""
    offer = _UFRAG.sub(lambda _: f"a=ice-ufrag:{ufrag}", offer)
    offer = _PASSWORD.sub(lambda _: f"a=ice-pwd:{password}", offer)
    return _VERSION.sub(lambda found: f"{found[1]}{int(found[2]) + 1}", offer, count=1)
