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

from firsthop.config import Settings
from firsthop.derived import derived
from firsthop.values import KEY_BYTES

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
        self._ciphers = {id_: AESGCMSIV(derived(key, purpose)) for id_, key in keys.items()}
        self._key_id = key_id
        self._prefix = prefix

    @classmethod
    def of(cls, settings: Settings, purpose: str, prefix: str = "") -> Self:
        """Make that of a cluster with these settings; without keys, good for this object."""
        return cls(keys_of(settings), settings.key_id, purpose, prefix)

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


def keys_of(settings: Settings) -> dict[int, bytes]:
    """The cluster's keys by id, 32 bytes each; one that nobody else has, if there are none."""
    keys = {id_: bytes.fromhex(key) for id_, key in settings.keys.items()}
    return keys or {settings.key_id: os.urandom(KEY_BYTES)}


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
