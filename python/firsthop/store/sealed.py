"""Names and values that say nothing to the store that holds them.

A name is a keyed hash, so the store learns nothing of what it stands for. A value is sealed with
its name as associated data, so who can write to the store can neither make one up nor hang one
that it has seen on another name; what it can do is forget, or tell again what was true a short
while ago.

::

    name   = prefix ‖ hex of the first 16 bytes of HMAC-SHA256(K1, what it stands for)
    value  = key id (1) ‖ nonce (12) ‖ AES-GCM-SIV(K2, format (1) ‖ Unix time (8) ‖ content)

K1 and K2 come from the master by HKDF-SHA256 (RFC 5869) under labels of their own. AES-GCM-SIV
(RFC 8452) forgives a nonce that is drawn twice, which random nonces of 96 bits may be after years
of writing.
"""

from __future__ import annotations

import hmac
import os
import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from firsthop.derived import derived

_NAME_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_FORMAT: Final = 1
_HEAD: Final = struct.Struct(">BQ")
#: By how much a value is longer than its content.
OVERHEAD: Final = 1 + _NONCE_BYTES + _HEAD.size + _TAG_BYTES
#: By how much the clocks of two processes may differ, in seconds.
SKEW: Final = 30


class Opened(NamedTuple):
    """What a value holds."""

    content: bytes
    written: int
    """When it was sealed, by the clock of who did, in Unix seconds."""


class StoreSeal:
    """Names and seals what is kept for one purpose.

    Processes find each other's entries while they have a key in common: they seal under the key of
    `key_id`, and look under the names of all.

    Args:
        masters: 32 bytes by key id.
        key_id: The key to seal under, one of `masters`.
        purpose: What the keys are derived for.
        prefix: What every name begins with.
        content_bytes: The length of every content.
    """

    def __init__(
        self,
        masters: Mapping[int, bytes],
        key_id: int,
        *,
        purpose: str,
        prefix: str,
        content_bytes: int,
    ) -> None:
        self._purpose = purpose
        self._prefix = prefix
        self.value_bytes: Final = OVERHEAD + content_bytes
        self.use(masters, key_id)

    def use(self, masters: Mapping[int, bytes], key_id: int) -> None:
        """Take other keys from now on."""
        others = sorted(masters.keys() - {key_id})
        names = [derived(masters[id_], f"{self._purpose} name") for id_ in (key_id, *others)]
        ciphers = {
            id_: AESGCMSIV(derived(master, f"{self._purpose} value"))
            for id_, master in masters.items()
        }
        self._name_keys, self._ciphers, self._key_id = names, ciphers, key_id

    def name(self, thing: bytes) -> str:
        """The name under which to write what there is of `thing`."""
        return self._name(self._name_keys[0], thing)

    def names(self, thing: bytes) -> list[str]:
        """Every name under which another process may have written it, ours first."""
        return [self._name(key, thing) for key in self._name_keys]

    def close(self, name: str, content: bytes, unix_seconds: float) -> bytes:
        """Seal a content as the value of `name`."""
        head, nonce = bytes([self._key_id]), os.urandom(_NONCE_BYTES)
        plain = _HEAD.pack(_FORMAT, int(unix_seconds)) + content
        return head + nonce + self._ciphers[self._key_id].encrypt(nonce, plain, name.encode())

    def open(self, name: str, value: bytes) -> Opened | None:
        """Open the value of `name`; None if it is not ours, or not this name's."""
        cipher = self._ciphers.get(value[0]) if len(value) == self.value_bytes else None
        if cipher is None:
            return None
        nonce, sealed = value[1 : 1 + _NONCE_BYTES], value[1 + _NONCE_BYTES :]
        try:
            plain = cipher.decrypt(nonce, sealed, name.encode())
        except InvalidTag:
            return None
        value_format, written = _HEAD.unpack_from(plain)
        return Opened(plain[_HEAD.size :], written) if value_format == _FORMAT else None

    def _name(self, key: bytes, thing: bytes) -> str:
        return self._prefix + hmac.digest(key, thing, "sha256")[:_NAME_BYTES].hex()
