"""Making client secrets over HTTP, in the shape of today and in that of the beta."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from firsthop.calls.terms import Terms
from firsthop.realtime.events import CLIENT_EVENTS
from firsthop.signaling.clientsecret import ClientSecrets
from signaling.edge import API_KEY, BEARER, OFFER, Edge, refusal

KEY = os.urandom(32)
SECRETS = "/v1/realtime/client_secrets"
SESSIONS = "/v1/realtime/sessions"


@pytest.fixture
def edge() -> Edge:
    return Edge({0: KEY.hex()}, api_keys=[API_KEY])


def opened(value: str) -> Terms:
    return ClientSecrets({0: KEY}, 0).open(value, time.time())


async def made(edge: Edge, body: Any, url: str = SECRETS) -> dict[str, Any]:
    response = await edge.post_json(url, body, **BEARER)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_a_secret_comes_with_its_expiry_and_the_whole_session(edge: Edge) -> None:
    session = {"type": "realtime", "model": "any", "audio": {"output": {"voice": "marin"}}}
    before = int(time.time())
    answer = await made(edge, {"session": session})
    assert answer.keys() == {"value", "expires_at", "session"}
    assert answer["value"].startswith("ek_")
    assert before + 600 <= answer["expires_at"] <= time.time() + 600
    assert answer["session"]["object"] == "realtime.session"
    assert answer["session"]["id"].startswith("sess_")
    assert answer["session"]["model"] == "any"
    assert answer["session"]["audio"]["output"]["voice"] == "marin"
    assert answer["session"]["audio"]["input"]["turn_detection"]["type"] == "server_vad"
    assert opened(answer["value"]) == Terms(session=session)


async def test_a_browser_that_is_given_the_secret_places_a_call_with_it(edge: Edge) -> None:
    answer = await made(edge, {"session": {"type": "realtime", "instructions": "Be kind."}})
    headers = {"Authorization": f"Bearer {answer['value']}"}
    assert (await edge.post(OFFER, "application/sdp", **headers)).status_code == 201
    assert edge.calls.terms[0].session["instructions"] == "Be kind."


@pytest.mark.parametrize("body", [b"", b"{}", b'{"session": null, "expires_after": null}'])
async def test_everything_about_a_secret_has_a_default(edge: Edge, body: bytes) -> None:
    response = await edge.post(body, "application/json", SECRETS, **BEARER)
    assert response.status_code == 200
    assert opened(response.json()["value"]) == Terms()


@pytest.mark.parametrize("seconds", [10, 7200])
async def test_how_long_a_secret_is_good_can_be_chosen(edge: Edge, seconds: int) -> None:
    before = int(time.time())
    after = {"anchor": "created_at", "seconds": seconds}
    answer = await made(edge, {"expires_after": after})
    assert before + seconds <= answer["expires_at"] <= time.time() + seconds


async def test_a_secret_may_say_which_events_its_callers_send(edge: Edge) -> None:
    events = ["response.cancel", "output_audio_buffer.clear"]
    client = {"data_channel": {"allowed_client_events": events}}
    answer = await made(edge, {"session": {"client": client}})
    assert answer["session"]["client"]["data_channel"]["allowed_client_events"] == sorted(events)
    assert opened(answer["value"]) == Terms(session={}, client_events=frozenset(events))


async def test_a_call_placed_by_a_server_may_say_so_too(edge: Edge) -> None:
    session: Any = {"client": {"data_channel": {"allowed_client_events": []}}}
    body = {"sdp": OFFER, "session": session}
    assert (await edge.post_json("/v1/realtime/calls", body, **BEARER)).status_code == 201
    assert edge.calls.terms == [Terms(session={}, client_events=frozenset())]


LISTS: list[tuple[Any, str, str]] = [
    ({"data_channel": {"allowed_client_events": "response.cancel"}}, "invalid_value", "list"),
    ({"data_channel": {"allowed_client_events": [1]}}, "invalid_value", "list"),
    ({"data_channel": {"allowed_client_events": ["response.crate"]}}, "unknown_event", "'respon"),
    ({"data_channel": {"allowed_server_events": []}}, "unknown_parameter", "nothing else"),
    ({"data_channel": 3}, "invalid_json", "object"),
    ({"websocket": {}}, "unknown_parameter", "nothing else"),
    (3, "invalid_json", "object"),
]


@pytest.mark.parametrize(("client", "code", "word"), LISTS)
async def test_a_list_of_events_that_is_wrong_is_refused(
    edge: Edge, client: Any, code: str, word: str
) -> None:
    for url, body in (
        (SECRETS, {"session": {"client": client}}),
        ("/v1/realtime/calls", {"sdp": OFFER, "session": {"client": client}}),
    ):
        error = refusal(await edge.post_json(url, body, **BEARER), 400)
        assert error["code"] == code
        assert error["param"].startswith("session.client")
        assert word in error["message"]
    assert edge.calls.offers == []


WRONG: list[tuple[Any, str, str]] = [
    ([], "invalid_json", "body"),
    ({"expires_after": 600}, "invalid_json", "expires_after"),
    ({"expires_after": {"seconds": 9}}, "invalid_value", "expires_after.seconds"),
    ({"expires_after": {"seconds": 7201}}, "invalid_value", "expires_after.seconds"),
    ({"expires_after": {"seconds": True}}, "invalid_value", "expires_after.seconds"),
    ({"expires_after": {"seconds": "60"}}, "invalid_value", "expires_after.seconds"),
    ({"expires_after": {"anchor": "now"}}, "invalid_value", "expires_after.anchor"),
    ({"expires_after": {"second": 60}}, "unknown_parameter", "expires_after.second"),
    ({"expires": 60}, "unknown_parameter", "expires"),
    ({"session": []}, "invalid_json", "session"),
    ({"session": {"type": "transcription"}}, "invalid_value", "session.type"),
    ({"session": {"tools": 3}}, "invalid_value", "session.tools"),
    ({"session": {"audio": {"input": 3}}}, "invalid_value", "session.audio.input"),
    ({"session": {"instructions": os.urandom(6000).hex()}}, "session_too_large", "session"),
]


@pytest.mark.parametrize(("body", "code", "param"), WRONG)
async def test_a_wish_that_is_wrong_is_refused(
    edge: Edge, body: Any, code: str, param: str
) -> None:
    error = refusal(await edge.post_json(SECRETS, body, **BEARER), 400)
    assert (error["code"], error["param"]) == (code, param)


@pytest.mark.parametrize(
    "text",
    ["{", '{"session": {"x": NaN}}', '{"session": {"x": 1e999}}', '{"a":' * 100 + "1" + "}" * 100],
)
@pytest.mark.parametrize("url", [SECRETS, SESSIONS, "/v1/realtime/calls"])
async def test_what_is_no_sound_json_is_refused(edge: Edge, url: str, text: str) -> None:
    error = refusal(await edge.post(text, "application/json", url, **BEARER), 400)
    assert error["code"] == "invalid_json"


async def test_another_content_type_is_refused(edge: Edge) -> None:
    response = await edge.post(b"{}", "application/sdp", SECRETS, **BEARER)
    assert "application/json" in refusal(response, 415)["message"]


async def test_without_keys_this_machine_makes_secrets_that_bind() -> None:
    edge = Edge({0: KEY.hex()})
    client = {"data_channel": {"allowed_client_events": ["response.cancel"]}}
    response = await edge.post_json(SECRETS, {"session": {"client": client}})
    secret = {"Authorization": f"Bearer {response.json()['value']}"}
    assert (await edge.post(OFFER, "application/sdp", **secret)).status_code == 201
    assert edge.calls.terms[0].client_events == frozenset({"response.cancel"})


# The beta's shape.


async def test_clients_of_the_beta_get_a_secret_in_a_flat_session(edge: Edge) -> None:
    flat = {
        "model": "any",
        "modalities": ["audio", "text"],
        "instructions": "Be kind.",
        "voice": "verse",
        "input_audio_format": "g711_ulaw",
        "output_audio_format": "pcm16",
        "input_audio_transcription": {"model": "whisper-1"},
        "turn_detection": {"type": "server_vad", "threshold": 0.7},
        "tools": [{"type": "function", "name": "stop"}],
        "tool_choice": "auto",
        "temperature": 0.8,
        "max_response_output_tokens": "inf",
    }
    answer = await made(edge, flat, SESSIONS)
    assert answer["object"] == "realtime.session"
    secret = answer.pop("client_secret")
    for name, value in flat.items():
        if name == "turn_detection":
            assert answer[name].items() >= {"type": "server_vad", "threshold": 0.7}.items()
        elif name != "temperature":
            assert answer[name] == value
    assert secret.keys() == {"value", "expires_at"}
    assert opened(secret["value"]).session == {
        "type": "realtime",
        "model": "any",
        "output_modalities": ["audio"],
        "instructions": "Be kind.",
        "audio": {
            "input": {
                "format": {"type": "audio/pcmu"},
                "transcription": {"model": "whisper-1"},
                "turn_detection": {"type": "server_vad", "threshold": 0.7},
            },
            "output": {"voice": "verse", "format": {"type": "audio/pcm", "rate": 24000}},
        },
        "tools": [{"type": "function", "name": "stop"}],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
    }


async def test_what_the_beta_did_not_know_is_refused(edge: Edge) -> None:
    for body, param in (
        ({"audio": {}}, "audio"),
        ({"input_audio_format": "mp3"}, "input_audio_format"),
        ({"input_audio_format": {}}, "input_audio_format"),
        ({"client_secret": {"value": "ek_"}}, "client_secret.value"),
        ({"modalities": "audio"}, "session.output_modalities"),
        ({"x" * 5000: 1}, "x" * 100),
    ):
        error = refusal(await edge.post_json(SESSIONS, body, **BEARER), 400)
        assert error["param"] == param


async def test_clients_of_the_beta_place_calls_without_a_path(edge: Edge) -> None:
    response = await edge.post(OFFER, "application/sdp", "/v1/realtime?model=any", **BEARER)
    assert response.status_code == 201
    assert response.headers["location"] == "/v1/realtime/calls/rtc_42"
    assert edge.calls.terms[0].session == {"model": "any"}


def test_the_events_that_can_be_listed_are_the_contracts() -> None:
    assert len(CLIENT_EVENTS) == 11


@pytest.mark.parametrize("what", ["accept", "refer", "reject"])
async def test_what_only_telephone_calls_know_is_refused_as_such(edge: Edge, what: str) -> None:
    url = f"/v1/realtime/calls/rtc_42/{what}"
    assert refusal(await edge.post_json(url, {}, **BEARER), 404)["code"] == "sip_not_supported"
