"""Calls that go on at another transceiver: who is asked for what was said, and who may ask."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from firsthop.calls.callid import CallIds
from firsthop.calls.past import Past
from firsthop.calls.terms import Terms
from firsthop.realtime.events import CLIENT_EVENTS
from firsthop.signaling import handover as module
from firsthop.signaling.clientsecret import MAX_SECRET, ClientSecrets
from firsthop.values import CONTINUED
from signaling.edge import API_KEY, BEARER, CALL, CALLS, OFFER, Edge, refusal

KEY = os.urandom(32)
KEYS = {0: KEY.hex()}
SECRETS = ClientSecrets({0: KEY}, 0)
ITEM = {"id": "item_1", "type": "message", "role": "user", "content": []}
PAST = Past(
    session={"type": "realtime", "model": "theirs", "instructions": "Be as you were."},
    items=[ITEM],
    owes_answer=True,
)
EVENTS = frozenset({"response.cancel", "session.update"})


def secret(call_id: str | None, **terms: Any) -> dict[str, str]:
    """Return the header of who goes on with a call."""
    given: dict[str, Any] = {"session": {"instructions": "Be kind."}, "client_events": EVENTS}
    value = SECRETS.seal(Terms(**(given | terms), continues=call_id), int(time.time()) + 7200)
    return {"Authorization": f"Bearer {value}"}


class Pair:
    """A transceiver that is about to end, with a call, and the one at which it goes on."""

    def __init__(self, **signaling: Any) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        address = "{}:{}".format(*self.listener.getsockname())
        settings = {"api_keys": [API_KEY], **signaling}
        self.before = Edge(KEYS, **{**settings, "reachable": address})
        self.call = CallIds({0: KEY}, 0, address).mint()
        self.before.calls.owned = {self.call}
        self.before.calls.past = PAST
        self.after = Edge(KEYS, **{**settings, "reachable": "127.0.0.1:1"})

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """Serve both, and yield where the second one is."""
        async with self.before.served(self.listener), self.after.served() as address:
            yield address

    async def placed(self, **terms: Any) -> Terms:
        """Place a call that goes on with the first, and return its terms."""
        response = await self.after.post(OFFER, "application/sdp", **secret(self.call, **terms))
        assert response.status_code == 201, response.text
        [terms_] = self.after.calls.terms
        return terms_


@pytest.mark.parametrize("signaling", [{}, {"api_keys": []}], ids=["keys", "no keys"])
async def test_a_call_goes_on_with_the_session_and_the_items_of_the_one_before(
    signaling: dict[str, Any],
) -> None:
    pair = Pair(**signaling)
    async with pair.served():
        terms = await pair.placed()
    assert (terms.continues, terms.past, terms.client_events) == (pair.call, PAST, EVENTS)
    assert terms.session == PAST.session, "as it was, and not as it was when the secret was made"
    assert pair.before.calls.handed_over == [(pair.call, terms.call_id)]
    assert terms.call_id is not None
    assert pair.after.calls.ids.owner(terms.call_id) == pair.after.calls.ids.address


async def test_what_the_request_says_of_the_session_goes_over_what_it_was() -> None:
    pair = Pair()
    async with pair.served():
        body = {"sdp": OFFER, "session": {"instructions": "Be loud."}}
        response = await pair.after.post_json(CALLS, body, **secret(pair.call))
    assert response.status_code == 201
    [terms] = pair.after.calls.terms
    assert terms.session == {**PAST.session, "instructions": "Be loud."}


async def test_what_callers_of_a_call_may_send_stays_what_it_was() -> None:
    pair = Pair(client_events=["response.create"])
    async with pair.served():
        terms = await pair.placed(client_events=None)
    assert terms.client_events is None, "a server placed it, which may send everything"


async def test_a_call_by_websocket_goes_on_too() -> None:
    pair = Pair()
    async with pair.served() as address:
        url = f"ws://{address}/v1/realtime?model=any"
        async with connect(url, proxy=None, additional_headers=secret(pair.call)):
            [terms] = pair.after.calls.terms
    assert terms.past == PAST


@pytest.mark.parametrize("continued", [False, True])
async def test_a_call_by_websocket_says_whether_its_conversation_began_elsewhere(
    continued: bool,
) -> None:
    edge = Edge(KEYS, api_keys=[API_KEY])
    headers = {**BEARER, CONTINUED: "1"} if continued else BEARER
    async with edge.served() as address:
        url = f"ws://{address}/v1/realtime?model=any"
        async with connect(url, proxy=None, additional_headers=headers):
            [terms] = edge.calls.terms
    assert terms.continued == continued


async def test_a_caller_who_comes_back_to_the_same_transceiver_is_not_asked_for_over_http() -> None:
    edge = Edge(KEYS, api_keys=[API_KEY])
    edge.calls.past = PAST
    response = await edge.post(OFFER, "application/sdp", **secret(CALL))
    assert response.status_code == 201
    [terms] = edge.calls.terms
    assert terms.past == PAST
    assert edge.calls.handed_over == [(CALL, terms.call_id)]


# What was said cannot be had.


async def lost(edge: Edge, call_id: str) -> None:
    """Assert that a call begins with what its secret holds."""
    response = await edge.post(OFFER, "application/sdp", **secret(call_id))
    assert response.status_code == 201, response.text
    [terms] = edge.calls.terms
    assert (terms.continues, terms.past) == (call_id, None)
    assert terms.session == {"instructions": "Be kind."}


async def test_a_call_whose_owner_is_gone_begins_with_what_the_secret_holds() -> None:
    pair = Pair()
    pair.listener.close()
    await lost(pair.after, pair.call)


async def test_so_does_one_that_is_over_at_its_owner() -> None:
    pair = Pair()
    pair.before.calls.owned = set()
    async with pair.served():
        await lost(pair.after, pair.call)


async def test_so_does_one_of_nobody_and_one_of_our_own_that_is_over() -> None:
    edge = Edge(KEYS, api_keys=[API_KEY], reachable="127.0.0.1:1")
    ours = CallIds({0: KEY}, 0, "127.0.0.1:1").mint()
    theirs = CallIds({0: os.urandom(32)}, 0, "127.0.0.1:1").mint()
    await lost(edge, ours)
    edge.calls.terms.clear()
    await lost(edge, theirs)


async def test_without_api_keys_no_other_machine_is_asked() -> None:
    edge = Edge(KEYS, reachable="127.0.0.1:1")
    await lost(edge, CallIds({0: KEY}, 0, "192.0.2.1:8080").mint())


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage",
        b"HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xff",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}",
        b"HTTP/1.1 302 go\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=range(7),
)
async def test_an_owner_that_talks_nonsense_keeps_no_call_from_beginning(answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        address = "{}:{}".format(*server.sockets[0].getsockname())
        edge = Edge(KEYS, api_keys=[API_KEY], reachable="127.0.0.1:1")
        await lost(edge, CallIds({0: KEY}, 0, address).mint())


async def test_an_answer_is_not_read_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_ANSWER", 1000)
    pair = Pair()
    pair.before.calls.past = Past(session={"instructions": "a" * 2000})
    async with pair.served():
        await lost(pair.after, pair.call)


async def test_an_owner_that_says_nothing_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 0.05)
    pair = Pair()
    await lost(pair.after, pair.call)
    pair.listener.close()


@pytest.mark.parametrize("state", ["draining", "full"])
async def test_who_takes_no_calls_takes_no_history(state: str) -> None:
    pair = Pair()
    pair.after.calls.problem = state
    async with pair.served():
        terms = await pair.placed()
    assert terms.past is None
    assert pair.before.calls.handed_over == []


# Who may ask.


async def handed_over(
    edge: Edge, headers: dict[str, str], body: object = None, call_id: str = CALL
) -> httpx.Response:
    return await edge.client.post(f"{CALLS}/{call_id}/handover", headers=headers, json=body or {})


@pytest.mark.parametrize("headers", [BEARER, secret(CALL)], ids=["an API key", "the secret"])
async def test_who_holds_a_key_or_the_calls_secret_gets_what_was_said(
    headers: dict[str, str],
) -> None:
    edge = Edge(KEYS, api_keys=[API_KEY])
    edge.calls.past = PAST
    response = await handed_over(edge, headers)
    assert response.status_code == 200
    assert Past.from_json(response.text) == PAST


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), (secret(None), 403), (secret("rtc_other"), 403)],
    ids=["nobody", "another secret", "another call's secret"],
)
async def test_nobody_else_does(headers: dict[str, str], status: int) -> None:
    edge = Edge(KEYS, api_keys=[API_KEY])
    refusal(await handed_over(edge, headers), status)
    assert edge.calls.handed_over == []


async def test_a_request_that_comes_to_another_transceiver_is_passed_on() -> None:
    pair = Pair()
    async with pair.served():
        response = await handed_over(pair.after, BEARER, call_id=pair.call)
    assert Past.from_json(response.text) == PAST


@pytest.mark.parametrize("successor", ["rtc_made_up", 3, None, {}], ids=range(4))
async def test_nobody_is_told_of_a_successor_that_is_none(successor: object) -> None:
    edge = Edge(KEYS, api_keys=[API_KEY])
    response = await handed_over(edge, BEARER, {"call_id": successor})
    assert response.status_code == 200
    assert edge.calls.handed_over == [(CALL, None)]


async def test_a_client_cannot_have_a_secret_made_for_the_call_of_another() -> None:
    edge = Edge(KEYS, api_keys=[API_KEY])
    url = "/v1/realtime/client_secrets"
    refusal(await edge.post_json(url, {"continues": CALL}, **BEARER), 400)
    response = await edge.post_json(url, {"session": {"continues": CALL}}, **BEARER)
    assert SECRETS.open(response.json()["value"], 0).continues is None


# The secret.


def test_a_session_that_is_too_large_for_a_secret_is_left_to_the_owner() -> None:
    small = Terms(session={"instructions": "Be kind."}, client_events=CLIENT_EVENTS, continues=CALL)
    large = Terms(session={"instructions": os.urandom(9000).hex()}, continues=CALL)
    expiry = 2_000_000_000
    assert SECRETS.open(module.sealed(SECRETS, small, expiry), 0) == small
    text = module.sealed(SECRETS, large, expiry)
    assert len(text) <= MAX_SECRET
    assert SECRETS.open(text, 0) == Terms(continues=CALL)
