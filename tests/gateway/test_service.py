"""The gateway in front of real transceivers: calls by every protocol, and what goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
import yaml
from structlog.testing import capture_logs
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from e2e.waiting import until
from firsthop.calls.callid import CallIds
from firsthop.config import FleetSettings, Settings
from firsthop.errors import ConfigError
from firsthop.gateway import upstream
from firsthop.gateway.service import GatewayService
from firsthop.telemetry.metrics import Metrics
from gateway.world import NEAR, OFFER, SDP, World, world
from signaling.edge import API_KEY, BEARER, refusal

FRAGMENT = "application/trickle-ice-sdpfrag"


@contextlib.asynccontextmanager
async def socket_to(
    world: World, query: str, headers: dict[str, str] = BEARER, **options: Any
) -> AsyncIterator[ClientConnection]:
    url = f"ws://{world.address}/v1/realtime?{query}"
    options = {"proxy": None, "additional_headers": headers, **options}
    async with websockets.connect(url, **options) as connection:
        yield connection


async def closed(connection: ClientConnection) -> int | None:
    with contextlib.suppress(ConnectionClosed):
        async for _ in connection:
            pass
    await connection.wait_closed()
    return connection.close_code


def candidates(answer: str) -> list[str]:
    lines = [line.split() for line in answer.splitlines() if line.startswith("a=candidate:")]
    return [line[4] for line in lines if line[2].lower() == "udp"]


# WHIP.


@pytest.mark.parametrize("near", [1, 2])
async def test_a_call_by_whip_lives_and_ends_in_the_cluster_near_its_client(
    tmp_path: Path, near: int
) -> None:
    async with world(tmp_path) as found:
        placed = await found.place(near)
        assert placed.status_code == 201, placed.text
        assert placed.headers["firsthop-steered"] == f"cluster={near}; ingress={near},{3 - near}"
        path = placed.headers["location"]
        assert path.startswith("/whip/rtc_")
        assert CallIds.cluster_of(path.removeprefix("/whip/")) == near
        assert (found.calls(near), found.calls(3 - near)) == (1, 0)
        # Whatever is asked of the call goes there, wherever it is asked from.
        elsewhere = NEAR[3 - near]
        assert (await found.client.get(path, headers=elsewhere)).status_code == 204
        condition = {"Content-Type": FRAGMENT, "If-Match": placed.headers["etag"], **elsewhere}
        patched = await found.client.patch(
            path, content="a=end-of-candidates\r\n", headers=condition
        )
        assert patched.status_code == 204, patched.text
        stale = await found.client.patch(
            path, content="a=end-of-candidates\r\n", headers=condition | {"If-Match": '"0"'}
        )
        assert refusal(stale, 412)["code"] == "precondition_failed"
        assert (await found.client.delete(path, headers=elsewhere)).status_code == 200
        # The engine says when it is over.
        await until(lambda: not found.calls(near), "the call is over")
        assert refusal(await found.client.delete(path), 404)["code"] == "call_not_found"
        assert found.counted(near, "answered") == 6
        assert found.counted(3 - near, "answered") == 0


async def test_the_answer_names_the_ingress_points_in_their_order(tmp_path: Path) -> None:
    async with world(tmp_path) as found:
        placed = await found.place(2)
        assert candidates(placed.text) == ["203.0.113.2", "203.0.113.1"]


async def test_what_is_no_call_of_any_cluster_is_not_looked_for(tmp_path: Path) -> None:
    async with world(tmp_path) as found:
        other = CallIds({0: bytes(32)}, 0, "10.0.0.1:8080", cluster=77).mint()
        forged = CallIds({0: bytes(32)}, 0, "10.0.0.1:8080", cluster=2).mint()
        for id_ in (other, "rtc_1", "x" * 1000, "%00"):
            error = refusal(await found.client.delete(f"/whip/{id_}"), 404)
            assert error["code"] == "call_not_found"
            assert len(error["message"]) < 300
        assert found.counted(2, "answered") == 0
        # What has the right form is the cluster's own to refuse.
        assert refusal(await found.client.delete(f"/whip/{forged}"), 404)
        assert found.counted(2, "answered") == 1


# The Realtime API.


async def test_a_secret_of_one_cluster_is_good_in_the_other(tmp_path: Path) -> None:
    async with world(tmp_path) as found:
        made = await found.client.post("/v1/realtime/client_secrets", json={}, headers=NEAR[1])
        assert made.status_code == 200, made.text
        browser = {"Authorization": f"Bearer {made.json()['value']}"}
        placed = await found.client.post(
            "/v1/realtime/calls", content=OFFER, headers={**SDP, **NEAR[2], **browser}
        )
        assert placed.status_code == 201, placed.text
        call_id = placed.headers["location"].rpartition("/")[2]
        assert CallIds.cluster_of(call_id) == 2
        async with socket_to(found, f"call_id={call_id}", BEARER | dict(NEAR[1])) as sideband:
            greeting = json.loads(await sideband.recv())
            assert greeting["type"] == "session.created"
            await sideband.send("é")
            assert json.loads(await sideband.recv())["error"]["code"] == "invalid_json"
            hang_up = f"/v1/realtime/calls/{call_id}/hangup"
            assert (await found.client.post(hang_up, headers=NEAR[1])).status_code == 200
            assert await closed(sideband) == 1000
        assert refusal(await found.client.post(hang_up), 404)["code"] == "call_not_found"


async def test_without_keys_in_common_a_secret_is_good_in_its_own_cluster_only(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, secret_keys=False) as found:
        made = await found.client.post("/v1/realtime/client_secrets", json={}, headers=NEAR[1])
        browser = {"Authorization": f"Bearer {made.json()['value']}"}
        assert (await found.place(1, **browser)).status_code == 201
        error = refusal(await found.place(2, **browser), 401)
        assert error["code"] == "invalid_client_secret"


async def test_a_call_by_websocket_is_placed_near_its_client(tmp_path: Path) -> None:
    async with (
        world(tmp_path) as found,
        socket_to(found, "model=any", BEARER | dict(NEAR[2])) as caller,
    ):
        assert json.loads(await caller.recv())["type"] == "session.created"
        assert caller.response is not None
        call_id = caller.response.headers["location"].rpartition("/")[2]
        assert CallIds.cluster_of(call_id) == 2
        assert caller.response.headers["firsthop-steered"] == "cluster=2"
        assert found.calls(2) == 1
        # Sound comes in messages that are larger than a sideband's.
        await caller.send("x" * 300_000)
        while (event := json.loads(await caller.recv()))["type"] != "error":
            pass
        assert event["error"]["code"] == "invalid_json"


async def test_a_browsers_subprotocol_is_its_credential(tmp_path: Path) -> None:
    offered = ["realtime", f"openai-insecure-api-key.{API_KEY}"]
    async with (
        world(tmp_path) as found,
        socket_to(found, "model=any", {}, subprotocols=offered) as caller,
    ):
        assert caller.subprotocol == "realtime"


async def test_what_the_transceiver_refuses_is_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as found:
        response = await found.client.post(
            "/whip", content=OFFER, headers={**SDP, "Authorization": "Bearer wrong"}
        )
        assert refusal(response, 401)["code"] == "invalid_api_key"
        assert response.headers["www-authenticate"] == "Bearer"
        wrong = await found.client.post("/whip", content="v=0", headers=SDP)
        assert refusal(wrong, 400)["code"] == "invalid_offer"
        for query, headers, status in (
            ("model=any", {}, 401),
            ("", BEARER, 400),
            ("call_id=rtc_x", BEARER, 404),
            ("call_id=a&call_id=b", BEARER, 400),
        ):
            with pytest.raises(InvalidStatus) as error:
                async with socket_to(found, query, headers):
                    pass
            assert error.value.response.status_code == status
            assert json.loads(bytes(error.value.response.body or b""))["error"]["code"]


async def test_pages_of_other_origins_are_refused_and_those_of_the_gateway_are_not(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as found:
        own = {"Origin": f"http://{found.address}"}
        assert (await found.place(1, **own)).status_code == 201
        other = {"Origin": "https://elsewhere.example"}
        assert refusal(await found.place(1, **other), 403)["code"] == "origin_not_allowed"
        async with socket_to(found, "model=any", BEARER | own):
            pass
        with pytest.raises(InvalidStatus):
            async with socket_to(found, "model=any", BEARER | other):
                pass


# Pipecat and FastRTC.


async def test_a_call_of_pipecats_client_goes_on_where_it_is(tmp_path: Path) -> None:
    async with world(tmp_path) as found:
        body = {"sdp": OFFER, "type": "offer"}
        placed = await found.client.post("/api/offer", json=body, headers=NEAR[2])
        assert placed.headers["firsthop-steered"] == "cluster=2; ingress=2,1"
        pc_id = placed.json()["pc_id"]
        again = await found.client.post(
            "/api/offer", json={**body, "pc_id": pc_id}, headers=NEAR[1]
        )
        assert again.json() == placed.json()
        trickled = {"pc_id": pc_id, "candidates": []}
        response = await found.client.patch("/api/offer", json=trickled, headers=NEAR[1])
        assert response.json() == {"status": "success"}
        assert (found.calls(1), found.calls(2)) == (0, 1)
        lost = {"pc_id": "rtc_x", "candidates": []}
        refusal(await found.client.patch("/api/offer", json=lost), 404)


async def test_a_session_that_was_started_is_known_in_all_clusters(tmp_path: Path) -> None:
    async with world(tmp_path) as found:
        started = await found.client.post("/start", json={}, headers=NEAR[1])
        url = f"/sessions/{started.json()['sessionId']}/api/offer"
        body = {"sdp": OFFER, "type": "offer"}
        placed = await found.client.post(url, json=body, headers=NEAR[2])
        assert placed.status_code == 200, placed.text
        assert CallIds.cluster_of(placed.json()["pc_id"]) == 2


async def test_a_client_whose_cluster_is_gone_gets_another_call(tmp_path: Path) -> None:
    async with world(tmp_path, up=(1,)) as found:
        gone = CallIds({0: bytes(32)}, 0, "10.0.0.1:8080", cluster=2).mint()
        body = {"sdp": OFFER, "type": "offer", "pc_id": gone, "restart_pc": True}
        placed = await found.client.post("/api/offer", json=body, headers=NEAR[2])
        assert placed.status_code == 200, placed.text
        assert CallIds.cluster_of(placed.json()["pc_id"]) == 1
        trickled = {"pc_id": gone, "candidates": []}
        response = await found.client.patch("/api/offer", json=trickled)
        assert refusal(response, 502)["code"] == "cluster_unreachable"


async def test_a_client_of_fastrtc_meets_the_transceiver_that_it_met(tmp_path: Path) -> None:
    async with world(tmp_path) as found:
        body = {"sdp": OFFER, "type": "offer", "webrtc_id": "abc"}
        placed = await found.client.post("/webrtc/offer", json=body, headers=NEAR[2])
        assert placed.json()["type"] == "answer", placed.text
        candidate = {"type": "ice-candidate", "webrtc_id": "abc", "candidate": {"candidate": ""}}
        response = await found.client.post("/webrtc/offer", json=candidate, headers=NEAR[2])
        assert response.json() == {"status": "success"}


# What goes wrong.


async def test_a_cluster_that_is_down_is_passed_over(tmp_path: Path) -> None:
    async with world(tmp_path, up=(1,)) as found:
        placed = await found.place(2)
        assert placed.status_code == 201
        assert placed.headers["firsthop-steered"] == "cluster=1; ingress=2,1"
        async with socket_to(found, "model=any", BEARER | dict(NEAR[2])):
            assert found.calls(1) == 2


async def test_a_cluster_that_is_full_is_passed_over_and_at_last_there_is_no_room(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, max_sessions={1: 1, 2: 1}) as found:
        assert CallIds.cluster_of((await found.place(1)).headers["location"][6:]) == 1
        assert CallIds.cluster_of((await found.place(1)).headers["location"][6:]) == 2
        response = await found.place(1)
        refusal(response, 503)
        assert int(response.headers["retry-after"]) > 0
        body = {"sdp": OFFER, "type": "offer", "webrtc_id": "abc"}
        refusal(await found.client.post("/webrtc/offer", json=body, headers=NEAR[1]), 503)
        with pytest.raises(InvalidStatus) as error:
            async with socket_to(found, "model=any"):
                pass
        assert error.value.response.status_code == 503
        assert found.counted("none", "full") == 3


async def test_a_transceiver_that_is_down_is_passed_over_within_its_cluster(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as dead:
        url = "http://{}:{}".format(*dead.getsockname())
    async with world(tmp_path, signaling={1: [url]}) as found:
        for _ in range(4):
            placed = await found.place(1)
            assert placed.headers["firsthop-steered"] == "cluster=1; ingress=1,2"
        path = placed.headers["location"]
        for _ in range(2):
            assert (await found.client.get(path)).status_code == 204
        # Once is enough to know.
        assert found.counted(1, "unreachable") == 1
        assert found.counted(1, "answered") == 6


async def test_a_connection_that_breaks_is_told_and_nobody_is_asked_twice(
    tmp_path: Path,
) -> None:
    asked = 0

    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"GET /readyz"):
            asked += 1
        writer.close()

    server = await asyncio.start_server(broken, "127.0.0.1", 0)
    url = "http://{}:{}".format(*server.sockets[0].getsockname())
    async with server, world(tmp_path, signaling={1: [url]}) as found:
        assert refusal(await found.place(1), 502)["code"] == "cluster_lost"
        assert asked == 1
        assert (found.calls(1), found.calls(2)) == (0, 0)
        assert found.counted(1, "lost") == 1


async def test_a_transceiver_that_does_not_answer_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "_ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = "http://{}:{}".format(*silent.getsockname())
        # Two requests, for whichever comes second has its turn.
        async with world(tmp_path, signaling={1: [url, url]}) as found:
            assert refusal(await found.place(1), 504)["code"] == "cluster_timeout"
            with pytest.raises(InvalidStatus) as error:
                async with socket_to(found, "model=any", BEARER | dict(NEAR[1])):
                    pass
            assert error.value.response.status_code == 504
            assert found.calls(2) == 0


async def test_a_gateway_that_is_its_own_cluster_does_not_ask_itself_for_ever(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as found:
        fleet = yaml.safe_load((tmp_path / "fleet.yaml").read_text())
        fleet["clusters"][0]["signaling"] = [f"http://{found.address}"]
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(fleet))
        settings = Settings(fleet=FleetSettings(file=str(tmp_path / "own.yaml")))
        gateway = GatewayService(settings, Metrics())
        transport = httpx.ASGITransport(gateway.app())
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            response = await client.post("/whip", content=OFFER, headers={**SDP, **NEAR[1]})
        await gateway.stop()
        assert refusal(response, 508)["code"] == "loop_detected"


async def test_a_handshake_that_breaks_is_told_and_nobody_is_asked_twice(
    tmp_path: Path,
) -> None:
    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(broken, "127.0.0.1", 0)
    url = "http://{}:{}".format(*server.sockets[0].getsockname())
    async with server, world(tmp_path, signaling={1: [url]}) as found:
        with pytest.raises(InvalidStatus) as error:
            async with socket_to(found, "model=any", BEARER | dict(NEAR[1])):
                pass
        assert error.value.response.status_code == 502
        assert (found.calls(1), found.calls(2)) == (0, 0)


# Who asks.


async def test_a_transceiver_is_told_whom_the_gateway_asks_for(tmp_path: Path) -> None:
    async with world(tmp_path, keyless=True) as found:
        assert (await found.place(1)).status_code == 201
        for lie in ("203.0.113.7", "127.0.0.1, 203.0.113.7", "garbage"):
            response = await found.place(1, **{"X-Forwarded-For": lie})
            assert refusal(response, 403)["code"] == "local_only"


async def test_ingress_points_that_a_trusted_proxy_names_are_taken(tmp_path: Path) -> None:
    async with world(tmp_path) as found:
        placed = await found.place(1, **{"Firsthop-Ingress": "2"})
        assert placed.headers["firsthop-steered"] == "cluster=1; ingress=2"
        for nonsense in ("9", "x", "", "1;2", "1," * 100):
            placed = await found.place(1, **{"Firsthop-Ingress": nonsense})
            assert placed.headers["firsthop-steered"] == "cluster=1; ingress=1,2"


async def test_what_was_decided_is_logged_and_whose_call_it_is_is_not(tmp_path: Path) -> None:
    async with world(tmp_path) as found:
        with capture_logs() as logs:
            await found.place(1, **{"X-Forwarded-For": "203.0.113.77"})
        steered = [line for line in logs if line["event"] == "call.steered"]
        assert [line["source"] for line in steered] == ["gateway", "proxy"]
        for line in steered:
            assert (line["cluster"], line["ingresses"]) == (1, [1, 2])
            assert line["reasons"]
        assert steered[0]["call"].startswith("rtc_")
        assert "203.0.113.77" not in str(logs)
        assert API_KEY not in str(logs)


# Bounds, and its own routes.


async def test_requests_are_bounded(tmp_path: Path) -> None:
    async with world(tmp_path) as found:
        large = await found.client.post("/whip", content=b"x" * 100_000, headers=SDP)
        assert refusal(large, 413)["code"] == "body_too_large"

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b"x" * 1000

        streamed = await found.client.post("/whip", content=endless(), headers=SDP)
        assert refusal(streamed, 413)["code"] == "body_too_large"
        many = {f"x-{number}": "1" for number in range(200)}
        assert refusal(await found.place(1, **many), 431)["code"] == "headers_too_large"
        long = await found.place(1, **{"x-long": "x" * 40_000})
        assert long.status_code in {400, 431}
        assert found.calls(1) == 0


async def test_what_is_no_route_of_signaling_is_not_passed_on(tmp_path: Path) -> None:
    async with world(tmp_path) as found:
        unknown = ("/nothing", "/v1/realtime/calls/rtc_x/nothing", "/demo/..%2fmetrics", "/whip/")
        for path in unknown:
            refusal(await found.client.post(path), 404)
            refusal(await found.client.get(path), 404)
        assert found.counted(1, "answered") == found.counted(2, "answered") == 0


async def test_the_demo_page_comes_from_a_cluster(tmp_path: Path) -> None:
    async with world(tmp_path) as found:
        page = await found.client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert (await found.client.get("/demo/client.js")).status_code == 200


async def test_operators_see_how_the_gateway_does(tmp_path: Path) -> None:
    async with world(tmp_path) as found:
        assert (await found.client.get("/healthz")).text == "ok\n"
        assert (await found.client.get("/readyz")).status_code == 200
        await found.place(1)
        metrics = (await found.client.get("/metrics")).text
        assert 'firsthop_gateway_requests_total{cluster="1",result="answered"} 1.0' in metrics


async def test_preflights_are_answered_by_the_transceivers(tmp_path: Path) -> None:
    async with world(tmp_path) as found:
        response = await found.client.options("/whip")
        assert response.headers["accept-post"] == "application/sdp"
        own = await found.client.get("/nothing")
        assert own.headers["access-control-allow-origin"] == "*"


async def test_a_gateway_needs_a_fleet(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"fleet.file: a gateway needs one"):
        GatewayService(Settings(), Metrics())
    (tmp_path / "fleet.yaml").write_text("clusters: []")
    settings = Settings(fleet=FleetSettings(file=str(tmp_path / "fleet.yaml")))
    gateway = GatewayService(settings, Metrics())
    assert gateway.problem() == "there is no cluster to try"
    transport = httpx.ASGITransport(gateway.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        assert (await client.get("/readyz")).status_code == 503
        refusal(await client.post("/whip", content=OFFER, headers=SDP), 503)
