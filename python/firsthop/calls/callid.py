"""Ids of calls: to a transceiver they say whose a call is, to everybody else in which cluster.

Hang-ups and sidebands arrive wherever a load balancer sends them. The id tells a gateway, which has
no keys, the cluster, and the transceiver that gets one where the owner of the call is, so nothing
has to be looked up.

::

    id = "rtc_" ‖ base32(head (1) ‖ cluster (2) ‖ AES-SIV(K, random (16) ‖ port (2) ‖ IP (4 or 16)))

The head is the format in its upper half and the key's id in its lower; it and the cluster are
authenticated. K comes from the cluster key under a label of its own. AES-SIV (RFC 5297) needs no
nonce, and the 128 random bits make an id as hard to guess as a secret. In lower case and without
padding the id can stand in a path, a header or a file name.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
import struct
from collections.abc import Mapping
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from firsthop.addresses import own_address
from firsthop.config import Settings
from firsthop.derived import derived
from firsthop.values import KEY_BYTES

_PREFIX: Final = "rtc_"
_FORMAT: Final = 0x20
_KEY_IDS: Final = 0x0F
_RANDOM_BYTES: Final = 16
_SIV_KEY_BYTES: Final = 64
_CLEAR: Final = struct.Struct(">BH")
_PORT: Final = struct.Struct(">H")
#: Of an id of an owner with an IPv4 and with an IPv6 address, in bytes; the SIV has 16.
_LENGTHS: Final = tuple(_CLEAR.size + 16 + _RANDOM_BYTES + _PORT.size + ip for ip in (4, 16))
#: Longer than any id: what is longer is not looked at.
_MAX_LENGTH: Final = 128


class CallIds:
    """Makes the ids of this transceiver's calls, and reads those of the whole cluster.

    Args:
        keys: Cluster keys by id, 32 bytes each.
        key_id: The key to seal under, one of `keys`.
        address: Where other transceivers reach this one's HTTP, ``ip:port``.
        cluster: The id of the cluster, 0 to 65535.
    """

    def __init__(
        self, keys: Mapping[int, bytes], key_id: int, address: str, cluster: int = 1
    ) -> None:
        self.use(keys, key_id)
        self._place = _packed(address)
        self._cluster = cluster
        self.address: Final = _text(self._place)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Make those of a transceiver with these settings.

        Without cluster keys there is no cluster: its ids are good for this object.
        """
        keys = {id_: bytes.fromhex(key) for id_, key in settings.keys.items()}
        keys = keys or {settings.key_id: os.urandom(KEY_BYTES)}
        return cls(keys, settings.key_id, reachable(settings), settings.transceiver.cluster)

    def use(self, keys: Mapping[int, bytes], key_id: int) -> None:
        """Take other keys from now on."""
        self._ciphers = {
            id_: AESSIV(derived(key, "call id", _SIV_KEY_BYTES)) for id_, key in keys.items()
        }
        self._key_id = key_id

    def mint(self) -> str:
        """Return the id of a new call."""
        clear = _CLEAR.pack(_FORMAT | self._key_id, self._cluster)
        plain = os.urandom(_RANDOM_BYTES) + self._place
        sealed = self._ciphers[self._key_id].encrypt(plain, [clear])
        return _PREFIX + base64.b32encode(clear + sealed).decode().rstrip("=").lower()

    @staticmethod
    def cluster_of(call_id: str) -> int | None:
        """The cluster that an id names, read without keys; None if it has not the form of one.

        Whether the id is genuine, only a transceiver of that cluster can tell.
        """
        raw = _decoded(call_id)
        if len(raw) not in _LENGTHS or raw[0] & ~_KEY_IDS != _FORMAT:
            return None
        cluster: int = _CLEAR.unpack_from(raw)[1]
        return cluster

    def owner(self, call_id: str) -> str | None:
        """Where the HTTP of the call's transceiver is, ``ip:port``; None if it is not one of ours.

        That there is such a call does not follow: it may have ended.
        """
        raw = _decoded(call_id)
        cipher = self._ciphers.get(raw[0] ^ _FORMAT) if raw else None
        if cipher is None:
            return None
        try:
            clear, sealed = raw[: _CLEAR.size], raw[_CLEAR.size :]
            return _text(cipher.decrypt(sealed, [clear])[_RANDOM_BYTES:])
        except (InvalidTag, ValueError):
            return None


def reachable(settings: Settings) -> str:
    """Where other transceivers reach this one's HTTP, ``ip:port``."""
    signaling = settings.signaling
    if signaling.reachable is not None:
        return signaling.reachable
    host, _, port = signaling.listen.rpartition(":")
    if ipaddress.ip_address(host.strip("[]")).is_unspecified:
        return f"{own_address()}:{port}"
    return signaling.listen


def _decoded(call_id: str) -> bytes:
    """The bytes of an id, or none: one id has one spelling."""
    text = call_id.removeprefix(_PREFIX)
    if not call_id.startswith(_PREFIX) or not call_id.isascii() or len(call_id) > _MAX_LENGTH:
        return b""
    try:
        raw = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except binascii.Error:
        return b""
    return raw if base64.b32encode(raw).decode().rstrip("=").lower() == text else b""


def _packed(address: str) -> bytes:
    host, _, port = address.rpartition(":")
    return _PORT.pack(int(port)) + ipaddress.ip_address(host.strip("[]")).packed


def _text(place: bytes) -> str:
    ip = ipaddress.ip_address(place[_PORT.size :])
    [port] = _PORT.unpack_from(place)
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"
