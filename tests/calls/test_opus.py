"""A call whose sound stays Opus, between an engine without sockets and an agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

import firsthop
from calls.conversation import FRAME, RATE, Conversation, EventEnd, Listener, idle, until
from calls.fake_engine import FakeEngine, no_offers
from firsthop._native import Event, OpusPacket
from firsthop.addresses import Candidates
from firsthop.backends.function import FunctionBackend
from firsthop.backends.mirror import MirrorBackend
from firsthop.call import Call, Message, OpusPackets, Playback
from firsthop.calls.callid import CallIds
from firsthop.calls.calls import Calls
from firsthop.calls.line import SocketLine
from firsthop.config import Settings
from firsthop.errors import BackendError, SignalingError
from firsthop.telemetry.metrics import Metrics
from firsthop.transceiver.line import OpusLine

ONE, TWO, THREE = (OpusPacket(bytes([0xF8, n])) for n in range(3))


def packets(*some: OpusPacket) -> Event:
    return Event.Opus(1, some)


async def test_the_agent_hears_packets_in_pieces_as_they_came() -> None:
    listener = Listener()
    conversation = Conversation(listener, opus=True)
    conversation.connect()
    conversation.report(packets(ONE, TWO), packets(THREE))
    conversation.close()
    await conversation.over.wait()
    assert listener.heard == [OpusPackets((ONE, TWO)), OpusPackets((THREE,))]
    first = listener.all(OpusPackets)[0]
    assert [packet.payload for packet in first.packets] == [b"\xf8\0", b"\xf8\1"]
    assert conversation.told() == ["session.created"], "nobody listens for turns"


async def test_what_is_forwarded_is_a_response_like_any_other() -> None:
    async def reader(call: Call) -> None:
        await call.forward([ONE, TWO], text="Hi.")
        await idle(call)

    conversation = Conversation(reader, opus=True)
    conversation.connect()
    await conversation.engine.until("play_opus", 1, 0, (ONE, TWO), True)
    conversation.report(Event.PlayoutStarted(1, 0), Event.PlayoutEnded(1, 0, 40, False))
    transcripts = conversation.all("response.output_audio_transcript.done")
    assert [told["transcript"] for told in transcripts] == ["Hi."]
    heard = ["output_audio_buffer.started", "output_audio_buffer.stopped"]
    assert conversation.told()[-3:] == ["response.done", *heard]
    await conversation.end()


async def test_packets_are_forwarded_piece_by_piece_and_stop_when_they_are_to() -> None:
    more = asyncio.Event()
    said: list[Playback] = []

    async def pieces() -> AsyncIterator[Sequence[OpusPacket]]:
        yield [ONE]
        yield (TWO, THREE)
        await more.wait()
        yield [ONE]

    async def streaming(call: Call) -> None:
        said.append(call.forward(pieces()))
        await idle(call)

    conversation = Conversation(streaming, opus=True)
    conversation.connect()
    await conversation.engine.until("play_opus", 1, 0, (TWO, THREE), False)
    conversation.report(Event.PlayoutStarted(1, 0))
    assert conversation.ask("output_audio_buffer.clear") == []
    assert conversation.engine.notes[-1] == ("flush", 1)
    conversation.report(Event.PlayoutEnded(1, 0, 20, True))
    more.set()
    played = await said[0]
    assert (played.ms, played.interrupted) == (20, True)
    truncated = conversation.all("conversation.item.truncated")
    assert [told["audio_end_ms"] for told in truncated] == [20]
    plays = [note for note in conversation.engine.notes if note[0] == "play_opus"]
    assert plays[-1] == ("play_opus", 1, 0, (TWO, THREE), False), "nothing is added after a flush"
    await conversation.end()


async def test_pcm_on_a_call_of_opus_is_an_error_that_says_what_to_do() -> None:
    raised: list[BackendError] = []

    async def pieces() -> AsyncIterator[bytes]:
        yield FRAME

    async def wrong(call: Call) -> None:
        for speech in (FRAME, pieces()):
            try:
                await call.say(speech)
            except BackendError as error:
                raised.append(error)

    conversation = Conversation(wrong, opus=True)
    conversation.connect()
    await conversation.engine.until("play_opus", 1, 1, (), True)
    conversation.report(Event.PlayoutEnded(1, 1, 0, False))
    await conversation.engine.until("close", 1)
    assert [str(error) for error in raised] == 2 * [
        "the sound of this call is Opus; say it with forward()"
    ]
    assert all(note[0] != "play" for note in conversation.engine.notes)
    await conversation.end()


@pytest.mark.parametrize("socket", [None, EventEnd()], ids=["webrtc", "websocket"])
async def test_opus_on_a_call_of_pcm_is_an_error_that_says_what_to_do(
    socket: EventEnd | None,
) -> None:
    refused = asyncio.Event()

    async def wrong(call: Call) -> None:
        with pytest.raises(BackendError, match=r"is PCM; .* serve with @firsthop\.opus"):
            call.forward([ONE])
        refused.set()
        await idle(call)

    conversation = Conversation(wrong, socket=socket)
    conversation.connect()
    await refused.wait()
    assert not conversation.call.speaking
    await conversation.end()


async def test_sound_in_events_is_refused_and_the_call_goes_on() -> None:
    listener = Listener()
    conversation = Conversation(listener, opus=True)
    conversation.connect()
    (told,) = conversation.ask("input_audio_buffer.append", audio="AAAA", event_id="one")
    assert told["error"]["code"] == "unsupported_by_backend"
    assert told["error"]["event_id"] == "one"
    conversation.report(packets(ONE))
    await until(lambda: listener.heard)
    assert listener.heard == [OpusPackets((ONE,))]
    await conversation.end()


async def test_a_commit_is_for_the_agent_which_hears_the_turns() -> None:
    listener = Listener()
    conversation = Conversation(listener, opus=True)
    conversation.connect()
    assert conversation.ask("input_audio_buffer.commit") == []
    await until(lambda: listener.all(Message))
    await conversation.end()


async def test_an_agent_that_is_slow_misses_the_oldest_sound() -> None:
    listener = Listener()
    conversation = Conversation(listener, opus=True)
    conversation.ask("test.word", word=1)
    for _ in range(600):
        conversation.report(packets(ONE))
    conversation.report(packets(TWO))
    conversation.connect()
    await until(lambda: listener.heard)
    assert len(listener.heard) == 500
    assert isinstance(listener.heard[0], Message)
    assert listener.heard[-1] == OpusPackets((TWO,))
    await conversation.end()


async def test_the_mirror_costs_python_nothing_and_goes_on_after_a_clear() -> None:
    conversation = Conversation(MirrorBackend().serve, opus=True)
    conversation.connect()
    await conversation.engine.until("mirror", 1, 0)
    conversation.ask("output_audio_buffer.clear")
    conversation.report(Event.PlayoutEnded(1, 0, 20, True))
    await conversation.engine.until("mirror", 1, 1)
    await conversation.end()


async def test_pcm_is_not_mirrored() -> None:
    async def serve(call: Call) -> None:
        with pytest.raises(BackendError, match="sound of this call is PCM"):
            call.mirror()

    conversation = Conversation(serve)
    conversation.connect()
    await conversation.end()


def test_a_function_is_marked_as_one_that_wants_opus() -> None:
    @firsthop.opus
    async def agent(call: Call) -> None: ...

    async def other(call: Call) -> None: ...

    assert FunctionBackend(agent).traits.opus
    assert FunctionBackend(agent).traits.detects_turns
    assert not FunctionBackend(other).traits.opus


class Answers:
    """Answers every offer, and notes how the sound of its session was wanted."""

    def __init__(self) -> None:
        self.rates: list[int | None] = []

    def answer(
        self,
        offer: str,
        handler: object,
        sample_rate: int | None,
        channel: int | None = None,
        candidates: Candidates | None = None,
    ) -> tuple[OpusLine, str]:
        self.rates.append(sample_rate)
        return OpusLine(FakeEngine().native, 1, no_offers), "answer"


async def test_calls_of_opus_come_by_webrtc_only() -> None:
    settings, answers = Settings(keys={0: "ab" * 32}), Answers()
    ids = CallIds.of(settings)
    calls = Calls(settings, MirrorBackend(), Metrics(), ids, answers)
    calls.open("offer")
    assert answers.rates == [None]
    with pytest.raises(SignalingError, match="call by WebRTC") as error:
        calls.open_socket(EventEnd())
    assert (error.value.status, error.value.code) == (400, "webrtc_only")
    assert len(calls) == 1


async def test_a_socket_line_takes_no_packets() -> None:
    line = SocketLine(RATE, lambda event: None)
    with pytest.raises(BackendError):
        line.play(0, [ONE], complete=True)


def test_bytes_that_are_no_opus_become_no_packet() -> None:
    with pytest.raises(ValueError, match="not an Opus packet"):
        OpusPacket(b"")
    with pytest.raises(ValueError, match="not an Opus packet"):
        OpusPacket(b"\x83\x31")
    with pytest.raises(ValueError, match="1277 bytes; at most 1276"):
        OpusPacket(bytes(1277))


def test_a_packet_tells_its_length() -> None:
    packet = OpusPacket(b"\x18\1", at_ms=62.5, missing=2)
    assert (packet.duration_ms, packet.at_ms, packet.missing) == (60, 62.5, 2)
