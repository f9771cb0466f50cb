"""WHIP (RFC 9725): encoders and pages place a call with one POST, and end it with one DELETE.

WHIP is made for sending. A client that offers ``sendonly`` is heard and hears nothing; one that
offers ``sendrecv`` hears the agent too, which goes beyond the RFC. Video is answered with port 0:
there is a voice agent at the other end.

Trickle ICE is taken and not needed. The client finds us by the addresses in the answer, and we
learn its own from its checks, as peer-reflexive candidates (RFC 8445 §7.3.1.3). So the candidates
that it sends are read for errors, and that is all. A fragment with other credentials than the ones
that the client has restarts ICE (§4.3.3): the answer holds ours and our candidates.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from firsthop.calls.ends import DataChannel
from firsthop.errors import OfferError, SignalingError
from firsthop.signaling import offers, sdpfrag
from firsthop.signaling.description import EXAMPLE_OFFER, OFFER, SECURITY, refusals
from firsthop.signaling.desk import Desk
from firsthop.signaling.icesession import IceSessions

_PATH: Final = "/whip"
_AUDIO: Final = re.compile(r"^m=audio ", re.MULTILINE)
_CHANNEL: Final = re.compile(r"^m=application ", re.MULTILINE)
#: With and without quotes: the RFC's example has them, HTTP's grammar has not.
_ANY: Final = frozenset({"*", '"*"'})

_OFFER_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            offers.SDP: {"schema": OFFER, "example": EXAMPLE_OFFER},
        },
    },
    "security": SECURITY,
}
_FRAGMENT_EXAMPLE: Final = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n"
_FRAGMENT_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            sdpfrag.MEDIA_TYPE: {
                "schema": {"type": "string", "pattern": "^a=ice-ufrag:\\w{4}\r\na=ice-pwd:"},
                "example": _FRAGMENT_EXAMPLE,
            }
        },
    },
    "security": SECURITY,
}
_CREATED: Final[dict[str, Any]] = {
    "description": "The SDP answer.",
    "content": {offers.SDP: {"schema": {"type": "string"}}},
    "headers": {
        "Location": {"description": f"{_PATH}/{{call_id}}", "schema": {"type": "string"}},
        "ETag": {"description": "Names the ICE session.", "schema": {"type": "string"}},
        "Accept-Patch": {"schema": {"type": "string"}},
    },
}
_RESTARTED: Final[dict[str, Any]] = {
    "description": "ICE was restarted: our credentials and candidates.",
    "content": {sdpfrag.MEDIA_TYPE: {"schema": {"type": "string"}}},
    "headers": {"ETag": {"description": "Names the new one.", "schema": {"type": "string"}}},
}


class Unheard(DataChannel):
    """The data channel of a client that has none: nothing waits for it to open."""

    def deliver(self, text: str) -> None:
        """Tell nobody."""


def routes(desk: Desk) -> APIRouter:
    """Return the WHIP endpoint, /whip, and the sessions below it."""
    router = APIRouter(prefix=_PATH, tags=["whip"])
    sessions = IceSessions(desk.calls)
    _add_endpoint(router, desk, sessions)
    _add_session(router, desk, sessions)
    return router


def _add_endpoint(router: APIRouter, desk: Desk, sessions: IceSessions) -> None:
    @router.post(
        "",
        status_code=201,
        response_class=Response,
        responses={201: _CREATED, **refusals(400, 401, 403, 413, 415, 503)},
        openapi_extra=_OFFER_BODY,
    )
    async def place(
        request: Request,
        model: offers.Model = None,
        data_channel_id: offers.ChannelId = None,
    ) -> Response:
        """Answer an SDP offer, and tell the URL of the session."""
        if offers.content_type(request) != offers.SDP:
            raise _unsupported(request, offers.SDP)
        offer = (await offers.read(request)).offer
        _check_streams(offer)
        channel = DataChannel if _CHANNEL.search(offer) else Unheard
        terms = await desk.terms(request, {}, model)
        call_id, answer = desk.calls.open(
            offer, replace(terms, channel=channel, channel_id=data_channel_id)
        )
        headers = {
            "Location": f"{_PATH}/{call_id}",
            "ETag": sessions.note(call_id, offer),
            "Accept-Patch": sdpfrag.MEDIA_TYPE,
        }
        return Response(answer, 201, media_type=offers.SDP, headers=headers)

    @router.options("", include_in_schema=False)
    async def endpoint_options() -> Response:
        """Tell what is taken. A preflight of CORS is answered before it comes here."""
        return Response(headers={"Allow": "GET, OPTIONS, POST", "Accept-Post": offers.SDP})

    @router.api_route("", methods=["GET", "HEAD"], include_in_schema=False)
    async def endpoint() -> Response:
        """Have no representation (RFC 9725 §4.1)."""
        return Response(status_code=204)


def _add_session(router: APIRouter, desk: Desk, sessions: IceSessions) -> None:
    @router.patch(
        "/{call_id}",
        status_code=204,
        response_class=Response,
        responses={
            200: _RESTARTED,
            204: {"description": "The candidates were read."},
            **refusals(400, 401, 403, 404, 412, 413, 415, 428, 502, 503, 504),
        },
        openapi_extra=_FRAGMENT_BODY,
    )
    async def trickle(call_id: str, request: Request) -> Response:
        """Take candidates of the client, or restart ICE: a fragment, and an `If-Match`."""
        if (owner := desk.forwarding.owner(call_id, request)) is not None:
            return await desk.forwarding.pass_on(owner, request)
        sessions.check(call_id)
        if offers.content_type(request) != sdpfrag.MEDIA_TYPE:
            raise _unsupported(request, sdpfrag.MEDIA_TYPE)
        fragment = sdpfrag.parse(await request.body())
        _check_tag(request, sessions.tag(call_id))
        if fragment.credentials is None or not sessions.is_restart(call_id, fragment.ufrag):
            return Response(status_code=204)
        answer = await sessions.restart(call_id, *fragment.credentials)
        headers = {"ETag": sessions.tag(call_id)}
        return Response(sdpfrag.of(answer), media_type=sdpfrag.MEDIA_TYPE, headers=headers)

    @router.delete(
        "/{call_id}",
        status_code=200,
        response_class=Response,
        responses={200: {"description": "It is over."}, **refusals(401, 403, 404, 413, 502, 504)},
        openapi_extra={"security": SECURITY},
    )
    async def end(call_id: str, request: Request) -> Response:
        """End a call, whichever transceiver of the cluster owns it."""
        if (owner := desk.forwarding.owner(call_id, request)) is not None:
            return await desk.forwarding.pass_on(owner, request)
        desk.calls.hang_up(call_id)
        return Response()

    @router.options("/{call_id}", include_in_schema=False)
    async def session_options(call_id: str) -> Response:
        """Tell what is taken."""
        headers = {"Allow": "DELETE, GET, OPTIONS, PATCH", "Accept-Patch": sdpfrag.MEDIA_TYPE}
        return Response(headers=headers)

    @router.api_route("/{call_id}", methods=["GET", "HEAD"], include_in_schema=False)
    async def session(call_id: str, request: Request) -> Response:
        """Have no representation (RFC 9725 §4.1); what is not there is not found all the same."""
        if (owner := desk.forwarding.owner(call_id, request)) is not None:
            return await desk.forwarding.pass_on(owner, request)
        sessions.check(call_id)
        return Response(status_code=204)


def _check_streams(offer: str) -> None:
    """Refuse a second audio stream (RFC 9725 §4.4.2): a call has one."""
    lines = [match.start() for match in _AUDIO.finditer(offer)]
    if len(lines) > 1:
        problem = "a second m=audio line; a call has one audio stream"
        raise OfferError(problem, offer.count("\n", 0, lines[1]) + 1)


def _check_tag(request: Request, current: str) -> None:
    """Refuse a PATCH that is not on the condition of this ICE session (RFC 9725 §4.3.1)."""
    given = request.headers.get("if-match")
    if given is None:
        message = "expected If-Match with the ETag of the answer to POST"
        raise SignalingError(message, status=428, code="precondition_required", param="If-Match")
    tags = {tag.strip() for tag in given.split(",")}
    if tags.isdisjoint(_ANY | {current}):
        message = "If-Match names another ICE session than the one that this call has"
        raise SignalingError(message, status=412, code="precondition_failed", param="If-Match")


def _unsupported(request: Request, expected: str) -> SignalingError:
    message = f"content type {offers.content_type(request)[:100]!r}: expected {expected}"
    return SignalingError(message, status=415, code="unsupported_media_type")
