"""The Realtime API's WebRTC calls: an SDP offer in, an SDP answer and a call id out."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, Request, Response

from firsthop.errors import SignalingError
from firsthop.signaling import offers
from firsthop.signaling.access import caller_of
from firsthop.signaling.description import SECURITY, refusals
from firsthop.signaling.desk import Desk
from firsthop.signaling.realtime.bodies import ANSWER, PLACE_BODY


def add(router: APIRouter, desk: Desk) -> None:
    """Add the routes under /v1/realtime that are about calls."""

    async def create_call(
        request: Request,
        model: offers.Model = None,
        data_channel_id: offers.ChannelId = None,
    ) -> Response:
        """Answer an SDP offer: raw, as part `sdp` of a form, or as `sdp` of a JSON object."""
        placed = await offers.read(request)
        terms = await desk.terms(request, placed.session, model)
        terms = replace(terms, channel_id=data_channel_id)
        call_id, answer = desk.calls.open(placed.offer, terms)
        location = f"/v1/realtime/calls/{call_id}"
        return Response(answer, 201, media_type=offers.SDP, headers={"Location": location})

    for path, since in (("/calls", None), ("", "Where clients of the beta place calls.")):
        router.add_api_route(
            path,
            create_call,
            methods=["POST"],
            status_code=201,
            response_class=Response,
            description=since,
            deprecated=since is not None,
            responses={201: ANSWER, **refusals(400, 401, 403, 413, 415, 503)},
            openapi_extra=PLACE_BODY,
        )

    @router.post(
        "/calls/{call_id}/hangup",
        status_code=200,
        response_class=Response,
        responses={200: {"description": "It is over."}, **refusals(401, 403, 404, 413, 502, 504)},
        openapi_extra={"security": SECURITY},
    )
    async def hang_up(call_id: str, request: Request) -> Response:
        """End a call, whichever transceiver of the cluster owns it."""
        owner = desk.forwarding.owner(call_id, request)
        if owner is not None:
            return await desk.forwarding.pass_on(owner, request)
        desk.calls.hang_up(call_id)
        return Response()

    @router.post("/calls/{call_id}/handover", include_in_schema=False)
    async def hand_over(call_id: str, request: Request) -> Response:
        """Tell the transceiver at which a call goes on what that has to know; see `handover`."""
        caller_of(request).must_continue(call_id)
        owner = desk.forwarding.owner(call_id, request)
        if owner is not None:
            return await desk.forwarding.pass_on(owner, request)
        body = await offers.read_object(request)
        past = desk.calls.hand_over(call_id, desk.handovers.successor(body))
        return Response(past.to_json(), media_type="application/json")

    @router.post("/calls/{call_id}/accept", include_in_schema=False)
    @router.post("/calls/{call_id}/refer", include_in_schema=False)
    @router.post("/calls/{call_id}/reject", include_in_schema=False)
    async def telephone(call_id: str) -> Response:
        """Refuse what only telephone calls know."""
        message = "there are no telephone calls (SIP) here: calls come by WebRTC or WebSocket"
        raise SignalingError(message, status=404, code="sip_not_supported")
