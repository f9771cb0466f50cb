"""Keys that change while a transceiver serves: who is let in, and what it opens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from firsthop.config import Settings, SignalingSettings
from firsthop.errors import OverloadedError
from firsthop.transceiver.engine import EngineLoop
from signaling.edge import Edge

OLD, NEW = "ab" * 32, "cd" * 32
API_KEY, NEW_API_KEY = "a" * 24, "b" * 24
SECRETS = "/v1/realtime/client_secrets"


class Keyed:
    """What the engine was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.given: list[tuple[Mapping[int, bytes], int]] = []
        self.failure: Exception | None = None
        monkeypatch.setattr(EngineLoop, "set_keys", self._set_keys)

    def _set_keys(self, keys: Mapping[int, bytes], key_id: int) -> None:
        if self.failure is not None:
            raise self.failure
        self.given.append((keys, key_id))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Keyed:
    return Keyed(monkeypatch)


def settings(keys: dict[int, str], key_id: int = 0, **signaling: Any) -> Settings:
    signaling.setdefault("api_keys", [API_KEY])
    return Settings(keys=keys, key_id=key_id, signaling=SignalingSettings(**signaling))


async def secret(edge: Edge) -> str:
    response = await edge.post_json(SECRETS, {}, Authorization=f"Bearer {API_KEY}")
    assert response.status_code == 200
    value: str = response.json()["value"]
    return value


async def admitted(edge: Edge, credential: str) -> bool:
    """Whether somebody with this credential is let in, whatever becomes of the rest."""
    response = await edge.post("", "application/sdp", Authorization=f"Bearer {credential}")
    return response.status_code not in {401, 403}


async def test_a_new_api_key_is_good_and_an_old_one_is_not_from_the_next_request_on(
    engine: Keyed,
) -> None:
    edge = Edge({0: OLD}, api_keys=[API_KEY])
    assert not await admitted(edge, NEW_API_KEY)
    edge.service.apply(settings({0: OLD}, api_keys=[API_KEY, NEW_API_KEY]))
    assert await admitted(edge, API_KEY)
    assert await admitted(edge, NEW_API_KEY)
    edge.service.apply(settings({0: OLD}, api_keys=[NEW_API_KEY]))
    assert not await admitted(edge, API_KEY)
    assert engine.given == [], "its keys are what they were"


async def test_client_secrets_and_call_ids_outlive_a_change_of_keys(engine: Keyed) -> None:
    edge = Edge({0: OLD}, api_keys=[API_KEY])
    before, call_id = await secret(edge), edge.calls.ids.mint()
    for keys, key_id in (({0: OLD, 1: NEW}, 0), ({0: OLD, 1: NEW}, 1)):
        edge.service.apply(settings(keys, key_id))
        assert await admitted(edge, before)
        assert edge.calls.ids.owner(call_id) == edge.calls.ids.address
    after = await secret(edge)
    edge.service.apply(settings({1: NEW}, 1))
    assert not await admitted(edge, before)
    assert await admitted(edge, after)
    assert edge.calls.ids.owner(call_id) is None
    assert [key_id for _, key_id in engine.given] == [0, 1, 1]


async def test_a_client_secret_is_good_wherever_the_secret_keys_are(engine: Keyed) -> None:
    here = Edge({0: OLD}, api_keys=[API_KEY], secret_keys={0: "12" * 32})
    there = Edge({0: NEW}, api_keys=[API_KEY], secret_keys={0: "12" * 32})
    stranger = Edge({0: OLD}, api_keys=[API_KEY])
    made = await secret(here)
    assert await admitted(there, made)
    assert not await admitted(stranger, made)


async def test_what_the_engine_does_not_take_changes_nothing(engine: Keyed) -> None:
    edge = Edge({0: OLD}, api_keys=[API_KEY])
    before = await secret(edge)
    engine.failure = OverloadedError("busy")
    with pytest.raises(OverloadedError):
        edge.service.apply(settings({1: NEW}, 1, api_keys=[NEW_API_KEY]))
    assert await admitted(edge, before)
    assert await admitted(edge, API_KEY)
    engine.failure = None
    edge.service.apply(settings({1: NEW}, 1, api_keys=[NEW_API_KEY]))
    assert not await admitted(edge, before)


@pytest.mark.parametrize("api_keys", [[API_KEY], []])
async def test_who_may_ask_from_a_page_follows_whether_there_are_api_keys(
    engine: Keyed, api_keys: list[str]
) -> None:
    """Without keys a page at a name of its own that has our address is kept out (DNS rebinding)."""
    edge = Edge({0: OLD}, api_keys=[] if api_keys else [API_KEY])
    edge.service.apply(settings({0: OLD}, api_keys=api_keys))
    headers = {"Origin": "http://edge.example", "Authorization": f"Bearer {API_KEY}"}
    response = await edge.post("", "application/sdp", **headers)
    refused = response.json().get("error", {}).get("code") == "origin_not_allowed"
    assert refused == (not api_keys)
