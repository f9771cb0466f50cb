"""Who listens: each is programs of its own, answers offers, and gives what it heard."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

import httpx

from firsthop.bench.contender import free_endpoint
from firsthop.bench.environment import environment
from firsthop.bench.errors import BenchError
from firsthop.bench.programs import Program
from firsthop.bench.quality import recording
from firsthop.bench.quality.recording import Recording
from firsthop.values import KEY_BYTES

FIRSTHOP, AIORTC = "firsthop", "aiortc"
#: The variable that tells listeners where to keep recordings.
FOLDER: Final = "QUALITY_RECORDINGS"
_PATIENCE_S: Final = 10.0


class Listener(Protocol):
    """Takes calls."""

    name: str

    async def answer(self, offer: str) -> tuple[str, str]:
        """Answer an offer (SDP): the answer, and what the call is called.

        Raises:
            BenchError: It is refused.
        """
        ...

    async def heard(self, call: str) -> Recording:
        """Return what was heard in a call that is over.

        Raises:
            BenchError: There is nothing.
        """
        ...


class Server:
    """A listener that is reached by HTTP and keeps recordings in files."""

    def __init__(self, name: str, url: str, recordings: Path) -> None:
        self.name = name
        self._url = url
        self._recordings = recordings

    async def answer(self, offer: str) -> tuple[str, str]:
        """Place a call as clients of the Realtime API do."""
        async with httpx.AsyncClient(trust_env=False, timeout=_PATIENCE_S) as client:
            answer = await client.post(
                f"{self._url}/v1/realtime/calls",
                content=offer,
                headers={"Content-Type": "application/sdp"},
            )
        if not answer.is_success:
            raise BenchError(f"{self.name} refused the call: {answer.text}")
        return answer.text, answer.headers["Location"].rpartition("/")[2]

    async def heard(self, call: str) -> Recording:
        """Wait until the call's file is there, and read it."""
        path = path_of(call, self._recordings)
        deadline = time.monotonic() + _PATIENCE_S
        while not path.exists():
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name} has not kept what it heard of a call")
            await asyncio.sleep(0.05)
        return await asyncio.to_thread(recording.load, path)


def path_of(call: str, folder: Path) -> Path:
    """Return where the recording of a call is kept."""
    return folder / f"{call}.npz"


@asynccontextmanager
async def firsthop(host: str, folder: Path) -> AsyncIterator[Listener]:
    """A transceiver that clients reach directly, with an agent that keeps what it is handed."""
    shard, http = free_endpoint(), free_endpoint()
    listen = f"{host}:{shard.port}"
    settings: dict[str, object] = {
        "TRANSCEIVER__LISTEN": listen,
        "TRANSCEIVER__DIRECT": True,
        "TRANSCEIVER__ADVERTISE": [listen],
        "SIGNALING__LISTEN": str(http),
        "BACKEND": "firsthop.bench.quality.agent:listen",
        "KEYS": {"0": secrets.token_hex(KEY_BYTES)},
    }
    command = [sys.executable, "-c", "from firsthop.cli import main; main()", "transceiver"]
    async with _server(FIRSTHOP, command, settings, f"http://{http}", folder) as server:
        yield server


@asynccontextmanager
async def aiortc(host: str, folder: Path) -> AsyncIterator[Listener]:
    """A server made with aiortc that keeps the frames of its tracks."""
    http = free_endpoint()
    command = [sys.executable, "-m", "firsthop.bench.quality.track", "--port", str(http.port)]
    async with _server(AIORTC, command, {}, f"http://{http}", folder) as server:
        yield server


@asynccontextmanager
async def _server(
    name: str, command: list[str], settings: dict[str, object], url: str, folder: Path
) -> AsyncIterator[Listener]:
    recordings = folder / name
    recordings.mkdir()
    program = Program(name, command, environment(settings) | {FOLDER: str(recordings)}, folder)
    try:
        await asyncio.to_thread(program.wait_until_ready, f"{url}/readyz")
        yield Server(name, url, recordings)
    finally:
        program.stop()
