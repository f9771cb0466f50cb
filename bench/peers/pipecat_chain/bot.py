"""The chain of `firsthop bench turn`, built with Pipecat as its documentation builds bots.

Transcription, model and speech are the endpoints that firsthop is measured with. What differs from
the documentation's bot is the end of turns: silence decides, and not a model that judges it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.openai.stt import OpenAISTTService
from pipecat.services.openai.tts import OpenAITTSService
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection
from pipecat.transports.smallwebrtc.request_handler import (
    SmallWebRTCRequest,
    SmallWebRTCRequestHandler,
)
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

_INSTRUCTIONS = "You are a voice assistant. Answer in one to three short sentences."

_calls: set[asyncio.Task[None]] = set()
_requests = SmallWebRTCRequestHandler()


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    await _requests.close()


app = FastAPI(lifespan=_lifespan)


@app.get("/readyz")
async def ready() -> str:
    """Say that calls are taken."""
    return "ready"


@app.post("/api/offer")
async def offer(request: dict[str, str]) -> dict[str, str] | None:
    """Take a call."""

    async def begin(connection: SmallWebRTCConnection) -> None:
        task = asyncio.create_task(talk(connection))
        _calls.add(task)
        task.add_done_callback(_calls.discard)

    return await _requests.handle_web_request(SmallWebRTCRequest.from_dict(request), begin)


async def talk(connection: SmallWebRTCConnection) -> None:
    """Run the chain for one call."""
    transport = SmallWebRTCTransport(
        webrtc_connection=connection,
        params=TransportParams(audio_in_enabled=True, audio_out_enabled=True),
    )
    where = {"api_key": "none", "base_url": arguments.endpoints}
    turns = UserTurnStrategies(
        stop=[SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=arguments.then_s)]
    )
    user, assistant = LLMContextAggregatorPair(
        LLMContext([{"role": "system", "content": _INSTRUCTIONS}]),
        user_params=LLMUserAggregatorParams(
            vad_analyzer=SileroVADAnalyzer(params=VADParams(stop_secs=arguments.stop_s)),
            user_turn_strategies=turns,
        ),
    )
    pipeline = Pipeline(
        [
            transport.input(),
            OpenAISTTService(**where),
            user,
            OpenAILLMService(**where),
            OpenAITTSService(**where),
            transport.output(),
            assistant,
        ]
    )
    worker = PipelineWorker(pipeline)

    @transport.event_handler("on_client_disconnected")
    async def leave(*_: object) -> None:
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--endpoints", required=True, help="URL, up to and with /v1")
    parser.add_argument("--stop-s", type=float, default=0.2, help="silence before transcription")
    parser.add_argument("--then-s", type=float, default=0.6, help="silence after that")
    arguments = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning")
