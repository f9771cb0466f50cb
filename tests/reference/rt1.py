"""RT1, the routing token: a transceiver's address as a 32-character ICE ufrag."""

import base64
import binascii
import hmac
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SLOT_SECONDS = 900
VERSION = 1

# The plaintext by format: cluster, address (or its interface id), port, expiry slot, nonce.
FORMAT_IPV4 = 0
FORMAT_IPV6 = 1
LAYOUT = {FORMAT_IPV4: ">H4sHB6s", FORMAT_IPV6: ">H8sHB2s"}


class Refused(Exception):
    """The token is no good; `reason` is the name that every implementation gives to the case."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What a token says. An IPv6 `address` has a zero /64 prefix: the token does not carry it."""

    cluster: int
    address: IPv4Address | IPv6Address
    port: int
    expiry_slot: int


def slot_at(unix_seconds: int) -> int:
    """Return the 15-minute slot of a moment, modulo 256."""
    return unix_seconds // SLOT_SECONDS % 256


def seal(*, master: bytes, key_id: int, claims: Claims, nonce: bytes) -> str:
    """Seal `claims` as a ufrag. An IPv6 owner uses the first two of the six bytes of `nonce`."""
    if not 0 <= key_id <= 6 or len(master) != 32 or len(nonce) != 6:
        raise ValueError("key ids run from 0 to 6, a master has 32 bytes, a nonce 6")
    if isinstance(claims.address, IPv4Address):
        token_format, address, used_nonce = FORMAT_IPV4, claims.address.packed, nonce
    else:
        token_format, address, used_nonce = FORMAT_IPV6, claims.address.packed[8:], nonce[:2]
    header = bytes([key_id << 5 | token_format << 3 | VERSION])
    plain = struct.pack(
        LAYOUT[token_format], claims.cluster, address, claims.port, claims.expiry_slot, used_nonce
    )
    tag = _tag(master, header, plain)
    return base64.b64encode(header + tag + _xor(plain, _mask(master, header, tag))).decode()


def open_token(*, master: bytes, key_id: int, ufrag: str, unix_seconds: int) -> Claims:
    """Return the claims of `ufrag` to a receiver that holds one key, `master` under `key_id`.

    Raises `Refused` with the reason "shape", "version", "unknown_key", "tag" or "expired", the
    first that applies in this order.
    """
    if len(ufrag) != 32 or "=" in ufrag:
        raise Refused("shape")
    try:
        token = base64.b64decode(ufrag, validate=True)
    except (binascii.Error, ValueError):
        raise Refused("shape") from None
    header, tag, cipher_text = token[:1], token[1:9], token[9:]
    token_key_id, token_format, version = header[0] >> 5, header[0] >> 3 & 3, header[0] & 7
    if version != VERSION or token_format not in LAYOUT:
        raise Refused("version")
    if token_key_id != key_id:
        raise Refused("unknown_key")
    plain = _xor(cipher_text, _mask(master, header, tag))
    if not hmac.compare_digest(tag, _tag(master, header, plain)):
        raise Refused("tag")
    cluster, address, port, expiry_slot, _ = struct.unpack(LAYOUT[token_format], plain)
    slots_ahead = (expiry_slot - slot_at(unix_seconds)) % 256
    # 25 hours and one slot ahead, or one slot behind.
    if not (slots_ahead <= 101 or slots_ahead == 255):
        raise Refused("expired")
    return Claims(
        cluster=cluster,
        address=IPv4Address(address)
        if token_format == FORMAT_IPV4
        else IPv6Address(bytes(8) + address),
        port=port,
        expiry_slot=expiry_slot,
    )


def _tag(master: bytes, header: bytes, plain: bytes) -> bytes:
    return _aes_block(_derive(master, b"RT1 tag"), header + plain)[:8]


def _mask(master: bytes, header: bytes, tag: bytes) -> bytes:
    return _aes_block(_derive(master, b"RT1 mask"), header + tag + bytes(7))[:15]


def _derive(master: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=16, salt=b"firsthop", info=info).derive(master)


def _aes_block(key: bytes, block: bytes) -> bytes:
    # One block of the bare cipher: RT1 is its own mode of operation.
    encryptor = Cipher(algorithms.AES128(key), modes.ECB()).encryptor()
    return encryptor.update(block) + encryptor.finalize()


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
