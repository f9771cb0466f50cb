"""The settings of the backend, and that its key stays where it is."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from firsthop import cli
from firsthop.config import RealtimeSettings, load
from firsthop.errors import ConfigError

KEY = "sk-swordfish"


def from_environment(**settings: str) -> RealtimeSettings:
    names = {f"FIRSTHOP_REALTIME__{name.upper()}": value for name, value in settings.items()}
    return load((), names).realtime


def test_settings_come_from_the_environment() -> None:
    settings = from_environment(
        url="wss://host.example/v1/realtime?api-version=1",
        dialect="azure-preview",
        api_key=KEY,
        model="m",
        lacks='["truncate"]',
        connect_timeout_seconds="2.5",
    )
    assert settings.url == "wss://host.example/v1/realtime?api-version=1"
    assert (settings.dialect, settings.model, settings.api_key) == ("azure-preview", "m", KEY)
    assert settings.lacks == ("truncate",)
    assert settings.connect_timeout_seconds == 2.5


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("url", "https://host", "expected ws:// or wss://"),
        ("url", "wss://", "expected ws:// or wss://"),
        ("url", "wss://host:0/", "expected ws:// or wss://"),
        ("url", "wss://host/#part", "expected ws:// or wss://"),
        ("url", "wss://ho st/", "expected ws:// or wss://"),
        ("url", "wss://user:pass@host/", "a key has a setting of its own"),
        ("dialect", "klingon", "'openai'"),
        ("model", "", "at least 1 character"),
        ("turns", "nobody", "'firsthop'"),
        ("has", '["telepathy"]', "'truncate'"),
        ("lacks", "truncate", 'expected a list, as ["...", "..."]'),
        ("connect_timeout_seconds", "0", "greater than or equal to 0.1"),
        ("api_kee", KEY, "no such setting"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(name: str, value: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        from_environment(**{name: value})
    assert error.value.key.startswith(f"realtime.{name}")
    assert problem in str(error.value)


def test_a_capability_is_had_or_lacked() -> None:
    with pytest.raises(ConfigError, match="vad in has or in lacks"):
        from_environment(has='["vad"]', lacks='["vad", "cancel"]')


@pytest.mark.parametrize(
    "settings",
    [
        {"FIRSTHOP_REALTIME__API_KEY": f"{KEY} and blanks"},
        {"FIRSTHOP_REALTIME__API_KEY": f'{KEY}"'},
        {"FIRSTHOP_REALTIME__API_KEY": f"{KEY}\r\nX-Header: 1"},
        {"FIRSTHOP_REALTIME": f'{{"api_key": "{KEY}"'},
        {"FIRSTHOP_REALTIME": f'["{KEY}"]'},
        {"FIRSTHOP_REALTIME__APIKEY": KEY},
        {"FIRSTHOP_REALTIME__URL": f"wss://user:{KEY}@host/"},
    ],
    ids=str,
)
def test_no_problem_that_is_told_quotes_a_key(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as error:
        load((), settings)
    assert KEY not in str(error.value)


def test_settings_are_shown_without_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRSTHOP_REALTIME__API_KEY", KEY)
    monkeypatch.setenv("FIRSTHOP_REALTIME__URL", "wss://host/")
    shown = CliRunner().invoke(cli.app, ["settings"])
    assert shown.exit_code == 0
    assert KEY not in shown.output
    assert "wss://host/" in shown.output
    assert KEY not in repr(from_environment(api_key=KEY))
