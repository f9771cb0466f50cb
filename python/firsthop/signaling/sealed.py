"""JSON that a client keeps for us: it cannot read it, change it or make it up.

What one transceiver of a cluster has sealed, any other opens, and none remembers it. A seal is for
one purpose: what is sealed for another does not open.

::

    text = prefix ‖ base64url(head (1) ‖ nonce (12) ‖ AES-GCM-SIV(K, expiry (8) ‖ zlib(JSON)))

The head is the format in its upper half and the key's id in its lower; it is authenticated. K comes
from the cluster key under the purpose. AES-GCM-SIV (RFC 8452) forgives a nonce that is drawn twice.
The alphabet is one that headers, paths and WebSocket subprotocols take.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import struct
import zlib
from collections.abc import Mapping
from typing import Any, Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from firsthop import keyring
from firsthop.config import Settings
from firsthop.derived import derived

#: Longest text, in characters. It travels in one line of a request's head, of which servers and
#: proxies take 8 KiB; the rest is for what stands beside it.
MAX_SEALED: Final = 7000
_FORMAT: Final = 0x10
_NONCE_BYTES: Final = 12
_EXPIRY: Final = struct.Struct(">Q")


class Seal:
    """Seals and opens for one purpose, under the keys of a cluster.

    Args:
        keys: Cluster keys by id, 32 bytes each.
        key_id: The key to seal under, one of `keys`.
        purpose: What the key is derived for.
        prefix: What every text begins with.
    """

    def __init__(
        self, keys: Mapping[int, bytes], key_id: int, purpose: str, prefix: str = ""
    ) -> None:
        self._purpose = purpose
        self._prefix = prefix
        self.use(keys, key_id)

    @classmethod
    def of(cls, settings: Settings, purpose: str, prefix: str = "") -> Self:
        """Make that of a cluster with these settings; without keys, good for this object."""
        ring = keyring.of_secrets(settings) or keyring.of_this_process()
        return cls(*ring, purpose, prefix)

    def use(self, keys: Mapping[int, bytes], key_id: int) -> None:
        """Take other keys from now on."""
        self._ciphers = {id_: AESGCMSIV(derived(key, self._purpose)) for id_, key in keys.items()}
        self._key_id = key_id

    def close(self, value: Any, expires_at: int) -> str:
        """Return the text that holds a JSON value until `expires_at`, in Unix seconds.

        It may be longer than `MAX_SEALED`; then it does not open.
        """
        content = json.dumps(value, separators=(",", ":")).encode()
        plain = _EXPIRY.pack(expires_at) + zlib.compress(content, 9)
        head, nonce = bytes([_FORMAT | self._key_id]), os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self._key_id].encrypt(nonce, plain, head)
        return self._prefix + _encoded(head + nonce + sealed)

    def open(self, text: str) -> tuple[Any, int] | None:
        """Return what a text holds and when it expires; None if it is none of ours, or changed."""
        raw = self._decoded(text)
        cipher = self._ciphers.get(raw[0] ^ _FORMAT) if raw else None
        if cipher is None:
            return None
        sealed = raw[1 + _NONCE_BYTES :]
        try:
            plain = cipher.decrypt(raw[1 : 1 + _NONCE_BYTES], sealed, raw[:1])
        except (InvalidTag, ValueError):
            return None
        [expires_at] = _EXPIRY.unpack_from(plain)
        return json.loads(zlib.decompress(plain[_EXPIRY.size :])), expires_at

    def _decoded(self, text: str) -> bytes:
        """The bytes of a text, or none: what is sealed has one spelling."""
        if len(text) > MAX_SEALED or not text.startswith(self._prefix):
            return b""
        text = text.removeprefix(self._prefix)
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return b""
        return raw if _encoded(raw) == text else b""


class Seals:
    """Makes the seals of a transceiver, a purpose each, and gives all of them other keys.

    Args:
        settings: The cluster's keys.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: list[Seal] = []

    def __call__(self, purpose: str) -> Seal:
        """Return the seal of a purpose. It lives as long as its transceiver."""
        seal = Seal.of(self._settings, purpose)
        self._made.append(seal)
        return seal

    def use(self, settings: Settings) -> None:
        """Seal and open under the keys of these settings from now on."""
        self._settings = settings
        if (ring := keyring.of_secrets(settings)) is not None:
            for seal in self._made:
                seal.use(*ring)


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
