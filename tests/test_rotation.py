"""Keys change as docs/operations.md says, and nothing that was sealed is refused meanwhile.

The real classes, each fed by its own settings file: what one process seals at any step, old or new,
every other opens at every later step.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from firsthop import _native as native
from firsthop import keyring, token
from firsthop.calls.callid import CallIds
from firsthop.calls.terms import Terms
from firsthop.config import Settings
from firsthop.fleet.beat import Beat, BeatSeal, Place
from firsthop.flowcache.sealed import Seal as FlowSeal
from firsthop.reloading import Reloading, Source
from firsthop.signaling.clientsecret import ClientSecrets
from firsthop.signaling.sealed import Seals

OLD, NEW = "ab" * 32, "cd" * 32
OLD_SECRET, NEW_SECRET = "12" * 32, "34" * 32
FLOW, OWNER = bytes(range(20)), bytes(range(18))
TERMS = Terms(session={"instructions": "be brief"})
PLACE = Place("cluster", 1)


class Process:
    """What of one process seals and opens, as its settings file says now."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, values: dict[str, Any]) -> None:
        self._path.write_text(yaml.safe_dump(values))

    def start(self) -> None:
        source = Source([self._path], {})
        settings = source.load()
        self.reloading = Reloading(settings, source)
        self.reloading.tell(self.apply)
        self.settings = settings
        self.ids = CallIds.of(settings)
        self.secrets = ClientSecrets.of(settings)
        self.seals = Seals(settings)
        self.seal = self.seals("a purpose")
        self.flows = FlowSeal(settings.key_bytes(), settings.key_id, ttl_seconds=90)
        self.beats = BeatSeal(*_ring(settings))

    def apply(self, settings: Settings) -> None:
        """Take over other keys, each class as its owner has it do."""
        self.settings = settings
        keys = settings.key_bytes()
        self.ids.use(keys, settings.key_id)
        if (ring := keyring.of_secrets(settings)) is not None:
            self.secrets.use(*ring)
        self.seals.use(settings)
        self.flows.use(keys, settings.key_id)
        self.beats.use(*_ring(settings))

    def sealed(self) -> Iterator[Any]:
        """What this process seals now: each as a check that another process opens it."""
        ufrag = native.seal_token(
            master=self.settings.key_bytes()[self.settings.key_id],
            key_id=self.settings.key_id,
            cluster=1,
            address="127.0.0.1",
            port=3500,
            expiry_slot=(int(time.time()) // 900 + 12) % 256,
            nonce=bytes(6),
        )
        now = datetime.now(UTC)
        yield lambda other: token.inspect(ufrag, other.settings, now).refusal is None
        call_id = self.ids.mint()
        yield lambda other: other.ids.owner(call_id) is not None
        secret = self.secrets.seal(TERMS, int(time.time()) + 600)
        yield lambda other: other.secrets.open(secret, time.time()) == TERMS
        sealed = self.seal.close({"a": 1}, 0)
        yield lambda other: other.seal.open(sealed) is not None
        name = self.flows.name(FLOW)
        value = self.flows.seal(name, OWNER, time.time())
        yield lambda other: name in other.flows.names(FLOW)
        yield lambda other: other.flows.open(name, value, time.time()) == OWNER
        place = self.beats.name(PLACE)
        slot = self.beats.close(place, bytes(8), Beat(PLACE, 3), time.time())
        yield lambda other: place in other.beats.names(PLACE)
        yield lambda other: other.beats.open(place, PLACE, slot) is not None


def _ring(settings: Settings) -> keyring.Keyring:
    ring = keyring.of_fleet(settings)
    assert ring is not None
    return ring


def values(ids: tuple[int, ...], key_id: int, with_secrets: bool) -> dict[str, Any]:
    cluster_keys, secret_keys = {0: OLD, 1: NEW}, {0: OLD_SECRET, 1: NEW_SECRET}
    written: dict[str, Any] = {"keys": {id_: cluster_keys[id_] for id_ in ids}, "key_id": key_id}
    if with_secrets:
        secrets = {id_: secret_keys[id_] for id_ in ids}
        written["signaling"] = {"secret_keys": secrets, "secret_key_id": key_id}
    return written


@pytest.mark.parametrize("with_secrets", [False, True])
async def test_in_the_documented_order_nothing_is_refused_at_any_step(
    tmp_path: Path, with_secrets: bool
) -> None:
    processes = [Process(tmp_path / f"{name}.yaml") for name in ("relay", "one", "other")]
    for process in processes:
        process.write(values((0,), 0, with_secrets))
        process.start()
    checks: list[Any] = []
    # Each process has its turn alone, so that every mixture is seen that there may be.
    for ids, key_id in [((0,), 0), ((0, 1), 0), ((0, 1), 1)]:
        for process in processes:
            process.write(values(ids, key_id, with_secrets))
            await process.reloading.check()
            assert process.settings.key_id == key_id
            for sealing in processes:
                checks += sealing.sealed()
            for opening in processes:
                assert all(check(opening) for check in checks)
    # The old key has had its time: what was sealed under the new one goes on.
    checks = [check for process in processes for check in process.sealed()]
    for process in processes:
        process.write(values((1,), 1, with_secrets))
        await process.reloading.check()
        for opening in processes:
            assert all(check(opening) for check in checks)


async def test_in_another_order_something_is_refused(tmp_path: Path) -> None:
    """That the test above can fail."""
    one, other = Process(tmp_path / "one.yaml"), Process(tmp_path / "other.yaml")
    for process in (one, other):
        process.write(values((0,), 0, False))
        process.start()
    one.write(values((0, 1), 1, False))
    await one.reloading.check()
    assert other.ids.owner(one.ids.mint()) is None
