"""Steering by a transceiver itself: whatever the protocol, its answers name the right ingresses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from firsthop.addresses import Candidates
from firsthop.backends.echo import EchoBackend
from firsthop.calls.calls import Calls
from firsthop.config import FleetSettings, Settings, SignalingSettings, TransceiverSettings
from firsthop.errors import ConfigError
from firsthop.telemetry.metrics import Metrics
from firsthop.transceiver.service import TransceiverService
from signaling.edge import API_KEY, BEARER, OFFER, FakeCalls, client_of

FLEET: dict[str, Any] = {
    "clusters": [{"id": 7, "name": "fra", "location": [50.1, 8.7], "networks": ["10.1.0.0/16"]}],
    "ingresses": [
        {
            "id": 1,
            "name": "fra",
            "location": [50.1, 8.7],
            "udp": ["203.0.113.1:3478", "203.0.113.1:3479"],
            "tcp": ["203.0.113.1:443"],
        },
        {"id": 2, "name": "iad", "location": [39.0, -77.5], "udp": ["203.0.113.2:3478"]},
        {"id": 3, "name": "sin", "location": [1.3, 103.8], "udp": ["203.0.113.3:3478"]},
    ],
}
FRANKFURT = Candidates(
    ("203.0.113.1:3478", "203.0.113.1:3479", "203.0.113.2:3478"), ("203.0.113.1:443",)
)
VIRGINIA = Candidates(
    ("203.0.113.2:3478", "203.0.113.1:3478", "203.0.113.1:3479"), ("203.0.113.1:443",)
)
IN_NEW_YORK = {"Firsthop-Location": "40.7,-74.0"}
SDP = {"Content-Type": "application/sdp"}
JSON = {"Content-Type": "application/json"}
BODY = json.dumps({"sdp": OFFER, "type": "offer", "webrtc_id": "a"})


class Steered:
    """A transceiver with a fleet file, and the calls that are placed."""

    def __init__(self, folder: Path, fleet: dict[str, Any] = FLEET, cluster: int = 7) -> None:
        (folder / "fleet.yaml").write_text(json.dumps(fleet))
        settings = Settings(
            fleet=FleetSettings(file=str(folder / "fleet.yaml")),
            signaling=SignalingSettings(api_keys=(API_KEY,)),
            transceiver=TransceiverSettings(cluster=cluster),
        )
        self.service = TransceiverService(settings, Metrics(), EchoBackend())
        self.calls = FakeCalls(self.service.calls.ids)
        self.service.calls = cast(Calls, self.calls)

    async def place(
        self, url: str = "/whip", peer: str = "127.0.0.1", **headers: str
    ) -> httpx.Response:
        """Place a call."""
        body, kind = (BODY, JSON) if "offer" in url else (OFFER, SDP)
        client = client_of(self.service, peer)
        return await client.post(url, content=body, headers=BEARER | kind | headers)

    @property
    def candidates(self) -> Candidates | None:
        """What the last answer was to name."""
        steered = self.calls.terms[-1].steered
        return None if steered is None else steered.candidates


@pytest.fixture
async def steered(tmp_path: Path) -> AsyncIterator[Steered]:
    yield Steered(tmp_path)


@pytest.mark.parametrize("url", ["/whip", "/v1/realtime/calls", "/api/offer", "/webrtc/offer"])
async def test_every_protocol_names_the_ingresses_near_its_client(
    steered: Steered, url: str
) -> None:
    response = await steered.place(url, **IN_NEW_YORK)
    assert response.status_code in {200, 201}, response.text
    assert response.headers["firsthop-steered"] == "cluster=7; ingress=2,1"
    assert steered.candidates == VIRGINIA


async def test_a_client_from_nowhere_gets_those_near_the_cluster(steered: Steered) -> None:
    response = await steered.place()
    assert response.headers["firsthop-steered"] == "cluster=7; ingress=1,2"
    assert steered.candidates == FRANKFURT


async def test_a_stranger_cannot_say_where_it_is_nor_choose(steered: Steered) -> None:
    lies = {"Firsthop-Ingress": "3", "CF-Ray": "230b030023ae2822-SIN", **IN_NEW_YORK}
    await steered.place(peer="203.0.113.7", **lies)
    assert steered.candidates == FRANKFURT


async def test_a_trusted_proxy_chooses(steered: Steered) -> None:
    response = await steered.place(**{"Firsthop-Ingress": "3,1"})
    assert response.headers["firsthop-steered"] == "cluster=7; ingress=3,1"
    assert steered.candidates is not None
    assert steered.candidates.udp[0] == "203.0.113.3:3478"


@pytest.mark.parametrize("header", ["", "4", "999", "x", "1;2", "-1", "1.5", ",", "1,,2"])
async def test_a_choice_that_makes_no_sense_is_none(steered: Steered, header: str) -> None:
    await steered.place(**{"Firsthop-Ingress": header})
    assert steered.candidates == FRANKFURT


async def test_of_a_choice_what_makes_sense_is_taken(steered: Steered) -> None:
    response = await steered.place(**{"Firsthop-Ingress": "9, 3, 3"})
    assert response.headers["firsthop-steered"] == "cluster=7; ingress=3"


async def test_without_ingresses_answers_name_what_the_settings_say(tmp_path: Path) -> None:
    steered = Steered(tmp_path, {**FLEET, "ingresses": []})
    response = await steered.place()
    assert response.headers["firsthop-steered"] == "cluster=7; ingress="
    assert steered.candidates is None


async def test_a_refusal_does_not_tell_what_was_decided(steered: Steered) -> None:
    client = client_of(steered.service)
    response = await client.post("/whip", content="nothing", headers=BEARER | SDP)
    assert response.status_code == 400
    assert "firsthop-steered" not in response.headers


def test_a_transceiver_has_to_be_in_its_fleet(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"transceiver\.cluster: 1 is no cluster .* which has 7"):
        Steered(tmp_path, cluster=1)
