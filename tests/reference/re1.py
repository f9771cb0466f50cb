"""RE1, the hop header between relay and transceiver."""

import hmac
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC = 0xE5
VERSION = 1
TICK_SECONDS = 16
MASK_64 = 2**64 - 1

# Magic, shape, flags and key id, hop limit, tick, client port, ingress, payload length.
FIXED = struct.Struct(">BBBBHHHH")
UP, DOWN = "up", "down"


class Refused(Exception):
    """A record is no good; `reason` is the name that every implementation gives to the case."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Address:
    """A transport address, written `192.0.2.1:3478` or `[2001:db8::1]:3478`."""

    ip: IPv4Address | IPv6Address
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        host, _, port = text.rpartition(":")
        return cls(ip=ip_address(host.removeprefix("[").removesuffix("]")), port=int(port))

    def __str__(self) -> str:
        host = f"[{self.ip}]" if self.ip.version == 6 else str(self.ip)
        return f"{host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Header:
    """The fields of a header; `flags` are its six low bits, without the key id above them."""

    direction: str
    flags: int
    key_id: int
    hop_limit: int
    tick: int
    client: Address
    ingress: int
    return_hop: Address | None


@dataclass(frozen=True, kw_only=True)
class Record:
    """One header and the client's packet behind it."""

    header: Header
    payload: bytes
    covered: bytes
    mac: bytes


def tick_at(unix_seconds: int) -> int:
    """Return the 16-second tick of a moment, modulo 65536."""
    return unix_seconds // TICK_SECONDS % 65536


def pair_key(secret: bytes, owner: Address) -> bytes:
    """Derive the SipHash key of the pair whose transceiver side is `owner`."""
    ip = owner.ip
    mapped = bytes(10) + b"\xff\xff" + ip.packed if ip.version == 4 else ip.packed
    info = b"RE1" + mapped + owner.port.to_bytes(2)
    return HKDF(algorithm=SHA256(), length=16, salt=b"firsthop", info=info).derive(secret)


def edge_key(master: bytes) -> bytes:
    """Derive what an edge relay has of a cluster's master: RT1's two keys, and its hop key."""
    return b"".join(
        HKDF(algorithm=SHA256(), length=16, salt=b"firsthop", info=info).derive(master)
        for info in (b"RT1 tag", b"RT1 mask", b"RE1 edge")
    )


def edge_hop_key(key: bytes) -> bytes:
    """Return the SipHash key between edge relays and cluster relays, a part of the edge key."""
    return key[32:]


def seal(header: Header, key: bytes) -> bytes:
    """Write the header as it is on the wire, with a payload length of zero."""
    return_hop = header.return_hop
    shape = VERSION << 5
    shape |= (header.direction == DOWN) << 4
    shape |= (header.client.ip.version == 6) << 3
    if return_hop is not None:
        shape |= (return_hop.ip.version == 6) << 2
        shape |= 1
    covered = FIXED.pack(
        MAGIC,
        shape,
        header.key_id << 6 | header.flags,
        header.hop_limit,
        header.tick,
        header.client.port,
        header.ingress,
        0,
    )
    covered += header.client.ip.packed
    if return_hop is not None:
        covered += return_hop.ip.packed + return_hop.port.to_bytes(2)
    return covered + mac(key, covered)


def record(sealed: bytes, payload: bytes) -> bytes:
    """Put `payload` behind a sealed header."""
    return sealed[:10] + len(payload).to_bytes(2) + sealed[12:] + payload


def mac(key: bytes, covered: bytes) -> bytes:
    """Compute SipHash-2-4 of the header, its length field zero, as a big-endian integer."""
    return siphash_2_4(key, covered[:10] + bytes(2) + covered[12:]).to_bytes(8)


def split(datagram: bytes) -> tuple[list[Record], bool]:
    """Return the records of a datagram, and whether all of it was well-formed."""
    records: list[Record] = []
    position = 0
    while True:
        try:
            parsed, position = _record_at(datagram, position)
        except (ValueError, struct.error):
            return records, False
        records.append(parsed)
        if position == len(datagram) or datagram[position] == 0:
            return records, True


def verify(
    parsed: Record, *, secret: bytes, key_id: int, owner: Address, unix_seconds: int
) -> None:
    """Check a record for a receiver that holds one cluster secret, `secret` under `key_id`.

    Raises `Refused` with the reason "unknown_key", "mac" or "tick", the first that applies.
    """
    if parsed.header.key_id != key_id:
        raise Refused("unknown_key")
    if not hmac.compare_digest(parsed.mac, mac(pair_key(secret, owner), parsed.covered)):
        raise Refused("mac")
    ahead = (parsed.header.tick - tick_at(unix_seconds)) % 65536
    if 2 < ahead < 65534:
        raise Refused("tick")


def _record_at(datagram: bytes, start: int) -> tuple[Record, int]:
    magic, shape, flags, hop_limit, tick, client_port, ingress, length = FIXED.unpack_from(
        datagram, start
    )
    version, down, client_v6, hop_v6, hops = (
        shape >> 5,
        shape >> 4 & 1,
        shape >> 3 & 1,
        shape >> 2 & 1,
        shape & 3,
    )
    if magic != MAGIC or version != VERSION or hops > 1 or hop_v6 > hops:
        raise ValueError("not an RE1 header")
    position = start + FIXED.size

    def take(size: int) -> bytes:
        nonlocal position
        if position + size > len(datagram):
            raise ValueError("the record runs past the end")
        position += size
        return datagram[position - size : position]

    client = Address(ip=ip_address(take(16 if client_v6 else 4)), port=client_port)
    return_hop = None
    if hops:
        hop_ip = ip_address(take(16 if hop_v6 else 4))
        return_hop = Address(ip=hop_ip, port=int.from_bytes(take(2)))
    covered = datagram[start:position]
    tag = take(8)
    payload = take(length)
    header = Header(
        direction=DOWN if down else UP,
        flags=flags & 0x3F,
        key_id=flags >> 6,
        hop_limit=hop_limit,
        tick=tick,
        client=client,
        ingress=ingress,
        return_hop=return_hop,
    )
    return Record(header=header, payload=payload, covered=covered, mac=tag), position


def siphash_2_4(key: bytes, message: bytes) -> int:
    """Compute SipHash-2-4 (Aumasson and Bernstein, 2012), a 64-bit keyed hash."""
    k0, k1 = struct.unpack("<QQ", key)
    state: list[int] = [
        k0 ^ 0x736F6D6570736575,
        k1 ^ 0x646F72616E646F6D,
        k0 ^ 0x6C7967656E657261,
        k1 ^ 0x7465646279746573,
    ]
    # The last word is what is left over, zeros, and the message's length modulo 256.
    padded = message + bytes(-(len(message) + 1) % 8) + bytes([len(message) % 256])
    for (word,) in struct.iter_unpack("<Q", padded):
        state[3] ^= word
        _sip_rounds(state, 2)
        state[0] ^= word
    state[2] ^= 0xFF
    _sip_rounds(state, 4)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _sip_rounds(state: list[int], count: int) -> None:
    v0, v1, v2, v3 = state
    for _ in range(count):
        v0 = (v0 + v1) & MASK_64
        v1 = _rotate(v1, 13) ^ v0
        v0 = _rotate(v0, 32)
        v2 = (v2 + v3) & MASK_64
        v3 = _rotate(v3, 16) ^ v2
        v0 = (v0 + v3) & MASK_64
        v3 = _rotate(v3, 21) ^ v0
        v2 = (v2 + v1) & MASK_64
        v1 = _rotate(v1, 17) ^ v2
        v2 = _rotate(v2, 32)
    state[:] = v0, v1, v2, v3


def _rotate(word: int, bits: int) -> int:
    return (word << bits | word >> 64 - bits) & MASK_64
