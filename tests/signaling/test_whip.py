"""WHIP: what RFC 9725 has its clients send, and what they may rely on."""

from __future__ import annotations

import os

import httpx
import pytest

from firsthop.calls.ends import DataChannel
from firsthop.calls.terms import Terms
from firsthop.errors import OverloadedError
from firsthop.signaling.icesession import entity_tag
from firsthop.signaling.whip import Unheard
from signaling.edge import API_KEY, BEARER, CALL, Edge, refusal
from signaling.test_forwarding import Pair

ORIGIN = "https://app.example"
SESSION = f"/whip/{CALL}"
SDP = "application/sdp"
FRAGMENT_TYPE = "application/trickle-ice-sdpfrag"
OFFER = "\r\n".join(
    [
        "v=0",
        "o=- 7 2 IN IP4 127.0.0.1",
        "a=ice-options:trickle ice2",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "a=ice-ufrag:EsAw",
        "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
        "m=video 9 UDP/TLS/RTP/SAVPF 96",
        "",
    ]
)
FRAGMENT = "\r\n".join(
    [
        "a=ice-ufrag:EsAw",
        "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "a=mid:0",
        "a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host",
        "a=end-of-candidates",
        "",
    ]
)
RESTART = FRAGMENT.replace("EsAw", "ysXw").replace("P2uY", "vw5L")
TAG = entity_tag(CALL)


@pytest.fixture
def edge() -> Edge:
    return Edge()


async def place(edge: Edge, offer: str = OFFER, url: str = "/whip") -> httpx.Response:
    response = await edge.post(offer, SDP, url)
    assert response.status_code == 201, response.text
    return response


async def patch(
    edge: Edge, fragment: str = FRAGMENT, tag: str | None = TAG, content_type: str = FRAGMENT_TYPE
) -> httpx.Response:
    headers = {"Content-Type": content_type}
    headers |= {} if tag is None else {"If-Match": tag}
    return await edge.client.patch(SESSION, content=fragment, headers=headers)


# The endpoint.


async def test_an_offer_is_answered_with_the_url_and_the_tag_of_a_session(edge: Edge) -> None:
    response = await place(edge)
    assert response.text == "v=0\r\ns=an answer\r\n"
    assert response.headers["content-type"].partition(";")[0] == SDP
    assert response.headers["location"] == SESSION
    assert response.headers["accept-patch"] == FRAGMENT_TYPE
    tag = response.headers["etag"]
    assert (tag[0], tag[-1]) == ('"', '"'), "a strong one"
    assert "link" not in response.headers, "the relay needs no STUN and no TURN"
    assert edge.calls.offers == [OFFER]


async def test_each_session_has_a_tag_of_its_own(edge: Edge) -> None:
    one = await place(edge)
    edge.calls.opens = "rtc_43"
    assert (await place(edge)).headers["etag"] != one.headers["etag"]


async def test_a_query_may_name_the_model(edge: Edge) -> None:
    await place(edge, url="/whip?model=any")
    [terms] = edge.calls.terms
    assert terms.session == {"model": "any"}


async def test_nothing_waits_for_a_data_channel_that_was_not_offered(edge: Edge) -> None:
    await place(edge)
    await place(edge, OFFER + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n")
    assert [terms.channel for terms in edge.calls.terms] == [Unheard, DataChannel]
    assert Terms().channel is DataChannel


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/json", FRAGMENT_TYPE])
async def test_another_content_type_gets_415(edge: Edge, content_type: str | None) -> None:
    error = refusal(await edge.post(OFFER, content_type, "/whip"), 415)
    assert error["code"] == "unsupported_media_type"
    assert SDP in error["message"]


async def test_a_malformed_offer_gets_400(edge: Edge) -> None:
    assert refusal(await edge.post("x", SDP, "/whip"), 400)["code"] == "invalid_offer"


async def test_a_second_audio_stream_is_refused_by_its_line(edge: Edge) -> None:
    offer = OFFER + "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
    error = refusal(await edge.post(offer, SDP, "/whip"), 400)
    assert error["code"] == "invalid_offer"
    assert "line 8:" in error["message"]


async def test_no_room_gets_503_and_when_to_try_again(edge: Edge) -> None:
    edge.calls.refusal = OverloadedError("all sessions are taken")
    response = await edge.post(OFFER, SDP, "/whip")
    assert refusal(response, 503)["code"] == "overloaded"
    assert int(response.headers["retry-after"]) > 0


async def test_a_bearer_token_is_needed_where_there_are_keys() -> None:
    edge = Edge(api_keys=[API_KEY])
    response = await edge.post(OFFER, SDP, "/whip")
    assert refusal(response, 401)["code"] == "missing_api_key"
    assert response.headers["www-authenticate"] == "Bearer"
    assert (await edge.post(OFFER, SDP, "/whip", **BEARER)).status_code == 201


async def test_options_tell_what_is_taken(edge: Edge) -> None:
    endpoint = await edge.client.options("/whip")
    assert (endpoint.status_code, endpoint.headers["accept-post"]) == (200, SDP)
    session = await edge.client.options(SESSION)
    assert (session.status_code, session.headers["accept-patch"]) == (200, FRAGMENT_TYPE)


async def test_a_page_of_an_allowed_origin_may_place_calls_and_read_the_headers() -> None:
    edge = Edge(allowed_origins=[ORIGIN])
    for url, method in (("/whip", "POST"), (SESSION, "PATCH"), (SESSION, "DELETE")):
        asked = {"Access-Control-Request-Headers": "authorization, content-type, if-match"}
        asked |= {"Origin": ORIGIN, "Access-Control-Request-Method": method}
        preflight = await edge.client.options(url, headers=asked)
        assert preflight.status_code == 200
        assert method in preflight.headers["access-control-allow-methods"]
    response = await edge.post(OFFER, SDP, "/whip", Origin=ORIGIN)
    exposed = response.headers["access-control-expose-headers"].split(", ")
    assert {"Location", "ETag", "Link", "Accept-Patch", "Accept-Post"} <= set(exposed)


# Candidates.


@pytest.mark.parametrize("tag", [TAG, f'"other", {TAG}', "*", '"*"'])
async def test_candidates_are_taken_without_a_word(edge: Edge, tag: str) -> None:
    await place(edge)
    response = await patch(edge, tag=tag)
    assert (response.status_code, response.content) == (204, b"")
    assert "etag" not in response.headers


async def test_a_patch_without_a_condition_gets_428(edge: Edge) -> None:
    await place(edge)
    error = refusal(await patch(edge, tag=None), 428)
    assert (error["code"], error["param"]) == ("precondition_required", "If-Match")


@pytest.mark.parametrize("tag", ['"other"', TAG.strip('"'), f"W/{TAG}", ""])
async def test_a_patch_for_another_ice_session_gets_412(edge: Edge, tag: str) -> None:
    await place(edge)
    assert refusal(await patch(edge, tag=tag), 412)["code"] == "precondition_failed"


async def test_a_malformed_fragment_gets_400(edge: Edge) -> None:
    await place(edge)
    error = refusal(await patch(edge, FRAGMENT.replace("typ host", "")), 400)
    assert (error["code"], error["param"]) == ("invalid_fragment", "body")
    assert "line 5:" in error["message"]


async def test_a_patch_of_another_type_gets_415(edge: Edge) -> None:
    await place(edge)
    error = refusal(await patch(edge, content_type=SDP), 415)
    assert FRAGMENT_TYPE in error["message"]


# ICE restarts.


@pytest.mark.parametrize("tag", [TAG, "*", '"*"'])
async def test_other_credentials_restart_ice_on_the_call_that_goes_on(edge: Edge, tag: str) -> None:
    await place(edge)
    response = await patch(edge, RESTART, tag=tag)
    assert response.status_code == 200
    assert response.headers["content-type"].partition(";")[0] == FRAGMENT_TYPE
    assert response.text.split("\r\n") == [
        "a=group:BUNDLE 0 1",
        "m=audio 3478 UDP/TLS/RTP/SAVPF 111",
        "a=mid:0",
        "a=ice-ufrag:routable1",
        "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
        "a=candidate:1 1 udp 1 192.0.2.1 3478 typ host",
        "a=end-of-candidates",
        "",
    ]
    [(call, offer)] = edge.calls.renegotiated
    changed = OFFER.replace("EsAw", "ysXw").replace("P2uY", "vw5L").replace("- 7 2", "- 7 3")
    assert (call, offer) == (CALL, changed)
    assert edge.calls.hung_up == []


async def test_each_restart_has_a_tag_of_its_own_and_the_former_is_no_more(edge: Edge) -> None:
    former = (await place(edge)).headers["etag"]
    for number in range(3):
        fragment = RESTART.replace("ysXw", f"ysX{number}")
        tag = (await patch(edge, fragment, tag="*")).headers["etag"]
        assert (await patch(edge, fragment, tag=tag)).status_code == 204, "candidates of it"
        assert refusal(await patch(edge, fragment, tag=former), 412)
        former = tag
    versions = [offer.split("\r\n")[1] for _, offer in edge.calls.renegotiated]
    assert versions == [f"o=- 7 {version} IN IP4 127.0.0.1" for version in (3, 4, 5)]


async def test_a_refused_restart_changes_nothing(edge: Edge) -> None:
    await place(edge)
    edge.calls.refusal = OverloadedError("the engine does not keep up")
    refusal(await patch(edge, RESTART), 503)
    edge.calls.refusal = None
    assert (await patch(edge)).status_code == 204
    assert (await patch(edge, RESTART)).status_code == 200


async def test_half_of_the_credentials_restart_nothing(edge: Edge) -> None:
    await place(edge)
    half = "\r\n".join(line for line in RESTART.split("\r\n") if "ice-pwd" not in line)
    assert refusal(await patch(edge, half), 400)["code"] == "invalid_fragment"
    assert edge.calls.renegotiated == []


async def test_a_patch_for_no_session_of_whips_gets_404(edge: Edge) -> None:
    assert refusal(await patch(edge), 404)["code"] == "call_not_found"
    await place(edge)
    edge.calls.owned = set()
    assert refusal(await patch(edge), 404)["code"] == "call_not_found"


async def test_sessions_that_are_over_are_forgotten(edge: Edge) -> None:
    for number in range(3):
        edge.calls.opens = f"rtc_{number}"
        edge.calls.owned = {edge.calls.opens}
        edge.calls.offers.clear()
        await place(edge)
        before, after = f"/whip/rtc_{number - 1}", f"/whip/rtc_{number}"
        edge.calls.owned = {f"rtc_{number}", f"rtc_{number - 1}"}
        assert (await edge.client.get(before)).status_code == 404
        assert (await edge.client.get(after)).status_code == 204


# The end.


async def test_delete_ends_the_call(edge: Edge) -> None:
    await place(edge)
    response = await edge.client.delete(SESSION, headers={"If-Match": '"outdated"'})
    assert (response.status_code, response.content) == (200, b"")
    assert edge.calls.hung_up == [CALL]


async def test_deleting_an_unknown_session_gets_404(edge: Edge) -> None:
    error = refusal(await edge.client.delete("/whip/rtc_0"), 404)
    assert (error["code"], error["param"]) == ("call_not_found", "call_id")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_neither_endpoint_nor_session_has_a_representation(edge: Edge, method: str) -> None:
    assert (await edge.client.request(method, SESSION)).status_code == 404
    await place(edge)
    for url in ("/whip", SESSION):
        response = await edge.client.request(method, url)
        assert (response.status_code, response.content) == (204, b"")


@pytest.mark.parametrize(("method", "url"), [("PUT", "/whip"), ("PUT", SESSION), ("POST", SESSION)])
async def test_other_methods_get_405(edge: Edge, method: str, url: str) -> None:
    response = await edge.client.request(method, url)
    assert refusal(response, 405)["code"] == "method_not_allowed"
    assert response.headers["allow"]


# Calls of other transceivers.


async def test_requests_for_a_session_reach_the_transceiver_that_owns_it() -> None:
    pair = Pair()
    pair.owner.calls.opens = pair.call
    url, tag = f"/whip/{pair.call}", entity_tag(pair.call)
    headers = BEARER | {"Content-Type": FRAGMENT_TYPE}
    async with pair.served(), httpx.AsyncClient(trust_env=False) as anybody:
        owner = f"http://{pair.address}/whip"
        offered = BEARER | {"Content-Type": SDP}
        assert (await anybody.post(owner, content=OFFER, headers=offered)).status_code == 201
        client = pair.other.client
        taken = await client.patch(url, content=FRAGMENT, headers=headers | {"If-Match": tag})
        assert (taken.status_code, taken.content) == (204, b"")
        refusal(await client.patch(url, content=FRAGMENT, headers=headers), 428)
        restart = await client.patch(url, content=RESTART, headers=headers | {"If-Match": "*"})
        assert restart.headers["etag"] == entity_tag(pair.call, 1)
        assert "a=ice-ufrag:routable1" in restart.text
        assert (await client.get(url, headers=BEARER)).status_code == 204
        assert (await client.delete(url, headers=BEARER)).status_code == 200
    assert pair.owner.calls.hung_up == [pair.call]
    assert pair.other.calls.hung_up == []


async def test_what_is_too_large_to_be_read_is_not_passed_on() -> None:
    pair = Pair()
    body = os.urandom(200_000)
    async with pair.served():
        response = await pair.other.client.patch(f"/whip/{pair.call}", content=body, headers=BEARER)
    refusal(response, 413)
    assert not pair.forwarded("answered")
