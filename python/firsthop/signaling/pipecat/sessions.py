"""What /start is told, sealed into the id that it answers: nobody has to remember it.

The id is no credential. Who places a call with it shows one, as for any other call.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from firsthop.errors import SignalingError
from firsthop.signaling.access import Caller
from firsthop.signaling.desk import Desk
from firsthop.signaling.sealed import MAX_SEALED

#: A client comes back with the id for as long as its call goes on, after every loss of its network.
_GOOD_SECONDS: Final = 24 * 60 * 60


class Sessions:
    """Makes and reads the ids of sessions.

    Args:
        desk: The transceiver's.
    """

    def __init__(self, desk: Desk) -> None:
        self._placing = desk.placing
        self._seal = desk.seal("pipecat session")

    def start(self, caller: Caller, session: Mapping[str, Any]) -> str:
        """Return the id of a session.

        Args:
            caller: Who asks for it.
            session: The Realtime session that its calls begin with.

        Raises:
            SignalingError: No call could begin so, or it is too large for an id.
        """
        self._placing.effective(self._placing.terms(caller, session))
        session_id = self._seal.close(session, int(time.time()) + _GOOD_SECONDS)
        if len(session_id) > MAX_SEALED:
            raise SignalingError(
                f"the session is too large for the id that it is sealed in, which stands in a "
                f"path: it would have {len(session_id)} characters, and {MAX_SEALED} fit. Give it "
                "with the offer, in requestData.session",
                code="session_too_large",
                param="body.session",
            )
        return session_id

    def find(self, session_id: str) -> Mapping[str, Any]:
        """Return the session that was started under this id.

        Raises:
            SignalingError: 404: none was, or long ago.
        """
        opened = self._seal.open(session_id)
        if opened is None or time.time() >= opened[1]:
            raise SignalingError(
                "no such session: POST /start makes one, and it is good for a day",
                status=404,
                code="session_not_found",
                param="session_id",
            )
        session: Mapping[str, Any] = opened[0]
        return session
