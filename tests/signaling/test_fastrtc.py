"""FastRTC's protocol: what its clients post, and what they read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from firsthop.backends.base import Traits
from firsthop.errors import OverloadedError
from firsthop.signaling.fastrtc import TextChannel
from firsthop.signaling.http import MAX_BODY_BYTES
from signaling.edge import API_KEY, BEARER, CALL, OFFER, Edge, refusal

URL = "/webrtc/offer"
OTHER = {"Authorization": f"Bearer {API_KEY[::-1]}"}
CANDIDATE = {"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host", "sdpMid": "0"}


@pytest.fixture
def edge() -> Edge:
    return Edge()


async def post(edge: Edge, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    response = await edge.post_json(URL, body, **headers)
    assert response.status_code == 200, "clients read the body only then"
    answer: dict[str, Any] = response.json()
    return answer


async def offer(edge: Edge, webrtc_id: str = "7h3f9k", **headers: str) -> dict[str, Any]:
    body = {"sdp": OFFER, "type": "offer", "webrtc_id": webrtc_id}
    return await post(edge, body, **headers)


async def trickle(edge: Edge, candidate: object = CANDIDATE, **headers: str) -> dict[str, Any]:
    body = {"candidate": candidate, "type": "ice-candidate", "webrtc_id": "7h3f9k"}
    return await post(edge, body, **headers)


def failure(answer: dict[str, Any]) -> Any:
    assert answer["status"] == "failed"
    return answer["meta"]["error"]


# Offers.


async def test_an_offer_is_answered(edge: Edge) -> None:
    answer = await offer(edge)
    assert answer == {"sdp": "v=0\r\ns=an answer\r\n", "type": "answer"}
    assert edge.calls.offers == [OFFER]
    [terms] = edge.calls.terms
    assert terms.channel is TextChannel


async def test_a_query_may_name_the_model(edge: Edge) -> None:
    body = {"sdp": OFFER, "type": "offer", "webrtc_id": "x"}
    await edge.post_json(f"{URL}?model=any", body)
    [terms] = edge.calls.terms
    assert terms.session == {"model": "any"}


async def test_the_same_connection_again_ends_the_call_before(edge: Edge) -> None:
    await offer(edge)
    edge.calls.opens = "rtc_43"
    edge.calls.owned.add("rtc_43")
    await offer(edge)
    assert edge.calls.hung_up == [CALL]
    await offer(edge, "another")
    assert edge.calls.hung_up == [CALL]


async def test_nobody_ends_the_calls_of_others_by_their_name() -> None:
    edge = Edge(api_keys=[API_KEY, API_KEY[::-1]])
    await offer(edge, **BEARER)
    assert failure(await trickle(edge, **OTHER)) == "unknown_connection"
    await offer(edge, **OTHER)
    assert edge.calls.hung_up == []


async def test_no_room_is_told_in_fastrtcs_words(edge: Edge) -> None:
    await offer(edge)
    edge.calls.refusal = OverloadedError("all sessions are taken")
    answer = await offer(edge, "another")
    assert answer == {
        "status": "failed",
        "meta": {"error": "concurrency_limit_reached", "limit": 1},
    }


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"sdp": "x"}, "SDP offer: line 1"),
        ({"sdp": None}, "SDP offer"),
        ({"sdp": 3}, "SDP offer"),
        ({"type": "answer"}, "ice-candidate"),
        ({"type": None}, "ice-candidate"),
        ({"webrtc_id": None}, "webrtc_id"),
        ({"webrtc_id": ""}, "webrtc_id"),
        ({"webrtc_id": "x" * 129}, "webrtc_id"),
        ({"webrtc_id": {}}, "webrtc_id"),
        ({"candidate": 7, "type": "ice-candidate", "webrtc_id": 1}, "webrtc_id"),
    ],
)
async def test_a_request_that_is_wrong_says_what(
    edge: Edge, change: dict[str, Any], word: str
) -> None:
    body = {"sdp": OFFER, "type": "offer", "webrtc_id": "x"} | change
    assert word in failure(await post(edge, body))
    assert edge.calls.offers == []


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b""])
async def test_a_body_that_is_no_object_says_so(edge: Edge, body: bytes) -> None:
    response = await edge.post(body, "application/json", URL)
    assert response.status_code == 200
    assert failure(response.json())


async def test_who_may_not_ask_is_told_as_everywhere() -> None:
    edge = Edge(api_keys=[API_KEY])
    body = {"sdp": OFFER, "type": "offer", "webrtc_id": "x"}
    refusal(await edge.post_json(URL, body), 401)
    response = await edge.post(b"x" * (MAX_BODY_BYTES + 1), "application/json", URL, **BEARER)
    refusal(response, 413)


# Candidates.


@pytest.mark.parametrize("candidate", [CANDIDATE, {"candidate": ""}, {}, None])
async def test_candidates_are_taken(edge: Edge, candidate: object) -> None:
    await offer(edge)
    assert await trickle(edge, candidate) == {"status": "success"}


@pytest.mark.parametrize("candidate", [{"candidate": "x"}, {"candidate": 7}])
async def test_a_candidate_that_is_none_is_refused(edge: Edge, candidate: object) -> None:
    await offer(edge)
    assert failure(await trickle(edge, candidate)) == "invalid_candidate_format"


async def test_candidates_of_a_call_that_is_over_are_for_nobody(edge: Edge) -> None:
    assert failure(await trickle(edge)) == "unknown_connection"
    await offer(edge)
    edge.calls.owned = set()
    assert failure(await trickle(edge)) == "unknown_connection"


async def test_connections_that_are_over_are_forgotten(edge: Edge) -> None:
    await offer(edge)
    edge.calls.owned = {"rtc_43"}
    edge.calls.offers.clear()
    edge.calls.opens = "rtc_43"
    await offer(edge, "another")
    edge.calls.owned = {"rtc_43", CALL}
    assert failure(await trickle(edge)) == "unknown_connection"


# The data channel.


@pytest.fixture
def said() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def channel(said: list[dict[str, Any]]) -> TextChannel:
    return TextChannel(lambda text: said.append(json.loads(text)), Traits())


def test_the_channel_tells_who_speaks(channel: TextChannel, said: list[dict[str, Any]]) -> None:
    channel.opened('{"type": "session.created"}')
    for kind in (
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "response.created",
        "response.output_audio_transcript.delta",
        "response.done",
    ):
        channel.deliver(json.dumps({"type": kind}))
    assert [message["type"] for message in said] == ["log"] * 4
    words = [message["data"] for message in said]
    assert words == ["connected", "started_talking", "pause_detected", "response_starting"]


def test_the_channel_tells_what_went_wrong(
    channel: TextChannel, said: list[dict[str, Any]]
) -> None:
    channel.opened("{}")
    channel.deliver(json.dumps({"type": "error", "error": {"message": "out of order"}}))
    assert said[1] == {"type": "error", "data": "out of order", "message": "out of order"}


@pytest.mark.parametrize("text", ["handshake", "", '{"type": "session.update", "session": {}}'])
def test_what_clients_say_means_nothing(channel: TextChannel, text: str) -> None:
    assert channel.received(text) == []
