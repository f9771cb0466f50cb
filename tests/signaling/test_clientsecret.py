"""Client secrets: what was sealed comes out again until it expires, and nothing else does."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.calls.terms import Terms
from firsthop.errors import AccessError, SignalingError
from firsthop.realtime.events import CLIENT_EVENTS
from firsthop.signaling.clientsecret import MAX_SECRET, ClientSecrets

OLD, NEW = os.urandom(32), os.urandom(32)
SECRETS = ClientSecrets({0: OLD}, 0)
EXPIRY = 2_000_000_000
TERMS = Terms(session={"instructions": "Be kind."}, client_events=frozenset({"response.cancel"}))

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=9), below),
    max_leaves=10,
)
sessions = st.dictionaries(st.text(max_size=9), values, max_size=5)
lists = st.none() | st.frozensets(st.sampled_from(sorted(CLIENT_EVENTS)))


def refused(secret: str, now: float = 0, secrets: ClientSecrets = SECRETS) -> str:
    with pytest.raises(AccessError) as error:
        secrets.open(secret, now)
    assert error.value.status == 401
    assert len(secret) < 8 or secret not in error.value.message
    return error.value.code


@given(sessions, lists, st.integers(0, 3))
def test_what_was_sealed_comes_out_at_any_transceiver_of_the_cluster(
    session: dict[str, Any], events: frozenset[str] | None, key_id: int
) -> None:
    terms = Terms(session=session, client_events=events)
    secret = ClientSecrets({key_id: OLD}, key_id).seal(terms, EXPIRY)
    assert ClientSecrets({key_id: OLD, 3 - key_id: NEW}, key_id).open(secret, 0) == terms


@given(sessions, lists)
def test_a_secret_of_a_handover_names_the_call_to_go_on_with(
    session: dict[str, Any], events: frozenset[str] | None
) -> None:
    terms = Terms(session=session, client_events=events, continues="rtc_before")
    assert SECRETS.open(SECRETS.seal(terms, EXPIRY), 0) == terms


def test_a_secret_can_stand_in_a_header_and_a_subprotocol() -> None:
    assert re.fullmatch(r"ek_[A-Za-z0-9_-]+", SECRETS.seal(TERMS, EXPIRY))


def test_a_secret_does_not_show_what_it_holds() -> None:
    plain = ClientSecrets({0: OLD}, 0).seal(Terms(session={"instructions": "a" * 500}), EXPIRY)
    assert "aaaa" not in plain
    assert plain != ClientSecrets({0: OLD}, 0).seal(
        Terms(session={"instructions": "a" * 500}), EXPIRY
    )


@pytest.mark.parametrize(("before", "good"), [(1, True), (0.001, True), (0, False), (-1, False)])
def test_a_secret_is_good_until_just_before_it_expires(before: float, good: bool) -> None:
    secret = SECRETS.seal(TERMS, EXPIRY)
    if good:
        assert SECRETS.open(secret, EXPIRY - before) == TERMS
    else:
        assert refused(secret, EXPIRY - before) == "expired_client_secret"


@given(st.data())
def test_a_secret_of_which_one_character_was_changed_is_refused(data: st.DataObject) -> None:
    secret = SECRETS.seal(TERMS, EXPIRY)
    index = data.draw(st.integers(0, len(secret) - 1))
    other = data.draw(st.characters(max_codepoint=0x17F).filter(lambda c: c != secret[index]))
    assert refused(secret[:index] + other + secret[index + 1 :]) == "invalid_client_secret"


@given(st.data())
def test_a_secret_that_was_cut_or_made_longer_is_refused(data: st.DataObject) -> None:
    secret = SECRETS.seal(TERMS, EXPIRY)
    cut = secret[: data.draw(st.integers(0, len(secret) - 1))]
    longer = secret + data.draw(st.text("aZ09-_= ", min_size=1, max_size=99))
    assert refused(cut) == refused(longer) == "invalid_client_secret"


@given(st.text(max_size=99) | st.from_regex(r"ek_[A-Za-z0-9_-]{0,200}", fullmatch=True))
def test_whatever_else_is_given_is_refused(secret: str) -> None:
    assert refused(secret) == "invalid_client_secret"


def test_a_secret_of_another_cluster_is_refused() -> None:
    secret = SECRETS.seal(TERMS, EXPIRY)
    for secrets in (ClientSecrets({0: NEW}, 0), ClientSecrets({1: OLD}, 1)):
        assert refused(secret, 0, secrets) == "invalid_client_secret"


def test_a_secret_of_a_key_that_is_being_retired_is_good() -> None:
    secret = SECRETS.seal(TERMS, EXPIRY)
    assert ClientSecrets({0: OLD, 1: NEW}, 1).open(secret, 0) == TERMS


def test_a_session_that_no_header_holds_is_refused_with_the_way_out() -> None:
    with pytest.raises(SignalingError, match=rf"{MAX_SECRET} fit.*session\.update") as error:
        SECRETS.seal(Terms(session={"instructions": os.urandom(6000).hex()}), EXPIRY)
    assert (error.value.status, error.value.code) == (400, "session_too_large")
    assert error.value.param == "session"


def test_two_kilobytes_of_instructions_and_three_tools_fit_easily() -> None:
    prose = (Path(__file__).parents[2] / "README.md").read_text()[:2048]
    tools = [
        {
            "type": "function",
            "name": f"look_up_{what}",
            "description": f"Looks up a {what} by its number or by the name of its owner.",
            "parameters": {
                "type": "object",
                "properties": {
                    "number": {"type": "string", "description": f"The number of the {what}."},
                    "owner": {"type": "string", "description": "First and last name."},
                },
                "required": ["number"],
                "additionalProperties": False,
            },
        }
        for what in ("booking", "invoice", "parcel")
    ]
    session = {"type": "realtime", "instructions": prose, "tools": tools}
    assert len(json.dumps(session)) > 3000
    assert len(SECRETS.seal(Terms(session=session), EXPIRY)) < MAX_SECRET / 2
