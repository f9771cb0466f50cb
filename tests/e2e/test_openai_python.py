"""The unmodified `openai` package against real processes, used as its README does."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import numpy as np
import openai
import pytest
import soxr
from aiortc import RTCSessionDescription
from openai import AsyncOpenAI, OpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection, RealtimeConnection
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.exceptions import InvalidStatus

from e2e import sound
from e2e.agents import GREETING, STORY
from e2e.peer import Peer
from e2e.processes import Edge, Process
from e2e.sound import RATE, Samples
from e2e.waiting import until
from firsthop.speech.espeak import Voice

API_KEY = "an-api-key-of-24-letters"
#: Of audio in events, in Hz.
EVENT_RATE = 24_000

_SERVER_EVENT: TypeAdapter[RealtimeServerEvent] = TypeAdapter(RealtimeServerEvent)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the package from asking a proxy of this machine's for what is on this machine."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")


async def test_an_async_client_creates_a_call_and_controls_it(edge: Edge, peer: Peer) -> None:
    process = await start(edge, "receptionist")
    async with AsyncOpenAI(api_key=API_KEY, base_url=f"{process.url}/v1") as client:
        answer = await client.realtime.calls.create(
            sdp=await peer.offer(),
            session={"type": "realtime", "model": "any", "instructions": "Be brief."},
        )
        call_id = answer.response.headers["Location"].split("/")[-1]
        await connect(peer, answer.text)

        async with client.realtime.connect(call_id=call_id) as connection:
            created = await event_of(connection, "session.created")
            assert created.session.instructions == "Be brief."
            await connection.session.update(
                session={"type": "realtime", "instructions": "Be kind."}
            )
            updated = await event_of(connection, "session.updated")
            assert updated.session.instructions == "Be kind."
            at_peer = await peer.event("session.updated")
            assert at_peer["session"]["instructions"] == "Be kind."

            await connection.conversation.item.create(
                item={
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "Good day."}],
                }
            )
            await connection.response.create()
            done = await event_of(connection, "response.done")
            assert done.response.status == "completed"
            [item] = done.response.output
            assert item.content[0].transcript == "You wrote: Good day."
            await event_of(connection, "output_audio_buffer.stopped")
        said = await words("You wrote: Good day.")
        # What left last is still on its way.
        await until(lambda: heard_for(peer) > 0.95 * len(said), "the answer is heard")
        sound.check_words(peer.heard, said, (await words(GREETING))[: len(said)])

        await client.realtime.calls.hangup(call_id)
        await check_that_no_call_is_left(process)
        with pytest.raises(openai.NotFoundError, match=call_id):
            await client.realtime.calls.hangup(call_id)


# The package does so itself.
@pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")
async def test_a_sync_client_creates_a_call_with_a_client_secret(edge: Edge, peer: Peer) -> None:
    process = await start(edge, "storyteller")
    server = OpenAI(api_key=API_KEY, base_url=f"{process.url}/v1")
    offer = await peer.offer()

    def place() -> tuple[str, str]:
        secret = server.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60},
            session={"type": "realtime", "instructions": "Tell stories."},
        )
        assert secret.session.type == "realtime"
        assert secret.session.instructions == "Tell stories."
        with OpenAI(api_key=secret.value, base_url=f"{process.url}/v1") as browser:
            # Without a session it goes out as application/sdp.
            answer = browser.realtime.calls.create(sdp=offer)
        return answer.response.headers["Location"].split("/")[-1], answer.text

    def interrupt(call_id: str) -> None:
        with server.realtime.connect(call_id=call_id) as connection:
            created = next_of(connection, "session.created")
            assert created.session.instructions == "Tell stories."
            connection.response.create()
            started = next_of(connection, "output_audio_buffer.started")
            connection.output_audio_buffer.clear()
            cleared = next_of(connection, "output_audio_buffer.cleared")
            assert cleared.response_id == started.response_id
            truncated = next_of(connection, "conversation.item.truncated")
            connection.conversation.item.retrieve(item_id=truncated.item_id)
            retrieved = next_of(connection, "conversation.item.retrieved")
            told = retrieved.item.content[0].transcript
            assert STORY.startswith(told)
            assert len(told) < len(STORY)
        server.realtime.calls.hangup(call_id)

    with server:
        call_id, answer = await asyncio.to_thread(place)
        await connect(peer, answer)
        await asyncio.to_thread(interrupt, call_id)
    await check_that_no_call_is_left(process)


async def test_a_client_without_webrtc_speaks_and_listens(edge: Edge) -> None:
    process = await start(edge, "receptionist")
    async with AsyncOpenAI(api_key=API_KEY, base_url=f"{process.url}/v1") as client:
        async with client.realtime.connect(model="any") as connection:
            await event_of(connection, "session.created")
            said = np.concatenate((sound.speech(sound.SENTENCE), sound.silence(30)))
            speaking = asyncio.create_task(speak(connection, said))
            started = await event_of(connection, "input_audio_buffer.speech_started")
            assert started.audio_start_ms < 1000
            committed = await event_of(connection, "input_audio_buffer.committed")
            assert committed.item_id == started.item_id
            answer = [event async for event in until_done(connection)]
            speaking.cancel()
            sound.check_words(sound_of(answer), await words(GREETING), await words(STORY))
    await check_that_no_call_is_left(process)


async def test_a_client_without_webrtc_ends_turns_itself_and_truncates(edge: Edge) -> None:
    process = await start(edge, "storyteller")
    async with AsyncOpenAI(api_key=API_KEY, base_url=f"{process.url}/v1") as client:
        async with client.realtime.connect(model="any") as connection:
            await connection.session.update(
                session={"type": "realtime", "audio": {"input": {"turn_detection": None}}}
            )
            updated = await event_of(connection, "session.updated")
            assert updated.session.audio.input.turn_detection is None
            for piece in pieces(sound.speech(sound.SENTENCE)):
                await connection.input_audio_buffer.append(audio=piece)
            await connection.input_audio_buffer.commit()
            await event_of(connection, "input_audio_buffer.committed")
            await connection.response.create()
            first = await event_of(connection, "response.output_audio.delta")
            assert len(base64.b64decode(first.delta)) > 0

            await connection.response.cancel()
            await connection.conversation.item.truncate(
                item_id=first.item_id, content_index=0, audio_end_ms=40
            )
            truncated = await event_of(
                connection,
                "conversation.item.truncated",
                lambda event: event.item_id == first.item_id and event.audio_end_ms == 40,
            )
            assert truncated.content_index == 0


async def test_what_is_wrong_raises_what_the_package_has_for_it(edge: Edge, peer: Peer) -> None:
    process = await start(edge, "silent")
    url = f"{process.url}/v1"
    async with AsyncOpenAI(api_key="wrong", base_url=url, max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError, match="API key"):
            await client.realtime.calls.create(sdp=await peer.offer())
        with pytest.raises(InvalidStatus, match="401"):
            await client.realtime.connect(model="any").enter()
    async with AsyncOpenAI(api_key=API_KEY, base_url=url, max_retries=0) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.realtime.calls.create(sdp="v=0")
        assert refused.value.body is not None
        with pytest.raises(InvalidStatus, match="404"):
            await client.realtime.connect(call_id="rtc_unknown").enter()


async def start(edge: Edge, agent: str) -> Process:
    return await edge.dev(f"agents:{agent}", signaling__api_keys=[API_KEY])


async def connect(peer: Peer, answer: str) -> None:
    """Let the peer take the answer that the package got."""
    await peer.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    await peer.event("session.created")


async def event_of(
    connection: AsyncRealtimeConnection,
    kind: str,
    matches: Callable[[Any], bool] = lambda event: True,
) -> Any:
    """Read events until one of a type matches; all must be what the package has types for."""
    while True:
        event = understood(await connection.recv())
        if event.type == kind and matches(event):
            return event


def next_of(connection: RealtimeConnection, kind: str) -> Any:
    """Read events until one of a type; all must be what the package has types for."""
    while True:
        event = understood(connection.recv())
        if event.type == kind:
            return event


async def until_done(connection: AsyncRealtimeConnection) -> AsyncIterator[RealtimeServerEvent]:
    """Yield events up to the end of a response."""
    async for event in connection:
        yield understood(event)
        if event.type == "response.done":
            return


def understood(event: RealtimeServerEvent) -> RealtimeServerEvent:
    """Assert that an event is what its type says: the package itself takes anything for it."""
    assert event.type != "error", event
    strictly = _SERVER_EVENT.validate_python(event.model_dump(exclude_unset=True), strict=True)
    assert type(strictly) is type(event)
    return event


def pieces(samples: Samples) -> Iterator[str]:
    """Cut sound into what fits in events: 100 ms each."""
    pcm = soxr.resample(samples, RATE, EVENT_RATE).astype("<i2")
    for at in range(0, len(pcm), EVENT_RATE // 10):
        yield base64.b64encode(pcm[at : at + EVENT_RATE // 10].tobytes()).decode()


async def speak(connection: AsyncRealtimeConnection, samples: Samples) -> None:
    """Send sound about as fast as a microphone makes it."""
    for piece in pieces(samples):
        await connection.input_audio_buffer.append(audio=piece)
        # Pacing, not synchronisation.
        await asyncio.sleep(0.1)


def heard_for(peer: Peer) -> int:
    """From the first to the last that the peer heard, in samples."""
    first, last = sound.audible(peer.heard)
    return last - first


def sound_of(events: Iterable[RealtimeServerEvent]) -> Samples:
    """The sound that events bring."""
    deltas = [event.delta for event in events if event.type == "response.output_audio.delta"]
    pcm = np.frombuffer(b"".join(map(base64.b64decode, deltas)), dtype="<i2")
    samples: Samples = soxr.resample(pcm, EVENT_RATE, RATE)
    return samples


async def words(text: str) -> Samples:
    """Return `text` as agents say it, without silence around it."""
    samples: Samples = np.frombuffer(await Voice().speak(text, RATE), dtype="<i2")
    first, last = sound.audible(samples)
    return samples[first:last]


async def check_that_no_call_is_left(process: Process) -> None:
    async def ended() -> bool:
        metrics = await process.metrics()
        over = metrics("transceiver_calls_ended_total") == 1
        return over and metrics("transceiver_sessions") == 0

    await until(ended, "the call has ended and no session is left")
