"""The settings of signaling: what they take, and that they never show a key."""

from __future__ import annotations

import json
import traceback
from typing import Any

import pytest

from firsthop.config import Settings, load
from firsthop.errors import ConfigError
from signaling.edge import API_KEY

VARIABLE = "FIRSTHOP_SIGNALING__API_KEYS"


@pytest.mark.parametrize("key", ["x" * 24, "x" * 256, "sk-proj-0123456789_ABCDEFGH~+/.=", API_KEY])
def test_an_api_key_is_what_a_bearer_token_may_be(key: str) -> None:
    assert load((), {VARIABLE: json.dumps([key])}).signaling.api_keys == (key,)


@pytest.mark.parametrize(
    "key", ["", "x" * 23, "x" * 257, "x" * 24 + " ", "é" * 24, "x" * 24 + "\n"]
)
def test_an_api_key_that_is_short_or_cannot_travel_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=r"^signaling\.api_keys\.0: expected 24 to 256 char"):
        load((), {VARIABLE: json.dumps([key])})


def test_an_api_key_that_looks_like_a_client_secret_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not begin with ek_"):
        load((), {VARIABLE: json.dumps(["ek_" + API_KEY])})


@pytest.mark.parametrize(
    "value",
    [
        API_KEY,
        [API_KEY + "!"],
        [API_KEY, "short"],
        ["ek_" + API_KEY],
        {"0": API_KEY},
        [[API_KEY]],
        [{"0": API_KEY}],
        f"[{API_KEY}",
        f"https://user:{API_KEY}@example",
    ],
)
@pytest.mark.parametrize(
    "name",
    [
        VARIABLE,
        "FIRSTHOP_SIGNALING",
        "FIRSTHOP_SIGNALING__API_KEY",
        "FIRSTHOP_SIGNALING__API_KEYS__0",
    ],
)
def test_no_error_shows_an_api_key(name: str, value: Any) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    with pytest.raises(ConfigError) as error:
        load((), {name: text})
    assert API_KEY not in "".join(traceback.format_exception(error.value))


def test_settings_are_shown_without_api_keys() -> None:
    settings = load((), {VARIABLE: json.dumps([API_KEY])})
    assert settings.signaling.api_keys == (API_KEY,)
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert API_KEY not in shown


@pytest.mark.parametrize("value", ["0.0.0.0:8080", "10.0.0.5:0", "10.0.0.5", "edge.example:80"])
def test_where_others_reach_this_one_has_to_be_an_address(value: str) -> None:
    with pytest.raises(ConfigError, match=r"^signaling\.reachable: "):
        load((), {"FIRSTHOP_SIGNALING__REACHABLE": value})


def test_by_default_only_this_machine_is_served_and_browsers_may_send_all() -> None:
    signaling = Settings().signaling
    assert signaling.api_keys == ()
    assert signaling.client_events is None
    assert signaling.reachable is None
