"""Calls that go on here and began elsewhere: what was said is asked of the transceiver before.

A transceiver that is about to end asks its callers to place their calls again, with a client secret
that names the call to go on with. Whoever gets such a call asks that call's owner for the session
and the conversation, by the same secret. If there is no answer in time the call begins all the
same, with what the secret holds: a caller who waits is worse than one who has to say it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import httpx
import structlog

from firsthop.calls.calls import Calls
from firsthop.calls.past import Past
from firsthop.calls.terms import Terms
from firsthop.errors import AccessError, SignalingError
from firsthop.realtime.events import as_json
from firsthop.signaling.access import Caller
from firsthop.signaling.clientsecret import ClientSecrets
from firsthop.signaling.forwarding import HEADER, Forwarding

log = structlog.get_logger()

#: So long may the owner take to answer, in seconds.
_ANSWER_SECONDS: Final = 2.0
#: The longest answer that is read, in bytes: the items that a conversation keeps, and more.
_MAX_ANSWER: Final = 8 * 1024 * 1024


class HistoryLost(Exception):
    """What was said before cannot be had.

    Args:
        reason: Why, in a word.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Handovers:
    """Finds out how the calls were that go on here.

    Args:
        calls: The calls of this transceiver.
        forwarding: Knows which other transceivers may be asked.
    """

    def __init__(self, calls: Calls, forwarding: Forwarding) -> None:
        self._calls = calls
        self._forwarding = forwarding

    async def continued(self, caller: Caller) -> Caller:
        """Return a caller with all that is known of the call to go on with, if there is one.

        Its grant has that call's session and its `past`, and the id that the new call gets.
        """
        grant = caller.grant
        continues = None if grant is None else grant.continues
        if grant is None or continues is None or self._calls.problem is not None:
            # Who will be refused is not to end the other call.
            return caller
        call_id = self._calls.ids.mint()
        grant = replace(grant, call_id=call_id)
        try:
            past = await self._past(continues, call_id, caller.credential)
        except HistoryLost as error:
            log.warning("call.history_lost", call=call_id, of=continues, reason=error.reason)
        else:
            grant = replace(grant, session=past.session, past=past)
        return replace(caller, grant=grant)

    def successor(self, body: Mapping[str, Any]) -> str | None:
        """The call in a request for a handover that goes on with another, if it is one of ours."""
        call_id = body.get("call_id")
        known = isinstance(call_id, str) and self._calls.ids.owner(call_id) is not None
        return call_id if known else None

    async def _past(self, continues: str, call_id: str, credential: str | None) -> Past:
        if self._calls.owns(continues):
            return self._calls.hand_over(continues, call_id)
        owner = self._calls.ids.owner(continues)
        if owner is None or owner == self._calls.ids.address:
            raise HistoryLost("unknown_call")
        try:
            self._forwarding.check(owner)
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await _asked(owner, continues, call_id, credential)
            return Past.from_json(answer)
        except AccessError as error:
            raise HistoryLost(error.code) from None
        except TimeoutError:
            raise HistoryLost("timeout") from None
        except httpx.HTTPError:
            raise HistoryLost("unreachable") from None
        except ValueError:
            raise HistoryLost("garbage") from None


def sealed(secrets: ClientSecrets, terms: Terms, expires_at: int) -> str:
    """Return a secret by which a call goes on; see `ClientSecrets.seal`.

    Its session serves if the owner of the call before cannot be asked. One that is too large is
    left out.
    """
    try:
        return secrets.seal(terms, expires_at)
    except SignalingError:
        return secrets.seal(replace(terms, session={}), expires_at)


async def _asked(owner: str, continues: str, call_id: str, credential: str | None) -> str:
    """What the owner of a call answers."""
    headers = {HEADER: "1", "Content-Type": "application/json"}
    if credential is not None:
        headers["Authorization"] = f"Bearer {credential}"
    url = f"http://{owner}/v1/realtime/calls/{continues}/handover"
    body = as_json({"call_id": call_id})
    # The network between transceivers is the cluster's own: no proxy, no TLS.
    async with (
        httpx.AsyncClient(timeout=_ANSWER_SECONDS, trust_env=False, verify=False) as client,
        client.stream("POST", url, content=body, headers=headers) as answer,
    ):
        if answer.status_code != 200:
            raise HistoryLost("unknown_call" if answer.status_code == 404 else "refused")
        text = bytearray()
        async for piece in answer.aiter_bytes():
            text += piece
            if len(text) > _MAX_ANSWER:
                raise HistoryLost("too_large")
    return text.decode()
