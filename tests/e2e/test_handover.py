"""Calls that go on at another transceiver, because the one that they have is about to end."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import websockets
from playwright.async_api import Route

from e2e import http, network, sound
from e2e.chromium import DemoPage, demo_page
from e2e.pages import origin
from e2e.peer import Peer
from e2e.processes import Edge, Process
from e2e.sdk_page import SdkPage, client_secret, sdk_page
from e2e.waiting import until
from firsthop.bench.endpoints import Endpoints, Script, in_turn, serving

#: The whole of a drain is for handovers: callers are asked at its very beginning.
SECONDS = 60
DRAIN: dict[str, Any] = {
    "transceiver__drain_seconds": SECONDS,
    "transceiver__handover_seconds": SECONDS,
}
API_KEY = "an-api-key-of-24-letters"
GREETING = "Good morning."


@pytest.fixture
async def next_peer() -> AsyncIterator[Peer]:
    """Yield the same client as it calls again."""
    async with Peer() as peer:
        yield peer


async def start(edge: Edge, backend: str, **more: Any) -> tuple[Process, Process]:
    """Start a relay, the transceiver that is about to end, and the one that goes on."""
    await edge.relay()
    return (
        await edge.transceiver(backend, **DRAIN, **more),
        await edge.transceiver(backend, **more),
    )


async def agent_service(edge: Edge, endpoints: Endpoints) -> dict[str, Any]:
    """Start an agent service; return the settings of transceivers before it."""
    stages = {
        f"agent__{stage}": {"url": endpoints.url} for stage in ("transcription", "chat", "speech")
    }
    agent = await edge.agent(**stages, agent__greeting=GREETING)
    return {"realtime__url": f"ws://127.0.0.1:{agent.http_port}/v1/realtime?model=any"}


async def said(peer: Peer, number: int) -> str:
    """Wait until the agent's `number`-th answer was heard to its end; return its words."""

    def heard() -> str | None:
        done = [e["response"] for e in peer.events if e["type"] == "response.done"]
        over = {e["response_id"] for e in peer.events if e["type"] == "output_audio_buffer.stopped"}
        answers = [one for one in done if one["id"] in over]
        if len(answers) < number:
            return None
        content = [part for item in answers[number - 1]["output"] for part in item["content"]]
        return "".join(str(part["transcript"]) for part in content)

    return await until(heard, f"answer {number} is heard")


def secret_in(event: dict[str, Any]) -> str:
    """The secret of a request to go on elsewhere."""
    assert 0 < event["seconds"] <= SECONDS
    return str(event["client_secret"]["value"])


async def test_the_agent_remembers_what_was_said_before_the_call_moved(
    edge: Edge, peer: Peer, next_peer: Peer
) -> None:
    script = Script(
        transcript=in_turn("My number is forty-two.", "What is my number?"),
        reply=in_turn("Noted.", "Forty-two."),
    )
    words = sound.speech("One or two words.")
    async with serving(script) as endpoints:
        before, after = await start(edge, "realtime", **await agent_service(edge, endpoints))
        await peer.call(before.url)
        peer.send({"type": "session.update", "session": {"instructions": "Keep it short."}})
        assert await said(peer, 1) == GREETING
        peer.microphone.say(words)
        assert await said(peer, 2) == "Noted."

        before.send(signal.SIGTERM)
        secret = secret_in(await peer.event("firsthop.handover"))
        await next_peer.call(after.url, secret)
        created = await next_peer.event("session.created")
        assert created["session"]["instructions"] == "Keep it short."
        await peer.connection.close()
        assert await before.exit_code() == 0, "it has nothing to wait for"

        next_peer.microphone.say(words)
        assert await said(next_peer, 1) == "Forty-two.", "and it greets nobody again"
        told = [(one["role"], one["content"]) for one in endpoints.asked["chat"][-1]["messages"]]
    assert told == [
        ("system", "Keep it short."),
        ("assistant", GREETING),
        ("user", "My number is forty-two."),
        ("assistant", "Noted."),
        ("user", "What is my number?"),
    ]
    kinds = [event["type"] for event in next_peer.events]
    assert kinds[0] == "session.created"
    committed = await next_peer.event("input_audio_buffer.committed")
    last = [e["item"]["id"] for e in peer.events if e["type"] == "conversation.item.done"][-1]
    assert committed["previous_item_id"] == last
    metrics = await after.metrics()
    assert metrics.by("result", "transceiver_handovers_total") == {"continued": 1}


async def test_a_call_by_websocket_goes_on_by_websocket(edge: Edge) -> None:
    before, after = await start(edge, "agents:archivist")

    def place(process: Process, **headers: str) -> Any:
        url = f"{process.url.replace('http', 'ws')}/v1/realtime?model=any"
        return websockets.connect(url, additional_headers=headers, proxy=None)

    async def event(socket: Any, kind: str) -> dict[str, Any]:
        async for message in socket:
            told: dict[str, Any] = json.loads(message)
            if told["type"] == kind:
                return told
        raise AssertionError(f"no {kind} before the end")

    text = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi."}]}
    ask = [{"type": "conversation.item.create", "item": text}, {"type": "response.create"}]
    transcript = "response.output_audio_transcript.done"
    async with place(before) as socket:
        assert (await event(socket, transcript))["transcript"] == "Welcome."
        for one in ask:
            await socket.send(json.dumps(one))
        assert (await event(socket, transcript))["transcript"] == "That was turn number 1."
        before.send(signal.SIGTERM)
        secret = secret_in(await event(socket, "firsthop.handover"))
        async with place(after, Authorization=f"Bearer {secret}") as again:
            for one in ask:
                await again.send(json.dumps(one))
            assert (await event(again, transcript))["transcript"] == "That was turn number 2."


async def test_who_comes_late_gets_a_call_that_knows_nothing(
    edge: Edge, peer: Peer, next_peer: Peer
) -> None:
    before, after = await start(edge, "agents:archivist")
    await peer.call(before.url)
    before.send(signal.SIGTERM)
    secret = secret_in(await peer.event("firsthop.handover"))
    before.kill()
    await next_peer.call(after.url, secret)
    assert await said(next_peer, 1) == "Welcome."
    metrics = await after.metrics()
    assert metrics.by("result", "transceiver_handovers_total") == {"lost": 1}


async def test_a_sideband_learns_where_the_call_went_and_gets_no_secret(
    edge: Edge, peer: Peer, next_peer: Peer
) -> None:
    before, after = await start(edge, "agents:archivist", signaling__api_keys=[API_KEY])
    await peer.call(before.url, API_KEY)
    bearer = {"Authorization": f"Bearer {API_KEY}"}
    call_id = peer.location.rpartition("/")[2]
    url = f"{after.url.replace('http', 'ws')}/v1/realtime?call_id={call_id}"
    async with websockets.connect(url, additional_headers=bearer, proxy=None) as sideband:
        before.send(signal.SIGTERM)
        secret = secret_in(await peer.event("firsthop.handover"))
        await next_peer.call(after.url, secret)
        await peer.connection.close()
        told = {event["type"]: event async for event in _events(sideband)}
    assert "client_secret" not in told["firsthop.handover"]
    moved_to = next_peer.location.rpartition("/")[2]
    assert told["firsthop.handed_over"]["call_id"] == moved_to
    async with http.client() as client:
        hung_up: httpx.Response = await client.post(
            f"{after.url}/v1/realtime/calls/{moved_to}/hangup", headers=bearer
        )
    assert hung_up.status_code == 200


async def _events(socket: Any) -> AsyncIterator[dict[str, Any]]:
    async for message in socket:
        yield json.loads(message)


# Browsers.


@pytest.mark.browser
async def test_the_demo_page_goes_on_elsewhere_and_its_user_hears_no_break(
    edge: Edge, tmp_path: Path
) -> None:
    before, after = await start(edge, "agents:archivist")
    question = sound.speech("What is new today?")
    pause = sound.silence(12)
    microphone = np.concatenate((sound.silence(4), question, pause, question, sound.silence(60)))
    async with demo_page(tmp_path, microphone) as page:
        await page.open(before.url)
        await page.start()
        await page.event("output_audio_buffer.stopped", number=2)
        assert (await turns_on(page))[0][0] == 1

        # What stands before transceivers sends calls to those that take some.
        async def elsewhere(route: Route) -> None:
            url = f"http://127.0.0.1:{after.http_port}"
            headers = {**route.request.headers, "origin": url}
            answer = await route.fetch(url=f"{url}/v1/realtime/calls", headers=headers)
            await route.fulfill(response=answer)

        await page.page.route("**/v1/realtime/calls", elsewhere)
        before.send(signal.SIGTERM)
        await page.event("session.created", number=2)
        assert await before.exit_code() == 0
        assert await page.state() != "reconnecting"

        async def answered() -> bool:
            return bool((await turns_on(page))[1])

        await until(answered, "the agent answers there", 60)
        earlier, later = await turns_on(page)
        assert later[0] == earlier[-1] + 1, "the agent there knows what was said here"
        assert (await page.page.inner_text("#log")).count("Welcome.") == 1
        metrics = await after.metrics()
        assert metrics("transceiver_sessions") == 1

        await page.page.click("#toggle")
        assert await page.reaches("ended") == "ended"


async def turns_on(page: DemoPage) -> tuple[list[int], list[int]]:
    """Return the turns that the agent has counted, before the call moved and since.

    One question may be two turns to a server that was in want of time.
    """
    here, _, there = (await page.page.inner_text("#log")).partition("another server")
    earlier, later = (re.findall(r"turn number (\d+)\.", part) for part in (here, there))
    return list(map(int, earlier)), list(map(int, later))


@pytest.mark.browser
async def test_the_unmodified_sdk_goes_on_by_connecting_once_more(
    edge: Edge, tmp_path: Path
) -> None:
    port = network.ports()
    before, after = await start(
        edge,
        "agents:archivist",
        signaling__allowed_origins=[origin(port)],
        signaling__api_keys=[API_KEY],
    )
    async with sdk_page(tmp_path, port) as page:
        await page.connect(before.url, await client_secret(before.url, API_KEY))
        await written(page, 1)
        before.send(signal.SIGTERM)
        asked = await page.event("firsthop.handover")
        # The old session is closed once the new one is there, by the application or the server.
        await page.connect(after.url, secret_in(asked))
        await written(page, 2)
        assert [event["type"] for event in await page.log("unknown")] == ["firsthop.handover"]
        assert not await page.log("errors")


async def written(page: SdkPage, number: int) -> None:
    """Write to the agent; check that it knows the how-manieth time it is."""
    await page.do("write", "Hello.")
    await page.event(
        "response.output_audio_transcript.done",
        lambda event: event["transcript"] == f"That was turn number {number}.",
    )
