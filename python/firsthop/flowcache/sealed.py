"""Flows and owners as a shared store may see them: names and values that say nothing to it.

A name is a keyed hash of the flow, so the store learns no client's address. A value is sealed with
its name as associated data, so who can write to the store can neither make one up nor hang one
that it has seen on another flow; what it can do is forget, or tell again what was true a short
while ago.

::

    name   = "firsthop:flow:" ‖ hex of the first 16 bytes of HMAC-SHA256(K1, flow)
    value  = key id (1) ‖ nonce (12) ‖ AES-GCM-SIV(K2, format (1) ‖ Unix time (8) ‖ owner (18))

K1 and K2 come from the master by HKDF-SHA256 (RFC 5869) under labels of their own. AES-GCM-SIV
(RFC 8452) forgives a nonce that is drawn twice, which random nonces of 96 bits may be after years
of writing.
"""

from __future__ import annotations

import hmac
import os
import struct
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from firsthop.derived import derived
from firsthop.flowcache.base import OWNER_BYTES, Flow, Owner

_PREFIX: Final = "firsthop:flow:"
_NAME_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_FORMAT: Final = 1
_PLAIN: Final = struct.Struct(f">BQ{OWNER_BYTES}s")
#: Length of every value.
VALUE_BYTES: Final = 1 + _NONCE_BYTES + _PLAIN.size + _TAG_BYTES
#: By how much the clocks of two relays may differ, in seconds.
_SKEW: Final = 30


class Seal:
    """Names flows and seals owners, under the keys of one cluster.

    Relays find each other's entries while they have a key in common: they seal under the key of
    `key_id`, and look under the names of all.

    Args:
        masters: 32 bytes by key id.
        key_id: The key to seal under, one of `masters`.
        ttl_seconds: How old a value may be.
    """

    def __init__(self, masters: Mapping[int, bytes], key_id: int, *, ttl_seconds: int) -> None:
        others = sorted(masters.keys() - {key_id})
        self._name_keys = [derived(masters[id_], "flow cache name") for id_ in (key_id, *others)]
        self._ciphers = {
            id_: AESGCMSIV(derived(master, "flow cache value")) for id_, master in masters.items()
        }
        self._key_id = key_id
        self.ttl_seconds = ttl_seconds

    def name(self, flow: Flow) -> str:
        """The name under which to write a flow."""
        return _name(self._name_keys[0], flow)

    def names(self, flow: Flow) -> list[str]:
        """Every name under which a relay of the cluster may have written a flow, ours first."""
        return [_name(key, flow) for key in self._name_keys]

    def seal(self, name: str, owner: Owner, unix_seconds: float) -> bytes:
        """Seal an owner as the value of `name`."""
        head, nonce = bytes([self._key_id]), os.urandom(_NONCE_BYTES)
        plain = _PLAIN.pack(_FORMAT, int(unix_seconds), owner)
        return head + nonce + self._ciphers[self._key_id].encrypt(nonce, plain, name.encode())

    def open(self, name: str, value: bytes, unix_seconds: float) -> Owner | None:
        """Open the value of `name`; None if it is not ours, not this name's, or too old."""
        cipher = self._ciphers.get(value[0]) if len(value) == VALUE_BYTES else None
        if cipher is None:
            return None
        nonce, sealed = value[1 : 1 + _NONCE_BYTES], value[1 + _NONCE_BYTES :]
        try:
            plain = cipher.decrypt(nonce, sealed, name.encode())
        except InvalidTag:
            return None
        value_format, written, owner = _PLAIN.unpack(plain)
        age = unix_seconds - written
        if value_format != _FORMAT or not -_SKEW <= age <= self.ttl_seconds + _SKEW:
            return None
        return bytes(owner)


def _name(key: bytes, flow: Flow) -> str:
    return _PREFIX + hmac.digest(key, flow, "sha256")[:_NAME_BYTES].hex()
