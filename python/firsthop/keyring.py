"""Which keys serve for what, by the settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from firsthop.config import Settings
from firsthop.values import KEY_BYTES, KeyId


class Keyring(NamedTuple):
    """Keys of one kind; all open, one seals."""

    keys: Mapping[int, bytes]
    """32 bytes each, by id."""
    key_id: int
    """The one to seal under, one of `keys`."""

    def __repr__(self) -> str:
        return f"Keyring({sorted(self.keys)}, key_id={self.key_id})"


def of_cluster(settings: Settings) -> Keyring | None:
    """The keys of this cluster, if it has some."""
    return _ring(settings.keys, settings.key_id)


def of_secrets(settings: Settings) -> Keyring | None:
    """The keys of client secrets: those of all clusters, or else of this one."""
    signaling = settings.signaling
    return _ring(signaling.secret_keys, signaling.secret_key_id) or of_cluster(settings)


def of_fleet(settings: Settings) -> Keyring | None:
    """The keys of heartbeats."""
    return _ring(settings.fleet.keys, settings.fleet.key_id) or of_secrets(settings)


def of_this_process() -> Keyring:
    """A key that nobody else has, for who has no cluster."""
    return Keyring({0: os.urandom(KEY_BYTES)}, 0)


def _ring(keys: Mapping[KeyId, str], key_id: int) -> Keyring | None:
    if not keys:
        return None
    return Keyring({id_: bytes.fromhex(key) for id_, key in keys.items()}, key_id)
