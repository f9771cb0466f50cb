"""An echo of calls, built with aiortc as its documentation builds servers: with its own defaults.

media-aiortc.py IP:port      where its HTTP is

POST /whip takes an SDP offer, and answers 201 and the answer; DELETE of its Location hangs up. A
call has UDP sockets of its own, on the machine's addresses but loopback's. What is decoded of it is
handed to its encoder frame by frame, as aiortc's tracks do.
"""

from __future__ import annotations

import itertools
import sys

import uvicorn
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from av import AudioFrame
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route


class Echo(MediaStreamTrack):
    """Says what another track hears."""

    kind = "audio"

    def __init__(self, heard: MediaStreamTrack) -> None:
        super().__init__()
        self._heard = heard

    async def recv(self) -> AudioFrame:
        """Return the next frame when it is there."""
        return await self._heard.recv()  # type: ignore[return-value]


_ids = itertools.count(1)
_calls: dict[int, RTCPeerConnection] = {}


async def place(request: Request) -> Response:
    """Answer an offer."""
    # Without servers: it would ask a public one for its address.
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    call = next(_ids)
    _calls[call] = connection

    @connection.on("track")
    def heard(track: MediaStreamTrack) -> None:
        connection.addTrack(Echo(track))

    @connection.on("connectionstatechange")
    async def changed() -> None:
        if connection.connectionState in ("failed", "closed"):
            _calls.pop(call, None)
            await connection.close()

    offer = (await request.body()).decode()
    await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    await connection.setLocalDescription(await connection.createAnswer())
    answer = connection.localDescription.sdp
    headers = {"Location": f"/whip/{call}"}
    return Response(answer, 201, headers, media_type="application/sdp")


async def hang_up(request: Request) -> Response:
    """End a call."""
    connection = _calls.pop(request.path_params["call"], None)
    if connection is None:
        return Response(status_code=404)
    await connection.close()
    return Response()


async def ready(_: Request) -> Response:
    """Say that calls are taken."""
    return PlainTextResponse("ready")


app = Starlette(
    routes=[
        Route("/readyz", ready),
        Route("/whip", place, methods=["POST"]),
        Route("/whip/{call:int}", hang_up, methods=["DELETE"]),
    ]
)

if __name__ == "__main__":
    host, _, port = sys.argv[1].rpartition(":")
    uvicorn.run(app, host=host, port=int(port), loop="asyncio", log_level="warning")
