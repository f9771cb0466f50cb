"""Offers and candidates of SmallWebRTC clients.

A client repeats its offer when it gathers candidates for long (``waitForICEGathering``), and gets
the answer that it has. It offers something new on the connection that it has, as an ICE restart,
and that is negotiated on its call. It brings an offer of a new connection, mostly with
``restart_pc``, when the old one broke: the old call ends and another one begins.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from firsthop.backends.base import Traits
from firsthop.calls.calls import Calls
from firsthop.calls.ends import SendText
from firsthop.calls.terms import Terms
from firsthop.errors import SignalingError, UnknownCallError
from firsthop.overlay import overlaid
from firsthop.rtvi.channel import RtviChannel
from firsthop.signaling import offers
from firsthop.signaling.description import refusals
from firsthop.signaling.desk import Desk
from firsthop.signaling.pipecat.bodies import ANSWERED, OFFER_BODY, PATCH_BODY, TAKEN
from firsthop.signaling.pipecat.sessions import Sessions

#: Tell offers apart: who made it and the how-manieth it is; its ICE session.
_VERSION: Final = re.compile(r"^o=.*?(?=\r?$)", re.MULTILINE)
_UFRAG: Final = re.compile(r"^a=ice-ufrag:\S+", re.MULTILINE)
#: Tells connections apart: each has a DTLS certificate of its own.
_FINGERPRINT: Final = re.compile(r"^a=fingerprint:.*?(?=\r?$)", re.MULTILINE)
#: Of an id that is unknown, in characters.
_MAX_SHOWN: Final = 128
#: The owner of a call cannot be asked any more.
_OWNER_GONE: Final = frozenset({"owner_unreachable", "owner_timeout"})


def add(router: APIRouter, desk: Desk, sessions: Sessions) -> None:
    """Add the routes that take offers and candidates, with and without a session."""
    clients = _Clients(desk.calls)

    async def place(request: Request, session: Mapping[str, Any]) -> Response:
        asked = _read(await offers.read_object(request))
        if (answer := await _from_owner(desk, request, asked)) is not None:
            return answer
        if (client := clients.find(asked)) is None:
            terms = await desk.terms(request, overlaid(session, asked.session))
            client = clients.open(asked, terms)
        elif asked.version != client.version:
            await clients.renegotiate(client, asked)
        return JSONResponse({"sdp": client.answer, "type": "answer", "pc_id": client.call_id})

    async def trickle(request: Request) -> Response:
        call_id = _read_candidates(await offers.read_object(request))
        if (owner := desk.forwarding.owner(call_id, request)) is not None:
            return await desk.forwarding.pass_on(owner, request)
        if not desk.calls.owns(call_id):
            raise UnknownCallError(call_id[:_MAX_SHOWN])
        return JSONResponse({"status": "success"})

    described: dict[str, Any] = {
        "responses": {200: ANSWERED, **refusals(400, 401, 403, 404, 413, 415, 503)},
        "openapi_extra": OFFER_BODY,
    }
    described_patch: dict[str, Any] = {
        "responses": {200: TAKEN, **refusals(400, 401, 403, 404, 413, 415, 502, 504)},
        "openapi_extra": PATCH_BODY,
    }

    @router.post("/api/offer", **described)
    async def offer(request: Request) -> Response:
        """Answer an SDP offer. The answer's `pc_id` is the call's id."""
        return await place(request, {})

    @router.post("/sessions/{session_id}/api/offer", **described)
    async def offer_in_session(session_id: str, request: Request) -> Response:
        """Answer an SDP offer in a session that was started."""
        return await place(request, sessions.find(session_id))

    @router.patch("/api/offer", **described_patch)
    async def candidates(request: Request) -> Response:
        """Take candidates, which are not needed: where a client is shows in its checks."""
        return await trickle(request)

    @router.patch("/sessions/{session_id}/api/offer", **described_patch)
    async def candidates_in_session(session_id: str, request: Request) -> Response:
        """Take candidates in a session that was started."""
        sessions.find(session_id)
        return await trickle(request)


@dataclass(frozen=True, slots=True)
class _Asked:
    """An offer as a client sends it."""

    offer: str
    call_id: str | None
    """Its call, if it has one already."""
    restart: bool
    """Whether it comes with a new connection."""
    session: Mapping[str, Any]

    @property
    def version(self) -> tuple[str, ...]:
        """What another offer of the same connection has otherwise."""
        return tuple(found[0] for line in (_VERSION, _UFRAG) if (found := line.search(self.offer)))

    @property
    def connection(self) -> frozenset[str]:
        """What an offer of another connection has otherwise."""
        return frozenset(_FINGERPRINT.findall(self.offer))


@dataclass(slots=True)
class _Client:
    """A client with a call."""

    connection: frozenset[str]
    version: tuple[str, ...]
    """Of the offer that was answered last."""
    call_id: str = ""
    answer: str = ""
    channel: RtviChannel | None = None


class _Clients:
    """The clients of calls that came this way, as long as the calls live."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._clients: dict[str, _Client] = {}

    def find(self, asked: _Asked) -> _Client | None:
        """Return whose call goes on with this offer, if that is so."""
        client = self._clients.get(asked.call_id or "")
        if client is None or asked.restart or client.connection != asked.connection:
            return None
        return client

    async def renegotiate(self, client: _Client, asked: _Asked) -> None:
        """Negotiate an offer on the call that a client has.

        Raises:
            OfferError: The offer is wrong; the call goes on as it was.
            OverloadedError: The engine does not keep up.
            UnknownCallError: The call has ended.
        """
        # Overlapping offers are answered in their order.
        client.answer = await self._calls.renegotiate(client.call_id, asked.offer)
        client.version = asked.version

    def open(self, asked: _Asked, terms: Terms) -> _Client:
        """Open a call for a client, in place of the one that it had.

        Raises:
            OfferError: The offer is wrong.
            OverloadedError: There is no room.
            SignalingError: The session in `terms` makes no sense.
        """
        client = _Client(asked.connection, asked.version)

        def channel(send_text: SendText, traits: Traits) -> RtviChannel:
            client.channel = RtviChannel(
                send_text,
                traits,
                hang_up=lambda: self._hang_up(client.call_id),
                ended=lambda: self._forget(client.call_id),
            )
            return client.channel

        opened = self._calls.open(asked.offer, replace(terms, channel=channel))
        client.call_id, client.answer = opened
        self._clients[client.call_id] = client
        if asked.call_id is not None:
            # Not before there is another one: that may be refused.
            self._leave(asked.call_id)
        return client

    def _leave(self, call_id: str) -> None:
        client = self._clients.pop(call_id, None)
        if client is not None and client.channel is not None:
            client.channel.abandon()
        self._hang_up(call_id)

    def _hang_up(self, call_id: str) -> None:
        if self._calls.owns(call_id):
            self._calls.hang_up(call_id)

    def _forget(self, call_id: str) -> None:
        self._clients.pop(call_id, None)


async def _from_owner(desk: Desk, request: Request, asked: _Asked) -> Response | None:
    """The answer of the transceiver that owns the client's call, if there is one to ask."""
    if asked.call_id is None:
        return None
    owner = desk.forwarding.owner(asked.call_id, request)
    if owner is None:
        return None
    try:
        answer = await desk.forwarding.pass_on(owner, request)
        # One that is about to end has no other call for the client; here it can have one.
        return None if _is_draining(answer) else answer
    except SignalingError as error:
        if error.code not in _OWNER_GONE:
            raise
        # That may be why the client comes: the call is over, and here it can have another one.
        return None


def _is_draining(answer: Response) -> bool:
    if answer.status_code != 503:
        return False
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return bool(json.loads(bytes(answer.body))["error"]["code"] == "draining")
    return False


def _read(body: Mapping[str, Any]) -> _Asked:
    if body.get("type") not in (None, "offer"):
        raise SignalingError("expected offer", code="invalid_value", param="type")
    call_id, restart = body.get("pc_id"), offers.as_bool(body.get("restart_pc"), "restart_pc")
    if not isinstance(call_id, str | None):
        raise SignalingError("expected a string or null", code="invalid_value", param="pc_id")
    name, told = next(
        (
            (name, told)
            for name in ("request_data", "requestData")
            if isinstance(told := body.get(name), dict) and "session" in told
        ),
        ("request_data", {}),
    )
    session = offers.as_object(told.get("session"), f"{name}.session")
    return _Asked(offers.offer_in(body), call_id or None, restart, session)


def _read_candidates(body: Mapping[str, Any]) -> str:
    """Return the id of the call that candidates are for."""
    call_id, candidates = body.get("pc_id"), body.get("candidates")
    if not isinstance(call_id, str):
        raise SignalingError("expected a string", code="invalid_value", param="pc_id")
    if not isinstance(candidates, list) or not all(
        isinstance(one, dict) and isinstance(one.get("candidate"), str) for one in candidates
    ):
        message = "expected a list of objects with a string 'candidate'"
        raise SignalingError(message, code="invalid_value", param="candidates")
    return call_id
