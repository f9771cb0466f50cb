"""What all endpoints have in common: failures in plain words, patience, and nothing left open.

Mostly by way of the chat, against a real server that goes wrong when told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from agent.endpoints.listening import listening
from firsthop.agent.endpoints import EndpointModel, EndpointSynthesiser, EndpointTranscriber
from firsthop.agent.stages import Prompt, Stage, StageError, Text
from firsthop.bench.endpoints import Endpoints, Fault, Script, serving
from firsthop.config import ChatSettings, SpeechSettings, TranscriptionSettings
from firsthop.errors import ConfigError

KEY = "sk-very-secret-indeed"
PROMPT = Prompt(messages=[{"role": "user", "content": "private words"}])
TURN = b"\1\0" * 24_000


@asynccontextmanager
async def model_of(
    endpoints: Endpoints, *, seconds: float = 10.0, key: str | None = None
) -> AsyncIterator[EndpointModel]:
    model = EndpointModel(ChatSettings(url=endpoints.url, timeout_seconds=seconds, api_key=key))
    try:
        yield model
    finally:
        await model.close()


async def said(model: EndpointModel, prompt: Prompt = PROMPT) -> str:
    async with model.think(prompt) as thoughts:
        return "".join([each.text async for each in thoughts if isinstance(each, Text)])


def transcription(url: str, seconds: float) -> tuple[Stage, Callable[[], AsyncIterator[object]]]:
    stage = EndpointTranscriber(TranscriptionSettings(url=url, timeout_seconds=seconds))

    async def ask() -> AsyncIterator[object]:
        yield await stage.listen().finish(TURN)

    return stage, ask


def chat(url: str, seconds: float) -> tuple[Stage, Callable[[], AsyncIterator[object]]]:
    stage = EndpointModel(ChatSettings(url=url, timeout_seconds=seconds))

    async def ask() -> AsyncIterator[object]:
        async with stage.think(PROMPT) as thoughts:
            async for thought in thoughts:
                yield thought

    return stage, ask


def speech(url: str, seconds: float) -> tuple[Stage, Callable[[], AsyncIterator[object]]]:
    stage = EndpointSynthesiser(SpeechSettings(url=url, timeout_seconds=seconds))

    async def ask() -> AsyncIterator[object]:
        async with stage.speak("Good morning to all of you.") as sound:
            async for pcm in sound:
                yield pcm

    return stage, ask


ASKS = {"transcription": transcription, "chat": chat, "speech": speech}
TITLES = {
    "transcription": "the speech recognition",
    "chat": "the language model",
    "speech": "the speech synthesis",
}
FAILURES = [
    (Fault("close"), "unreachable", "cannot be reached: check agent."),
    (Fault("reset"), "unreachable", "cannot be reached: check agent."),
    (Fault("hang"), "timeout", "did not answer within 0.5 s"),
    (Fault("status", status=401), "refused", "refused the key: check agent."),
    (Fault("status", status=403), "refused", "refused the key: check agent."),
    (Fault("status", status=404), "refused", "refused the request (404): check agent."),
    (Fault("status", status=307, headers={"location": "/x"}), "refused", "where it redirects"),
    (Fault("status", status=429), "busy", "takes no more requests for now"),
    (Fault("status", status=500), "failed", "failed (500)"),
    (Fault("status", status=503, headers={"retry-after": "60"}), "failed", "failed (503)"),
    (Fault("html"), "garbage", "answered with"),
    (Fault("answer", content_type="application/json", body=b'{"a": 1}'), "garbage", "answered"),
    (Fault("answer", content_type="application/json", body=b""), "garbage", "answered with"),
    (Fault("drip", every_ms=100), "timeout", "fell silent for 0.5 s in the middle of its answer"),
]


@pytest.mark.parametrize("stage_name", ["transcription", "chat", "speech"])
@pytest.mark.parametrize(("fault", "word", "message"), FAILURES, ids=lambda value: str(value)[:40])
async def test_a_failure_is_said_in_plain_words_and_logged_once(
    stage_name: str, fault: Fault, word: str, message: str
) -> None:
    async with serving() as endpoints:
        stage, ask = ASKS[stage_name](endpoints.url, 0.5 if word == "timeout" else 10.0)
        endpoints.fail(stage_name, fault)  # type: ignore[arg-type]
        with capture_logs() as logs, pytest.raises(StageError) as raised:
            _ = [each async for each in ask()]
        assert raised.value.code == f"{stage_name}_{word}"
        assert str(raised.value).startswith(f"{TITLES[stage_name]} ")
        assert message in str(raised.value)
        assert endpoints.url not in str(raised.value)
        assert [(log["event"], log["code"]) for log in logs] == [
            ("agent.stage_failed", raised.value.code)
        ]
        assert logs[0]["status"] == (fault.status if fault.kind == "status" else None)
        # What went wrong is over, and so are its connections; the next request works.
        await endpoints.until(lambda: endpoints.open == 0)
        endpoints.mend(stage_name)  # type: ignore[arg-type]
        assert [each async for each in ask()]
        await stage.close()
        await endpoints.until(lambda: endpoints.connections == 0)


@pytest.mark.parametrize("stage_name", ["chat", "speech"])
@pytest.mark.parametrize(
    ("fault", "code"), [(Fault("stop", after=2), "cut_off"), (Fault("stall", after=2), "timeout")]
)
async def test_what_came_before_it_broke_off_stands(
    stage_name: str, fault: Fault, code: str
) -> None:
    async with serving() as endpoints:
        stage, ask = ASKS[stage_name](endpoints.url, 0.5 if code == "timeout" else 10.0)
        endpoints.fail(stage_name, fault)  # type: ignore[arg-type]
        came = []
        with pytest.raises(StageError) as raised:
            async for each in ask():
                came.append(each)
        assert raised.value.code == f"{stage_name}_{code}"
        assert came == ([Text("It"), Text(" is")] if stage_name == "chat" else came[:2])
        assert len(came) == 2
        await stage.close()


async def test_a_transcript_that_breaks_off_is_none() -> None:
    async with serving() as endpoints:
        stage, ask = transcription(endpoints.url, 10.0)
        endpoints.fail("transcription", Fault("stop", after=1))
        with pytest.raises(StageError, match="broke off in the middle of its answer"):
            _ = [each async for each in ask()]
        await stage.close()


async def test_an_answer_without_its_end_is_cut_off() -> None:
    async with serving() as endpoints, model_of(endpoints) as model:
        endpoints.fail("chat", Fault("end", after=3))
        with pytest.raises(StageError) as raised:
            await said(model)
    assert raised.value.code == "chat_cut_off"


async def test_a_server_that_is_down_is_unreachable_until_it_is_up() -> None:
    async with serving(Script(reply="Here.")) as endpoints, model_of(endpoints) as model:
        await endpoints.stop()
        with capture_logs() as logs:
            await model.prepare()
            with pytest.raises(StageError, match=r"cannot be reached: check agent\.chat\.url"):
                await said(model)
        assert [(log["event"], log["problem"]) for log in logs] == [
            ("agent.endpoint_silent", "ConnectionRefusedError"),
            ("agent.stage_failed", "ConnectionRefusedError"),
        ]
        await endpoints.start()
        assert await said(model) == "Here."


async def test_neither_key_nor_words_reach_errors_and_logs() -> None:
    async with serving() as endpoints, model_of(endpoints, seconds=0.1, key=KEY) as model:
        told = []
        for fault, _, _ in FAILURES:
            endpoints.fail("chat", fault)
            with capture_logs() as logs, contextlib.suppress(StageError):
                await said(model)
            told.append(f"{logs}")
        assert endpoints.headers[-1]["authorization"] == f"Bearer {KEY}"
    assert len(told) == len(FAILURES)
    assert not re.search(f"{KEY}|private|scripted|nginx|127.0.0.1", "".join(told))


@pytest.mark.parametrize(
    "fault",
    [
        Fault("close"),
        Fault("reset"),
        Fault("status", status=500),
        Fault("status", status=503, headers={"retry-after": "0.01"}),
        Fault("status", status=429, headers={"retry-after": "0.01"}),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
async def test_one_failure_before_the_answer_is_not_noticed(fault: Fault) -> None:
    async with serving(Script(reply="Here.")) as endpoints, model_of(endpoints) as model:
        endpoints.fail("chat", fault, times=1)
        with capture_logs() as logs:
            assert await said(model) == "Here."
        assert logs == []
        assert len(endpoints.answers) == 2


@pytest.mark.parametrize(
    "headers", [{}, {"retry-after": "2"}, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}]
)
async def test_a_busy_server_is_not_asked_again_before_its_time(headers: dict[str, str]) -> None:
    async with serving() as endpoints, model_of(endpoints) as model:
        endpoints.fail("chat", Fault("status", status=429, headers=headers))
        with pytest.raises(StageError) as raised:
            await said(model)
        assert raised.value.code == "chat_busy"
        assert len(endpoints.answers) == 1


async def test_a_redirect_does_not_take_the_key_elsewhere() -> None:
    async with serving() as other, serving() as endpoints, model_of(endpoints, key=KEY) as model:
        location = {"location": f"{other.url}/chat/completions"}
        endpoints.fail("chat", Fault("status", status=307, headers=location))
        with pytest.raises(StageError, match=r"set agent\.chat\.url to where it redirects"):
            await said(model)
        assert not other.headers


async def test_turns_share_a_connection_that_is_open_beforehand() -> None:
    async with serving() as endpoints, model_of(endpoints) as model:
        await model.prepare()
        assert endpoints.connections == 1
        for _ in range(3):
            await said(model)
            await endpoints.until(lambda: endpoints.open == 0)
        assert endpoints.connections == endpoints.connected == 1


@pytest.mark.parametrize("stage_name", ["transcription", "chat", "speech"])
@pytest.mark.parametrize("kind", ["hang", "stall"])
async def test_a_request_that_is_cancelled_is_closed_at_once(stage_name: str, kind: str) -> None:
    async with serving() as endpoints:
        stage, ask = ASKS[stage_name](endpoints.url, 10.0)
        endpoints.fail(stage_name, Fault("hang" if kind == "hang" else "stall"))  # type: ignore[arg-type]

        async def work() -> None:
            async for _ in ask():
                pass

        working = asyncio.create_task(work())
        await endpoints.until(
            lambda: (
                bool(endpoints.asked[stage_name])  # type: ignore[index]
                and (kind == "hang" or bool(endpoints.answers[-1].parts_ms))
            )
        )
        working.cancel()
        await asyncio.wait({working})
        assert working.cancelled()
        await endpoints.until(lambda: endpoints.open == endpoints.connections == 0)
        assert endpoints.left == 1
        await stage.close()


async def test_leaving_an_answer_halfway_closes_it() -> None:
    script = Script(reply="word " * 2000)
    async with serving(script) as endpoints, model_of(endpoints) as model:
        endpoints.fail("chat", Fault("stall", after=5))
        async with model.think(PROMPT) as thoughts:
            assert await anext(thoughts) == Text("word")
        await endpoints.until(lambda: endpoints.open == endpoints.connections == 0)
        with pytest.raises(ZeroDivisionError):
            async with model.think(PROMPT) as thoughts:
                raise ZeroDivisionError
        await endpoints.until(lambda: endpoints.open == endpoints.connections == 0)


@pytest.mark.parametrize("connected", [True, False])
async def test_cancelling_at_any_moment_leaves_nothing_open(connected: bool) -> None:
    script = Script(reply="one two three four")
    async with serving(script) as endpoints, model_of(endpoints) as model:
        finished = 0
        for steps in range(50):
            if connected:
                await said(model)
            else:
                await model.close()
            working = asyncio.create_task(said(model))
            for _ in range(steps):
                await asyncio.sleep(0)
            # Twice, as when a call ends while a reply is being interrupted.
            working.cancel()
            await asyncio.sleep(0)
            working.cancel()
            await asyncio.wait({working})
            finished += not working.cancelled()
        assert 0 < finished < 50
        assert await said(model) == "one two three four"
        await endpoints.until(lambda: endpoints.open == 0)
        # What is open waits for the next turn: had any been lost, it would be one for each.
        assert endpoints.connections <= 2
        await model.close()
        await endpoints.until(lambda: endpoints.connections == 0)


async def test_a_handshake_that_is_cancelled_is_closed_at_once() -> None:
    begun, closed = asyncio.Event(), asyncio.Event()

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            begun.set()
        closed.set()

    async with listening(never_answer) as place:
        model = EndpointModel(ChatSettings(url=f"https://{place}/v1"))
        working = asyncio.create_task(said(model))
        await begun.wait()
        working.cancel()
        await closed.wait()
        await model.close()


async def test_closing_ends_what_is_under_way() -> None:
    async with serving() as endpoints, model_of(endpoints) as model:
        endpoints.fail("chat", Fault("hang"))
        working = asyncio.create_task(said(model))
        await endpoints.until(lambda: bool(endpoints.asked["chat"]))
        await model.close()
        await endpoints.until(lambda: endpoints.connections == 0)
        working.cancel()
        await asyncio.wait({working})


async def test_what_is_no_http_is_no_endpoint() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        await reader.read()

    async with listening(greet) as place:
        model = EndpointModel(ChatSettings(url=f"http://{place}/v1"))
        with pytest.raises(StageError, match="cannot be reached"):
            await said(model)
        await model.close()


async def test_an_endpoint_that_takes_connections_and_says_nothing_does_not_hold_up_the_start() -> (
    None
):
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(say_nothing) as place:
        model = EndpointModel(ChatSettings(url=f"http://{place}/v1", timeout_seconds=0.1))
        with capture_logs() as logs:
            await model.prepare()
        assert [(log["event"], log["problem"]) for log in logs] == [
            ("agent.endpoint_silent", "TimeoutError")
        ]
        await model.close()


@pytest.mark.parametrize(
    ("host", "by_proxy"), [("127.0.0.1:9", False), ("localhost:9", False), ("models.test", True)]
)
async def test_the_proxy_of_the_environment_is_used_but_not_for_this_machine(
    monkeypatch: pytest.MonkeyPatch, host: str, by_proxy: bool
) -> None:
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))

    async with listening(proxy) as place:
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTP_PROXY", f"http://{place}")
        monkeypatch.setenv("http_proxy", f"http://{place}")
        model = EndpointModel(ChatSettings(url=f"http://{host}/v1"))
        with pytest.raises(StageError, match="cannot be reached"):
            await said(model)
        await model.close()
    line = b"POST http://models.test/v1/chat/completions HTTP/1.1\r\n"
    assert bool(asked) == by_proxy
    assert all(request.startswith(line) for request in asked)


async def test_a_query_in_the_url_is_kept() -> None:
    async with serving() as endpoints:
        settings = ChatSettings(url=f"{endpoints.url}/?api-version=preview")
        model = EndpointModel(settings)
        assert await said(model) == endpoints.script.reply
        await model.close()
        assert endpoints.paths[-1] == "/v1/chat/completions?api-version=preview"


def test_an_endpoint_needs_a_url() -> None:
    with pytest.raises(ConfigError, match=r"agent\.chat\.url"):
        EndpointModel(ChatSettings())
