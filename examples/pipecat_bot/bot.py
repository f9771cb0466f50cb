"""A Pipecat bot that needs no keys: it greets, says back what it hears, and reads what is written.

It knows nothing of firsthop. Run it, and firsthop in another terminal::

    .venv-pipecat/bin/python examples/pipecat_bot/bot.py
    FIRSTHOP_BACKEND=pipecat .venv/bin/firsthop dev
"""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
import wave
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.audio.utils import create_file_resampler
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    LLMMessagesAppendFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.serializers.protobuf import ProtobufFrameSerializer
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_processor import UserTurnProcessor
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

GREETING = "Hello. I say what you say."
#: Of all sound, in Hz, as firsthop sends it unless `pipecat.sample_rate` is another.
RATE = 16_000
#: What is kept of the sound before a turn is noticed.
LEAD_SECONDS = 0.6


@asynccontextmanager
async def ready(_: FastAPI) -> AsyncIterator[None]:
    """Say that calls are taken."""
    logger.info("the bot takes calls")
    yield


app = FastAPI(lifespan=ready)


class Parrot(FrameProcessor):
    """Answers each turn with its own sound, and what is written with a voice."""

    def __init__(self) -> None:
        super().__init__()
        self._heard = bytearray()
        self._listening = False

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Take one frame; all but the caller's sound goes on."""
        await super().process_frame(frame, direction)
        match frame:
            case InputAudioRawFrame():
                self._hear(frame)
                return
            case UserStartedSpeakingFrame():
                self._listening = True
            case UserStoppedSpeakingFrame():
                self._listening = False
                await self._repeat()
            case LLMMessagesAppendFrame():
                words = " ".join(message["content"] for message in frame.messages)
                await self.push_frame(TTSSpeakFrame(f"You wrote: {words}"))
                return
        await self.push_frame(frame, direction)

    def _hear(self, frame: InputAudioRawFrame) -> None:
        self._heard += frame.audio
        if not self._listening:
            del self._heard[: -int(LEAD_SECONDS * RATE) * 2]

    async def _repeat(self) -> None:
        said = bytes(self._heard)
        self._heard.clear()
        await self.push_frame(TTSStartedFrame())
        await self.push_frame(TTSAudioRawFrame(said, RATE, 1))
        await self.push_frame(TTSStoppedFrame())


class Espeak(TTSService):
    """Speech as espeak-ng makes it."""

    def __init__(self) -> None:
        super().__init__(
            settings=TTSSettings(model=None, voice=None, language=None),
            push_start_frame=True,
            push_stop_frames=True,
        )

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame, None]:
        """Yield the speech of a text."""
        process = await asyncio.create_subprocess_exec(
            *("espeak-ng", "-v", "en-us", "--stdin", "--stdout"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        wav, _ = await process.communicate(text.encode())
        with wave.open(io.BytesIO(wav)) as reader:
            rate = reader.getframerate()
        # The length in the header is a placeholder when espeak-ng streams.
        speech = await create_file_resampler().resample(wav[44:], rate, self.sample_rate)
        yield TTSAudioRawFrame(speech, self.sample_rate, 1, context_id=context_id)


@app.websocket("/ws")
async def answer(websocket: WebSocket) -> None:
    """Run a pipeline for one call."""
    await websocket.accept()
    call = websocket.headers.get("x-firsthop-call", "?")
    params = FastAPIWebsocketParams(
        audio_in_enabled=True, audio_out_enabled=True, serializer=ProtobufFrameSerializer()
    )
    transport = FastAPIWebsocketTransport(websocket, params)
    turns = UserTurnStrategies(
        start=[VADUserTurnStartStrategy()],
        stop=[SpeechTimeoutUserTurnStopStrategy(wait_for_transcript=False)],
    )
    pipeline = Pipeline(
        [
            transport.input(),
            VADProcessor(vad_analyzer=SileroVADAnalyzer()),
            UserTurnProcessor(user_turn_strategies=turns),
            Parrot(),
            Espeak(),
            transport.output(),
        ]
    )
    worker = PipelineWorker(
        pipeline,
        params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
    )

    @worker.rtvi.event_handler("on_client_ready")
    async def greet(_: object) -> None:
        await worker.queue_frame(TTSSpeakFrame(GREETING))

    @transport.event_handler("on_client_disconnected")
    async def leave(*_: object) -> None:
        logger.info(f"call {call}: the caller is gone")
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()
    logger.info(f"call {call}: the pipeline has ended")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=7860)
    arguments = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="INFO")
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_level="warning")
