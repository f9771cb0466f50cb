"""The protocol that docs/clients.md adds as an example: it is run as it stands there."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import pytest

from firsthop import signaling
from firsthop.backends.base import Traits
from firsthop.backends.echo import EchoBackend
from firsthop.calls.ends import DataChannel
from firsthop.config import Settings, SignalingSettings, TransceiverSettings
from firsthop.realtime.events import as_json, parse
from firsthop.telemetry.metrics import Metrics
from firsthop.transceiver.service import TransceiverService
from signaling.edge import API_KEY, BEARER, client_of, refusal

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "clients.md").read_text()
OFFER = (ROOT / "tests" / "offer.sdp").read_text().replace("\n", "\r\n")


def example(title: str) -> ModuleType:
    """Return a module of the page, found by how its first line begins."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    [source] = [block for block in blocks if block.startswith(f'"""{title}')]
    module = ModuleType(title)
    exec(compile(source, "docs/clients.md", "exec"), module.__dict__)
    return module


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TransceiverService]:
    """Yield a transceiver with its real engine, and the example as its only protocol."""
    # Settings take names that there are; the example has the place of one of them.
    monkeypatch.setitem(signaling.PROTOCOLS, "whip", example("Hello: ").routes)
    settings = Settings(
        keys={0: os.urandom(32).hex()},
        signaling=SignalingSettings(protocols=("whip",), api_keys=(API_KEY,)),
        transceiver=TransceiverSettings(
            listen="127.0.0.1:0", advertise=("192.0.2.1:3478",), loopback=False
        ),
    )
    service = TransceiverService(settings, Metrics(), EchoBackend())
    service.start()
    yield service
    await service.stop()


async def test_the_example_places_a_call_and_ends_it(service: TransceiverService) -> None:
    client = client_of(service)
    placed = await client.post("/hello", json={"sdp": OFFER}, headers=BEARER)
    assert placed.status_code == 201
    assert placed.json()["answer"].startswith("v=0\r\n")
    url = f"/hello/{placed.json()['call']}"
    assert len(service.calls) == 1
    assert (await client.delete(url, headers=BEARER)).status_code == 200
    await service.calls._none.wait()
    refusal(await client.delete(url, headers=BEARER), 404)


async def test_the_example_refuses_as_all_doors_do(service: TransceiverService) -> None:
    client = client_of(service)
    refusal(await client.post("/hello", json={"sdp": OFFER}), 401)
    assert refusal(await client.post("/hello", json={}, headers=BEARER), 400)["param"] == "sdp"
    refusal(await client.post("/hello", json={"sdp": "x"}, headers=BEARER), 400)
    refusal(await client.post("/hello", content=b"x" * 100_000, headers=BEARER), 413)
    refusal(await client.post("/whip", json={"sdp": OFFER}, headers=BEARER), 404)


def test_the_examples_channel_speaks_plain_text() -> None:
    said: list[str] = []
    channel = example("Hello's").PlainText(said.append, Traits())
    assert isinstance(channel, DataChannel)
    channel.opened('{"type": "session.created"}')
    kinds = [parse(event)["type"] for event in channel.received("Good morning")]
    assert kinds == ["conversation.item.create", "response.create"]
    channel.deliver(as_json({"type": "response.created"}))
    done = {"type": "response.output_audio_transcript.done", "transcript": "How are you?"}
    channel.deliver(as_json(done))
    assert said == ["hello", "How are you?"]
