"""A server made with aiortc: answers offers, and keeps what tracks bring."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from fastapi import FastAPI, Request, Response

from firsthop.bench.quality.listeners import FOLDER, path_of
from firsthop.bench.quality.recording import Recorder

_RATE = 48_000

app = FastAPI()
_numbers = itertools.count()
_running: set[object] = set()


@app.get("/readyz")
async def ready() -> None:
    """Tell that it is up."""


@app.post("/v1/realtime/calls")
async def call(request: Request) -> Response:
    """Take a call, and listen until its caller hangs up."""
    name = f"call_{next(_numbers)}"
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    _running.add(connection)

    def listen(track: MediaStreamTrack) -> None:
        task = asyncio.create_task(_keep(track, path_of(name, Path(os.environ[FOLDER]))))
        _running.add(task)
        task.add_done_callback(_running.discard)

    connection.on("track", listen)
    offer = RTCSessionDescription((await request.body()).decode(), "offer")
    await connection.setRemoteDescription(offer)
    await connection.setLocalDescription(await connection.createAnswer())
    location = {"Location": f"/v1/realtime/calls/{name}"}
    return Response(connection.localDescription.sdp, 201, location)


async def _keep(track: MediaStreamTrack, path: Path) -> None:
    """Keep all frames, each where its time stamp has it: what is missing between is silence."""
    recorder, end = Recorder(_RATE), None
    while True:
        try:
            frame: Any = await track.recv()
        except MediaStreamError:
            break
        at_s = time.monotonic()
        samples = frame.to_ndarray().reshape(-1)[:: len(frame.layout.channels)].astype(np.int16)
        if end is not None and frame.pts > end:
            recorder.take(np.zeros(frame.pts - end, dtype=np.int16), at_s)
        recorder.take(samples, at_s)
        end = frame.pts + len(samples)
    recorder.save(path)


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(app, host="127.0.0.1", port=parser.parse_args().port, log_level="warning")


if __name__ == "__main__":
    main()
