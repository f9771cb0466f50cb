"""Client secrets: what a call may be, sealed, so that a browser can hold it and nobody keeps it.

A secret holds the session that its calls begin with and the events that its callers may send. Any
transceiver of the cluster opens it, whichever made it; none remembers it, so it can be used again
until it expires, and is revoked only by changing the cluster's keys.

::

    secret = "ek_" ‖ base64url(head (1) ‖ nonce (12) ‖ AES-GCM-SIV(K, expiry (8) ‖ zlib(JSON)))

The head is the format in its upper half and the key's id in its lower; it is authenticated. K comes
from the cluster key under a label of its own. AES-GCM-SIV (RFC 8452) forgives a nonce that is drawn
twice. The alphabet is one that headers and WebSocket subprotocols take.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
import struct
import zlib
from collections.abc import Mapping
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from firsthop.calls.terms import Terms
from firsthop.config import Settings
from firsthop.derived import derived
from firsthop.errors import AccessError, SignalingError
from firsthop.values import CLIENT_SECRET, KEY_BYTES

#: Longest secret, in characters. It travels in one line of a request's head, of which servers and
#: proxies take 8 KiB; the rest is for what stands beside it.
MAX_SECRET: Final = 7000
_FORMAT: Final = 0x10
_NONCE_BYTES: Final = 12
_EXPIRY: Final = struct.Struct(">Q")


class ClientSecrets:
    """Seals and opens client secrets under the keys of a cluster.

    Args:
        keys: Cluster keys by id, 32 bytes each.
        key_id: The key to seal under, one of `keys`.
    """

    def __init__(self, keys: Mapping[int, bytes], key_id: int) -> None:
        self._ciphers = {id_: AESGCMSIV(derived(key, "client secret")) for id_, key in keys.items()}
        self._key_id = key_id

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Make those of a cluster with these settings; without keys, good for this object."""
        keys = {id_: bytes.fromhex(key) for id_, key in settings.keys.items()}
        return cls(keys or {settings.key_id: os.urandom(KEY_BYTES)}, settings.key_id)

    def seal(self, terms: Terms, expires_at: int) -> str:
        """Return a secret that is good for calls on these terms before `expires_at` (Unix seconds).

        Raises:
            SignalingError: The session is too large to travel in a header.
        """
        events = None if terms.client_events is None else sorted(terms.client_events)
        content = json.dumps([terms.session, events], separators=(",", ":")).encode()
        plain = _EXPIRY.pack(expires_at) + zlib.compress(content, 9)
        head, nonce = bytes([_FORMAT | self._key_id]), os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self._key_id].encrypt(nonce, plain, head)
        secret = CLIENT_SECRET + _encoded(head + nonce + sealed)
        if len(secret) > MAX_SECRET:
            raise SignalingError(
                f"the session is too large for a client secret, which travels in a header: it "
                f"would have {len(secret)} characters, and {MAX_SECRET} fit. Leave parts of it to "
                "a session.update, or place the call with an API key",
                code="session_too_large",
                param="session",
            )
        return secret

    def open(self, secret: str, now: float) -> Terms:
        """Return what a secret holds at the time `now`, in Unix seconds.

        Raises:
            AccessError: 401: it was not made under our keys, was changed, or is expired.
        """
        raw = _decoded(secret)
        cipher = self._ciphers.get(raw[0] ^ _FORMAT) if raw else None
        if cipher is None:
            raise _invalid()
        sealed = raw[1 + _NONCE_BYTES :]
        try:
            plain = cipher.decrypt(raw[1 : 1 + _NONCE_BYTES], sealed, raw[:1])
        except (InvalidTag, ValueError):
            raise _invalid() from None
        [expires_at] = _EXPIRY.unpack_from(plain)
        if now >= expires_at:
            ago = math.floor(now - expires_at)
            message = f"the client secret expired {ago} s ago; ask your server for a new one"
            raise AccessError(message, status=401, code="expired_client_secret")
        session, events = json.loads(zlib.decompress(plain[_EXPIRY.size :]))
        return Terms(session=session, client_events=None if events is None else frozenset(events))


def _invalid() -> AccessError:
    message = "the client secret is none of this server's: damaged, forged, or its key is retired"
    return AccessError(message, status=401, code="invalid_client_secret")


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decoded(secret: str) -> bytes:
    """The bytes of a secret, or none: one secret has one spelling."""
    text = secret.removeprefix(CLIENT_SECRET)
    if len(secret) > MAX_SECRET or not secret.startswith(CLIENT_SECRET):
        return b""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
    return raw if _encoded(raw) == text else b""
