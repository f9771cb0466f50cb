"""The endpoints as a process: ``python -m firsthop.bench.endpoints``."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer

from firsthop.bench.endpoints import Delay, Delays, Endpoints, Script
from firsthop.bench.endpoints.script import REPLY, TRANSCRIPT

_Ms = Annotated[float, typer.Option(min=0.0, help="Median, in ms.")]


def main(
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any that is free.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the delays.")] = 0,
    spread: Annotated[
        float, typer.Option(min=0.0, help="Of the delays' logarithm; 0: always the median.")
    ] = 0.0,
    transcript_ms: _Ms = 0.0,
    first_token_ms: _Ms = 0.0,
    next_token_ms: _Ms = 0.0,
    first_audio_ms: _Ms = 0.0,
    speed: Annotated[
        float | None, typer.Option(min=0.1, help="Speech, as times real time; unset: at once.")
    ] = None,
    transcript: Annotated[str, typer.Option(help="What was said.")] = TRANSCRIPT,
    reply: Annotated[str, typer.Option(help="What the model says.")] = REPLY,
) -> None:
    """Play three OpenAI-compatible endpoints until Ctrl-C. The first line printed is their URL."""
    delays = Delays(
        transcript=Delay(transcript_ms, spread),
        first_token=Delay(first_token_ms, spread),
        next_token=Delay(next_token_ms, spread),
        first_audio=Delay(first_audio_ms, spread),
    )
    script = Script(transcript=transcript, reply=reply, delays=delays, seed=seed, speed=speed)
    asyncio.run(_serve(Endpoints(script, host=host, port=port)))


async def _serve(endpoints: Endpoints) -> None:
    over = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    await endpoints.start()
    print(endpoints.url, flush=True)
    await over.wait()
    await endpoints.stop()


if __name__ == "__main__":
    typer.run(main)
