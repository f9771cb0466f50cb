"""The echo, on a line that only takes notes."""

from __future__ import annotations

import asyncio

from doubles import Line
from firsthop.backends.echo import EchoBackend
from firsthop.call import AudioFrame, SpeechStarted


async def test_echo_says_every_frame_as_it_comes_until_the_call_ends() -> None:
    call, backend = Line(), EchoBackend()
    await backend.prepare()
    serving = asyncio.create_task(backend.serve(call))
    await call.until("play", 0, b"", False)
    for number in range(5):
        call.deliver(AudioFrame(pcm=bytes([number] * 4), at_ms=20 * number))
        await call.until("play", 0, bytes([number] * 4), False)
    call.deliver(SpeechStarted(at_ms=0), AudioFrame(pcm=b"last", at_ms=100))
    await call.until("play", 0, b"last", False)
    call.end()
    await serving
    assert len(call.heard(0)) == 6 * 4


async def test_a_caller_does_not_interrupt_the_own_echo() -> None:
    call = Line()
    serving = asyncio.create_task(EchoBackend().serve(call))
    await call.until("play", 0, b"", False)
    assert not call.interruptible
    call.end()
    await serving


async def test_echo_goes_on_after_a_client_has_cleared_it() -> None:
    call = Line()
    serving = asyncio.create_task(EchoBackend().serve(call))
    await call.until("play", 0, b"", False)
    call._silence()
    call.settle(0, interrupted=True)
    await call.until("play", 1, b"", False)
    call.deliver(AudioFrame(pcm=b"more", at_ms=0))
    await call.until("play", 1, b"more", False)
    call.end()
    await serving
