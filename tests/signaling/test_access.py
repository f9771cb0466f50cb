"""Who is let in: each credential at each endpoint, with keys and without."""

from __future__ import annotations

import os
import time
from typing import Any

import httpx
import pytest

from firsthop.calls.terms import Terms
from firsthop.config import Settings, SignalingSettings
from firsthop.errors import AccessError, ConfigError
from firsthop.signaling.access import Access, is_loopback
from firsthop.signaling.clientsecret import ClientSecrets
from signaling.edge import API_KEY, BEARER, CALL, CALLS, OFFER, Edge, client_of, refusal

KEY = os.urandom(32).hex()
OTHER_KEY = os.urandom(32).hex()
SECRETS = "/v1/realtime/client_secrets"
OTHER = "another-api-key-of-the-tests"


def secret(key: str = KEY, seconds: int = 7200, terms: Terms | None = None) -> str:
    sealer = ClientSecrets({0: bytes.fromhex(key)}, 0)
    return sealer.seal(terms or Terms(), int(time.time()) + seconds)


def forged() -> str:
    """Return a secret of which one character is another one."""
    true = secret()
    return true[:30] + ("A" if true[30] != "A" else "B") + true[31:]


CREDENTIALS = {
    "none": None,
    "an API key": API_KEY,
    "another API key": "nobodys-api-key-nobodys-api-key",
    "a secret": secret(),
    "an expired secret": secret(seconds=-1),
    "a forged secret": forged(),
    "another cluster's secret": secret(OTHER_KEY),
}
#: Credential -> status when placing a call, and when making a secret: with API keys, without.
MATRIX = [
    ("none", (401, 401), (201, 200)),
    ("an API key", (201, 200), (201, 200)),
    ("another API key", (401, 401), (201, 200)),
    ("a secret", (201, 403), (201, 403)),
    ("an expired secret", (401, 401), (401, 401)),
    ("a forged secret", (401, 401), (401, 401)),
    ("another cluster's secret", (401, 401), (401, 401)),
]


def bearing(credential: str | None) -> dict[str, str]:
    return {} if credential is None else {"Authorization": f"Bearer {credential}"}


async def tried(edge: Edge, headers: dict[str, str]) -> tuple[int, int]:
    placed = await edge.post(OFFER, "application/sdp", **headers)
    made = await edge.post_json(SECRETS, {}, **headers)
    for response in (placed, made):
        if response.status_code >= 400:
            error = refusal(response, response.status_code)
            assert not any(c and c in response.text for c in CREDENTIALS.values()), error
            assert ("www-authenticate" in response.headers) == (response.status_code == 401)
    assert len(edge.calls.offers) == (placed.status_code == 201)
    return placed.status_code, made.status_code


@pytest.mark.parametrize(("credential", "with_keys", "without"), MATRIX)
async def test_a_credential_opens_what_it_is_for_and_no_more(
    credential: str, with_keys: tuple[int, int], without: tuple[int, int]
) -> None:
    headers = bearing(CREDENTIALS[credential])
    assert await tried(Edge({0: KEY}, api_keys=[OTHER, API_KEY]), headers) == with_keys
    assert await tried(Edge({0: KEY}), headers) == without


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"bearer {API_KEY}"},
        {"Authorization": f"Bearer   {API_KEY}  "},
        {"api-key": API_KEY},
        {"Authorization": "Basic YTpi", "api-key": API_KEY},
    ],
)
async def test_an_api_key_is_taken_in_every_header_that_clients_use(
    headers: dict[str, str],
) -> None:
    response = await Edge(api_keys=[API_KEY]).post(OFFER, "application/sdp", **headers)
    assert response.status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer"},
        {"Authorization": API_KEY},
        {"Authorization": f"Basic {API_KEY}"},
        {"Authorization": f"Bearer {API_KEY[:-1]}"},
        {"Authorization": f"Bearer {API_KEY}x"},
        {"Authorization": "Bearer é"},
        {"api-key": ""},
        {"api-key": "x" * 5000},
    ],
)
async def test_what_is_no_api_key_is_none(headers: dict[str, str]) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    edge = Edge(api_keys=[API_KEY])
    response = await edge.client.post(CALLS, content=OFFER, headers=raw)
    refusal(response, 401)
    assert edge.calls.offers == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", CALLS),
        ("POST", "/v1/realtime"),
        ("GET", "/v1/realtime"),
        ("POST", f"{CALLS}/{CALL}/hangup"),
        ("POST", f"{CALLS}/{CALL}/accept"),
        ("POST", SECRETS),
        ("POST", "/v1/realtime/sessions"),
        ("DELETE", CALLS),
        ("GET", "/v1/nothing"),
        ("GET", "/nothing"),
        ("POST", "//v1/realtime/calls"),
        ("POST", "/demo/../v1/realtime/calls"),
        ("OPTIONS", CALLS),
    ],
)
async def test_everything_but_what_is_public_takes_a_credential(method: str, path: str) -> None:
    edge = Edge(api_keys=[API_KEY])
    response = await edge.client.request(method, path)
    assert refusal(response, 401)["code"] == "missing_api_key"
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "path", ["/", "/demo/client.js", "/healthz", "/metrics", "/docs", "/openapi.json"]
)
async def test_the_page_and_operations_are_for_everybody(path: str) -> None:
    edge = Edge(api_keys=[API_KEY])
    stranger = client_of(edge.service, "203.0.113.7")
    headers = {"Origin": "https://elsewhere.example"}
    assert (await stranger.get(path, headers=headers)).status_code == 200


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
async def test_who_asks_by_head_only_is_answered_like_others(path: str) -> None:
    edge = Edge()
    asked = await edge.client.get(path)
    assert (await edge.client.head(path)).status_code == asked.status_code


async def test_what_is_not_there_is_answered_with_a_way_out() -> None:
    edge = Edge()
    lost = refusal(await edge.client.get("/v1/models"), 404)
    assert lost["message"] == "GET /v1/models: there is nothing here; /docs tells what there is"
    wrong = await edge.client.get("/v1/realtime/calls")
    assert refusal(wrong, 405)["message"] == "GET /v1/realtime/calls: expected POST"
    assert wrong.headers["allow"] == "POST"


async def test_a_body_is_not_read_before_it_is_known_who_sends_it() -> None:
    edge = Edge(api_keys=[API_KEY])
    response = await edge.post(b"x" * 1_000_000, "application/sdp")
    assert refusal(response, 401)["code"] == "missing_api_key"


# Without API keys.


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
async def test_without_keys_this_machine_is_served(peer: str) -> None:
    local = client_of(Edge().service, peer)
    response = await local.post(f"{CALLS}/{CALL}/hangup")
    assert response.status_code == 200


@pytest.mark.parametrize("peer", ["10.0.0.7", "203.0.113.7", "2001:db8::1", "::", "localhost", ""])
@pytest.mark.parametrize(
    "credential", [None, API_KEY, secret()], ids=["nothing", "API key", "client secret"]
)
async def test_without_keys_nobody_else_is_served_and_is_told_the_setting(
    peer: str, credential: str | None
) -> None:
    stranger = client_of(Edge({0: KEY}).service, peer)
    response = await stranger.post(f"{CALLS}/{CALL}/hangup", headers=bearing(credential))
    error = refusal(response, 403)
    assert error["code"] == "local_only"
    assert "signaling.api_keys" in error["message"]


async def test_with_keys_an_address_does_not_matter() -> None:
    edge = Edge(api_keys=[API_KEY])
    stranger = client_of(edge.service, "203.0.113.7")
    assert (await stranger.post(f"{CALLS}/{CALL}/hangup", headers=BEARER)).status_code == 200


@pytest.mark.parametrize("what", ["", "localhost", "1.2.3.4", "::ffff:10.0.0.1", "127.0.0.1.evil"])
def test_what_is_not_loopback_is_not_taken_for_it(what: str) -> None:
    assert not is_loopback(what)


async def test_refusals_are_counted_by_code() -> None:
    edge = Edge(api_keys=[API_KEY])
    await edge.post(OFFER, "application/sdp")
    metrics = edge.metrics.render()
    assert b'firsthop_signaling_access_refused_total{code="missing_api_key"} 1.0' in metrics


def test_a_secret_expires_between_two_requests() -> None:
    settings = Settings(keys={0: KEY}, signaling=SignalingSettings(api_keys=(API_KEY,)))
    secrets = ClientSecrets.of(settings)
    access = Access(settings, secrets)
    header = f"Bearer {secrets.seal(Terms(), 1000)}".encode()
    scope: dict[str, Any] = {"type": "http", "headers": [(b"authorization", header)]}
    assert access.admit(scope, 999.9).grant == Terms()
    with pytest.raises(AccessError, match="expired 0 s ago"):
        access.admit(scope, 1000)


# The terms of holders of secrets.

FIXED = Terms(
    session={"model": "theirs", "instructions": "Be kind."},
    client_events=frozenset({"response.cancel"}),
)
FREE = Terms(session={"model": "theirs", "instructions": "Be kind."})


def form_with(session: str) -> dict[str, Any]:
    return {"files": {"sdp": (None, OFFER), "session": (None, session, "application/json")}}


async def placed(
    terms: Terms, session: str | None = None, query: str = "", **signaling: Any
) -> tuple[Edge, httpx.Response]:
    edge = Edge({0: KEY}, api_keys=[API_KEY], **signaling)
    body = {"content": OFFER} if session is None else form_with(session)
    headers = bearing(secret(terms=terms))
    return edge, await edge.client.post(CALLS + query, headers=headers, **body)


async def test_a_secrets_session_and_events_bind_its_calls() -> None:
    edge, response = await placed(FIXED, query="?model=mine")
    assert response.status_code == 201
    assert edge.calls.terms == [FIXED]


async def test_what_a_request_says_lies_over_what_its_secret_says() -> None:
    edge, response = await placed(FREE, '{"instructions": "Be quick."}')
    assert response.status_code == 201
    assert edge.calls.terms[0].session == {"model": "theirs", "instructions": "Be quick."}


async def test_a_model_in_the_query_counts_least() -> None:
    edge, _ = await placed(Terms(), query="?model=mine")
    assert edge.calls.terms[0].session == {"model": "mine"}


@pytest.mark.parametrize("session", ['{"instructions": "Be rude."}', '{"model": "dear"}'])
async def test_a_secret_that_allows_no_session_update_fixes_the_session(session: str) -> None:
    edge, response = await placed(FIXED, session)
    error = refusal(response, 403)
    assert (error["code"], error["param"]) == ("session_fixed", "session")
    assert edge.calls.offers == []


@pytest.mark.parametrize("terms", [FIXED, FREE])
@pytest.mark.parametrize("client", ["null", "{}", '{"data_channel": {}}'])
async def test_who_holds_a_secret_cannot_widen_it(terms: Terms, client: str) -> None:
    edge, response = await placed(terms, f'{{"client": {client}}}')
    error = refusal(response, 403)
    assert (error["code"], error["param"]) == ("api_key_needed", "session.client")
    assert edge.calls.offers == []


async def test_the_setting_is_the_list_of_secrets_that_bring_none() -> None:
    edge, _ = await placed(FREE, client_events=["response.create"])
    assert edge.calls.terms[0].client_events == frozenset({"response.create"})
    edge, _ = await placed(FIXED, client_events=["response.create"])
    assert edge.calls.terms[0].client_events == frozenset({"response.cancel"})


async def test_the_setting_does_not_bind_servers() -> None:
    edge = Edge(api_keys=[API_KEY], client_events=["response.create"])
    await edge.post(OFFER, "application/sdp", **BEARER)
    assert edge.calls.terms[0].client_events is None


def test_a_setting_that_names_no_event_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"^signaling\.client_events: .*'response\.crate'"):
        Edge(client_events=["response.crate"])
