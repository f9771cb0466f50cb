"""SmallWebRTC's signaling: sessions, offers, offers that come again, and candidates."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from firsthop.backends.base import Traits
from firsthop.errors import DrainingError, OfferError, OverloadedError
from firsthop.rtvi.channel import RtviChannel
from firsthop.signaling.sealed import MAX_SEALED
from signaling.edge import ANSWER, API_KEY, BEARER, CALL, OFFER, Edge, refusal
from signaling.test_forwarding import KEYS, Pair, call_of

URL = "/api/offer"
SESSION = {"instructions": "Be kind."}
FIRST_OFFER = OFFER + "o=- 7 1 IN IP4 0.0.0.0\r\na=fingerprint:sha-256 AB\r\na=ice-ufrag:abcd\r\n"
OTHER_OFFER = FIRST_OFFER.replace("AB", "CD").replace("abcd", "wxyz")


@pytest.fixture
def edge() -> Edge:
    return Edge()


def asked(offer: str = OFFER, **more: Any) -> dict[str, Any]:
    """Return an offer as the client sends it."""
    return {"sdp": offer, "type": "offer", "pc_id": None, "restart_pc": False, **more}


def patched(call_id: str = CALL, *candidates: object) -> dict[str, Any]:
    """Return candidates as the client sends them."""
    one = {"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host", "sdp_mid": "0"}
    end = {"candidate": "", "sdp_mid": None, "sdp_mline_index": None}
    return {"pc_id": call_id, "candidates": list(candidates or (one, end))}


async def started(edge: Edge, **body: Any) -> str:
    """Start a session, and return where its calls are placed."""
    response = await edge.post_json("/start", body)
    assert response.status_code == 200, response.text
    return f"/sessions/{response.json()['sessionId']}/api/offer"


# Sessions.


async def test_a_session_is_started_and_says_which_ice_servers_it_needs(edge: Edge) -> None:
    response = await edge.client.post("/start")
    assert response.json().keys() == {"sessionId"}
    asking = {"transport": "webrtc", "enableDefaultIceServers": True, "body": {"any": "thing"}}
    told = (await edge.post_json("/start", asking)).json()
    assert told["iceConfig"] == {"iceServers": []}, "none: the edge is there for everybody"
    assert quote(told["sessionId"], safe="") == told["sessionId"]


async def test_a_call_begins_with_the_session_that_was_started(edge: Edge) -> None:
    url = await started(edge, body={"session": SESSION, "name": "Ada"})
    assert "kind" not in url
    assert (await edge.post_json(url, asked())).status_code == 200
    assert edge.calls.terms[-1].session == SESSION
    await edge.post_json(url, asked(requestData={"session": {"model": "any"}}))
    assert edge.calls.terms[-1].session == {**SESSION, "model": "any"}


async def test_any_transceiver_of_the_cluster_knows_the_session() -> None:
    url = await started(Edge(KEYS), body={"session": SESSION})
    other = Edge(KEYS)
    assert (await other.post_json(url, asked())).status_code == 200
    assert other.calls.terms[-1].session == SESSION
    stranger = await Edge().post_json(url, asked())
    assert refusal(stranger, 404)["code"] == "session_not_found"


@pytest.mark.parametrize("session_id", ["x", "%00", "%ED%A0%80", "a" * 9000, "rtc_42", CALL])
async def test_a_session_that_was_never_started_is_not_found(edge: Edge, session_id: str) -> None:
    url = f"/sessions/{session_id}/api/offer"
    for response in (await edge.post_json(url, asked()), await patch(edge, patched(), url)):
        assert refusal(response, 404)["code"] == "session_not_found"
    assert edge.calls.offers == []


async def test_a_session_is_good_for_a_day(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    url = await started(edge)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 23 * 3600)
    assert (await edge.post_json(url, asked())).status_code == 200
    monkeypatch.setattr(time, "time", lambda: now + 25 * 3600)
    assert refusal(await edge.post_json(url, asked()), 404)["code"] == "session_not_found"


async def test_the_id_of_a_session_is_no_credential() -> None:
    edge = Edge(KEYS, api_keys=[API_KEY])
    refusal(await edge.client.post("/start"), 401)
    session_id = (await edge.post_json("/start", {}, **BEARER)).json()["sessionId"]
    url = f"/sessions/{session_id}/api/offer"
    refusal(await edge.post_json(url, asked()), 401)
    for pretence in (session_id, f"ek_{session_id}"):
        bearer = {"Authorization": f"Bearer {pretence}"}
        refusal(await edge.post_json(url, asked(), **bearer), 401)
    assert (await edge.post_json(url, asked(), **BEARER)).status_code == 200


async def test_a_session_widens_no_client_secret() -> None:
    edge = Edge(KEYS, api_keys=[API_KEY])
    client = {"data_channel": {"allowed_client_events": ["response.create"]}}
    body = {"session": {"type": "realtime", "client": client}}
    made = await edge.post_json("/v1/realtime/client_secrets", body, **BEARER)
    bearer = {"Authorization": f"Bearer {made.json()['value']}"}
    response = await edge.post_json("/start", {"body": {"session": SESSION}}, **bearer)
    assert refusal(response, 403)["code"] == "session_fixed"
    by_key = await edge.post_json("/start", {"body": {"session": SESSION}}, **BEARER)
    url = f"/sessions/{by_key.json()['sessionId']}/api/offer"
    assert refusal(await edge.post_json(url, asked(), **bearer), 403)["code"] == "session_fixed"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"transport": "daily"}, "unsupported_transport", "transport"),
        ({"enableDefaultIceServers": "yes"}, "invalid_value", "enableDefaultIceServers"),
        ({"body": {"session": []}}, "invalid_json", "body.session"),
        ({"body": {"session": {"type": "transcription"}}}, None, "session.type"),
    ],
)
async def test_a_session_that_makes_no_sense_is_refused(
    edge: Edge, body: dict[str, Any], code: str | None, param: str
) -> None:
    error = refusal(await edge.post_json("/start", body), 400)
    assert code is None or error["code"] == code
    assert error["param"] == param


async def test_a_session_that_does_not_fit_an_id_is_refused(edge: Edge) -> None:
    words = secrets.token_hex(MAX_SEALED)
    body = {"body": {"session": {"instructions": words}}}
    error = refusal(await edge.post_json("/start", body), 400)
    assert error["code"] == "session_too_large"
    given = asked(request_data={"session": {"instructions": words}})
    assert (await edge.post_json(URL, given)).status_code == 200


# Offers.


async def test_an_offer_is_answered_with_the_calls_id(edge: Edge) -> None:
    response = await edge.post_json(URL, asked())
    assert response.status_code == 200
    answer = {"sdp": "v=0\r\ns=an answer\r\n", "type": "answer", "pc_id": CALL}
    assert response.json() == answer
    assert edge.calls.offers == [OFFER]


async def test_its_client_speaks_rtvi(edge: Edge) -> None:
    await edge.post_json(URL, asked())
    said: list[str] = []
    channel = edge.calls.terms[-1].channel(said.append, Traits())
    assert isinstance(channel, RtviChannel)
    channel.opened("")
    channel.received('{"label": "rtvi-ai", "type": "disconnect-bot", "id": "1"}')
    assert edge.calls.hung_up == [CALL]
    assert len(said) == 1


@pytest.mark.parametrize("name", ["request_data", "requestData"])
@pytest.mark.parametrize("told", [{"session": SESSION}, {"session": None}, {}, None, "x", [1]])
async def test_what_an_application_tells_its_bot_may_hold_a_session(
    edge: Edge, name: str, told: Any
) -> None:
    assert (await edge.post_json(URL, asked(**{name: told}))).status_code == 200
    expected = told.get("session") or {} if isinstance(told, dict) else {}
    assert edge.calls.terms[-1].session == expected


@pytest.mark.parametrize("other", ["x", {}, {"topic": "pizza"}])
async def test_of_two_spellings_the_one_with_a_session_counts(edge: Edge, other: Any) -> None:
    given = asked(request_data=other, requestData={"session": SESSION})
    assert (await edge.post_json(URL, given)).status_code == 200
    assert edge.calls.terms[-1].session == SESSION


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"sdp": None}, "missing_sdp", "sdp"),
        ({"sdp": "x"}, "invalid_offer", "sdp"),
        ({"type": "answer"}, "invalid_value", "type"),
        ({"pc_id": 3}, "invalid_value", "pc_id"),
        ({"restart_pc": "yes"}, "invalid_value", "restart_pc"),
        ({"requestData": {"session": 3}}, "invalid_json", "requestData.session"),
    ],
)
async def test_an_offer_that_makes_no_sense_is_refused(
    edge: Edge, changes: dict[str, Any], code: str, param: str
) -> None:
    error = refusal(await edge.post_json(URL, asked() | changes), 400)
    assert (error["code"], error["param"]) == (code, param)
    assert edge.calls.terms == [] or code == "invalid_offer"


async def test_no_room_gets_503(edge: Edge) -> None:
    edge.calls.refusal = OverloadedError("full")
    response = await edge.post_json(URL, asked())
    assert refusal(response, 503)["code"] == "overloaded"


async def test_a_page_may_place_calls_and_send_candidates() -> None:
    origin = "https://app.example"
    edge = Edge(allowed_origins=[origin])
    for method in ("POST", "PATCH"):
        headers = {
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        preflight = await edge.client.options(URL, headers=headers)
        assert preflight.status_code == 200
        assert method in preflight.headers["access-control-allow-methods"]


# Offers that come again.


async def test_an_offer_of_the_same_connection_gets_the_answer_again(edge: Edge) -> None:
    first = await edge.post_json(URL, asked(FIRST_OFFER))
    again = await edge.post_json(URL, asked(FIRST_OFFER, pc_id=CALL))
    assert again.json() == first.json()
    assert len(edge.calls.offers) == 1
    assert edge.calls.hung_up == []


@pytest.mark.parametrize(
    "offer",
    [
        pytest.param(FIRST_OFFER.replace("abcd", "wxyz"), id="an ICE restart"),
        pytest.param(FIRST_OFFER.replace("7 1", "7 2"), id="another m-line or direction"),
    ],
)
async def test_something_new_of_the_same_connection_is_negotiated_on_its_call(
    edge: Edge, offer: str
) -> None:
    await edge.post_json(URL, asked(FIRST_OFFER))
    # Candidates are no news.
    gathered = offer + "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n"
    for again in (offer, gathered):
        answered = await edge.post_json(URL, asked(again, pc_id=CALL))
        assert answered.json() == {"sdp": ANSWER.format(1), "type": "answer", "pc_id": CALL}
    assert edge.calls.renegotiated == [(CALL, offer)]
    assert edge.calls.offers == [FIRST_OFFER]
    assert edge.calls.hung_up == []


async def test_an_offer_that_cannot_be_negotiated_is_refused_and_the_call_goes_on(
    edge: Edge,
) -> None:
    answer = (await edge.post_json(URL, asked(FIRST_OFFER))).json()
    edge.calls.refusal = OfferError("the m-lines are others")
    restart = FIRST_OFFER.replace("abcd", "wxyz")
    error = refusal(await edge.post_json(URL, asked(restart, pc_id=CALL)), 400)
    assert error["code"] == "invalid_offer"
    assert edge.calls.hung_up == []
    again = await edge.post_json(URL, asked(FIRST_OFFER, pc_id=CALL))
    assert again.json() == answer


async def test_a_call_that_came_by_another_door_is_not_negotiated_here(edge: Edge) -> None:
    edge.calls.opens = "rtc_43"
    response = await edge.post_json(URL, asked(FIRST_OFFER, pc_id=CALL))
    assert response.json()["pc_id"] == "rtc_43"
    assert edge.calls.renegotiated == []


@pytest.mark.parametrize(
    ("offer", "restart"), [(OTHER_OFFER, False), (FIRST_OFFER, True), (OTHER_OFFER, True)]
)
async def test_one_of_another_connection_gets_another_call(
    edge: Edge, offer: str, restart: bool
) -> None:
    await edge.post_json(URL, asked(FIRST_OFFER))
    said: list[str] = []
    old = edge.calls.terms[-1].channel(said.append, Traits())
    old.opened("")
    edge.calls.opens = "rtc_43"
    response = await edge.post_json(URL, asked(offer, pc_id=CALL, restart_pc=restart))
    assert response.json()["pc_id"] == "rtc_43"
    assert edge.calls.hung_up == [CALL]
    old.farewell()
    assert said == [], "the client would end its new call"


@pytest.mark.parametrize("restart", [True, False])
@pytest.mark.parametrize("call_id", ["", "rtc_gone", "x" * 1000])
async def test_a_client_whose_call_is_over_gets_another_one(
    edge: Edge, call_id: str, restart: bool
) -> None:
    response = await edge.post_json(URL, asked(pc_id=call_id, restart_pc=restart))
    assert response.status_code == 200
    assert edge.calls.hung_up == []


async def test_who_may_not_place_a_call_ends_none() -> None:
    edge = Edge(KEYS, api_keys=[API_KEY])
    client = {"data_channel": {"allowed_client_events": ["response.create"]}}
    body = {"session": {"type": "realtime", "client": client}}
    made = await edge.post_json("/v1/realtime/client_secrets", body, **BEARER)
    bearer = {"Authorization": f"Bearer {made.json()['value']}"}
    asking = asked(pc_id=CALL, restart_pc=True, requestData={"session": SESSION})
    refusal(await edge.post_json(URL, asking, **bearer), 403)
    assert edge.calls.hung_up == []


async def test_calls_that_are_over_are_forgotten(edge: Edge) -> None:
    await edge.post_json(URL, asked(FIRST_OFFER))
    channel = edge.calls.terms[-1].channel(lambda text: None, Traits())
    channel.close()
    edge.calls.owned.clear()
    edge.calls.opens = "rtc_43"
    response = await edge.post_json(URL, asked(FIRST_OFFER, pc_id=CALL))
    assert response.json()["pc_id"] == "rtc_43"


# Candidates.


async def patch(edge: Edge, body: object, url: str = URL, **headers: str) -> httpx.Response:
    typed = {"Content-Type": "application/json", **headers}
    return await edge.client.patch(url, content=json.dumps(body), headers=typed)


async def test_candidates_are_taken(edge: Edge) -> None:
    response = await patch(edge, patched())
    assert (response.status_code, response.json()) == (200, {"status": "success"})
    in_session = await patch(edge, patched(), await started(edge))
    assert in_session.status_code == 200


@pytest.mark.parametrize("call_id", ["rtc_gone", "", "x" * 50_000, "\ud800"])
async def test_candidates_for_no_call_get_404(edge: Edge, call_id: str) -> None:
    error = refusal(await patch(edge, patched(call_id)), 404)
    assert error["code"] == "call_not_found"
    assert len(error["message"]) < 300


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"candidates": []}, "pc_id"),
        ({"pc_id": None, "candidates": []}, "pc_id"),
        ({"pc_id": CALL}, "candidates"),
        ({"pc_id": CALL, "candidates": {}}, "candidates"),
        (patched(CALL, "candidate:1"), "candidates"),
        (patched(CALL, {"candidate": None}), "candidates"),
    ],
)
async def test_candidates_that_make_no_sense_are_refused(
    edge: Edge, body: dict[str, Any], param: str
) -> None:
    assert refusal(await patch(edge, body), 400)["param"] == param


# Calls of other transceivers.


async def test_requests_for_a_call_reach_the_transceiver_that_owns_it() -> None:
    pair = Pair()
    url = f"/sessions/{await session_of(pair)}/api/offer"
    async with pair.served():
        pair.owner.calls.opens = call_of(pair.address)
        restart = asked(OTHER_OFFER, pc_id=pair.call, restart_pc=True)
        answered = await pair.other.post_json(url, restart, **BEARER)
        assert answered.json()["pc_id"] == pair.owner.calls.opens
        assert (await patch(pair.other, patched(pair.call), **BEARER)).status_code == 200
        refusal(await patch(pair.other, patched(call_of(pair.address)), **BEARER), 404)
    assert pair.owner.calls.hung_up == [pair.call]
    assert pair.owner.calls.terms[-1].session == SESSION
    assert pair.other.calls.offers == []


async def test_where_the_owner_is_about_to_end_the_client_gets_its_next_call_elsewhere() -> None:
    pair = Pair()
    restart = asked(OTHER_OFFER, pc_id=pair.call, restart_pc=True)
    async with pair.served():
        pair.owner.calls.refusal = OverloadedError("all sessions are taken")
        assert (await pair.other.post_json(URL, restart, **BEARER)).status_code == 503
        pair.owner.calls.refusal = DrainingError()
        assert (await pair.other.post_json(URL, restart, **BEARER)).status_code == 200
    assert len(pair.other.calls.offers) == 1
    assert pair.owner.calls.hung_up == [], "who is refused keeps the call that there is"


async def test_news_of_a_connection_reach_the_transceiver_that_owns_the_call() -> None:
    pair = Pair()
    pair.owner.calls.opens = pair.call
    async with pair.served(), httpx.AsyncClient(trust_env=False) as anybody:
        owner = f"http://{pair.address}{URL}"
        first = await anybody.post(owner, json=asked(FIRST_OFFER), headers=BEARER)
        assert first.status_code == 200
        restart = FIRST_OFFER.replace("abcd", "wxyz")
        answered = await pair.other.post_json(URL, asked(restart, pc_id=pair.call), **BEARER)
        assert answered.json()["sdp"] == ANSWER.format(1)
    assert pair.owner.calls.renegotiated == [(pair.call, restart)]
    assert pair.other.calls.offers == []


async def test_a_client_whose_transceiver_is_gone_gets_a_call_elsewhere() -> None:
    pair = Pair()
    pair.listener.close()
    response = await pair.other.post_json(URL, asked(pc_id=pair.call, restart_pc=True), **BEARER)
    assert response.json()["pc_id"] == CALL
    assert pair.other.calls.offers == [OFFER]
    refusal(await patch(pair.other, patched(pair.call), **BEARER), 502)


async def session_of(pair: Pair) -> str:
    """Start a session where the call is not."""
    response = await pair.other.post_json("/start", {"body": {"session": SESSION}}, **BEARER)
    return str(response.json()["sessionId"])
