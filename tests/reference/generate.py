"""Rewrites the test vectors and the fuzz seeds: `cd tests && python -m reference.generate`.

Everything is fixed, so that two runs write the same bytes.
"""

import base64
import hashlib
import hmac
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from reference import re1, rt1

Json = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests" / "vectors"
SEEDS = ROOT / "fuzz" / "seeds"

# The moment at which most cases happen: 2027-01-15 08:00 UTC, the first second of slot 128 and of
# tick 40224.
NOW = 1_800_000_000
# The first second of slot 0 and of tick 0 after NOW, for cases that wrap around.
SLOT_ZERO = -(-NOW // (256 * rt1.SLOT_SECONDS)) * 256 * rt1.SLOT_SECONDS
TICK_ZERO = -(-NOW // (65536 * re1.TICK_SECONDS)) * 65536 * re1.TICK_SECONDS

# The fuzz targets use the first of each.
MASTER = bytes(range(32))
OTHER_MASTER = hashlib.sha256(b"another master").digest()
SECRET = bytes(range(0x40, 0x60))
OTHER_SECRET = hashlib.sha256(b"another secret").digest()
OWNER = "10.0.0.7:5000"
NONCE = bytes.fromhex("a1b2c3d4e5f6")


# RT1


def rt1_vectors() -> Json:
    seal_cases = list(_rt1_seal_cases())
    return {"format": "RT1", "seal": seal_cases, "open": list(_rt1_open_cases(seal_cases))}


def _rt1_seal(
    name: str,
    address: str,
    port: int,
    *,
    master: bytes = MASTER,
    key_id: int = 0,
    cluster: int = 1,
    expiry_slot: int = 132,
    nonce: bytes = NONCE,
) -> Json:
    claims = rt1.Claims(
        cluster=cluster, address=ip_address(address), port=port, expiry_slot=expiry_slot
    )
    return {
        "name": name,
        "master": master.hex(),
        "key_id": key_id,
        "cluster": cluster,
        "address": address,
        "port": port,
        "expiry_slot": expiry_slot,
        "nonce": nonce.hex(),
        "ufrag": rt1.seal(master=master, key_id=key_id, claims=claims, nonce=nonce),
    }


def _rt1_seal_cases() -> Iterator[Json]:
    yield _rt1_seal("ipv4", "10.0.0.7", 5000)
    yield _rt1_seal("ipv4_another_nonce", "10.0.0.7", 5000, nonce=bytes.fromhex("a1b2c3d4e5f7"))
    yield _rt1_seal("ipv4_key_3", "10.0.0.7", 5000, key_id=3)
    yield _rt1_seal("ipv4_key_6_other_master", "10.0.0.7", 5000, key_id=6, master=OTHER_MASTER)
    yield _rt1_seal("ipv4_cluster_65535", "192.0.2.254", 65535, cluster=65535)
    yield _rt1_seal("ipv4_all_zero", "0.0.0.0", 0, cluster=0, expiry_slot=0, nonce=bytes(6))
    yield _rt1_seal(
        "ipv4_all_ones",
        "255.255.255.255",
        65535,
        cluster=65535,
        expiry_slot=255,
        nonce=b"\xff" * 6,
    )
    yield _rt1_seal("ipv6", "::a:b:c:d", 5000)
    yield _rt1_seal("ipv6_prefix_is_dropped", "2001:db8:1:2:a:b:c:d", 5000)
    yield _rt1_seal(
        "ipv6_nonce_counts_two_bytes", "::a:b:c:d", 5000, nonce=bytes.fromhex("a1b200000000")
    )
    yield _rt1_seal("ipv6_key_5", "::1", 1, key_id=5, cluster=512, expiry_slot=140)
    yield _rt1_seal(
        "ipv6_all_ones",
        "::ffff:ffff:ffff:ffff",
        65535,
        cluster=65535,
        expiry_slot=255,
        nonce=b"\xff" * 6,
    )


def _rt1_open(
    name: str,
    ufrag: str,
    *,
    master: bytes = MASTER,
    key_id: int = 0,
    unix_seconds: int = NOW,
) -> Json:
    case: Json = {
        "name": name,
        "master": master.hex(),
        "key_id": key_id,
        "ufrag": ufrag,
        "unix_seconds": unix_seconds,
    }
    try:
        claims = rt1.open_token(
            master=master, key_id=key_id, ufrag=ufrag, unix_seconds=unix_seconds
        )
    except rt1.Refused as refused:
        return case | {"error": refused.reason}
    return case | {
        "cluster": claims.cluster,
        "address": str(claims.address),
        "port": claims.port,
        "expiry_slot": claims.expiry_slot,
    }


def _rt1_open_cases(seal_cases: list[Json]) -> Iterator[Json]:
    for case in seal_cases:
        yield _rt1_open(
            case["name"],
            case["ufrag"],
            master=bytes.fromhex(case["master"]),
            key_id=case["key_id"],
            # Half-way into the expiry slot, in the week of NOW.
            unix_seconds=SLOT_ZERO + case["expiry_slot"] * rt1.SLOT_SECONDS + 450,
        )

    def with_slot(expiry_slot: int) -> str:
        ufrag = _rt1_seal("", "10.0.0.7", 5000, expiry_slot=expiry_slot)["ufrag"]
        assert isinstance(ufrag, str)
        return ufrag

    # The expiry slot around NOW, which is the first second of slot 128.
    yield _rt1_open("expires_in_this_slot", with_slot(128))
    yield _rt1_open("expired_one_slot_ago_is_skew", with_slot(127))
    yield _rt1_open("last_second_of_skew", with_slot(127), unix_seconds=NOW + 899)
    yield _rt1_open("first_second_after_skew", with_slot(127), unix_seconds=NOW + 900)
    yield _rt1_open("expired_two_slots_ago", with_slot(126))
    yield _rt1_open("25_hours_and_one_slot_ahead", with_slot(128 + 101))
    yield _rt1_open("25_hours_and_two_slots_ahead", with_slot(128 + 102))
    yield _rt1_open("half_a_cycle_off", with_slot(0))
    # Slots count modulo 256.
    yield _rt1_open("expiry_behind_the_wrap", with_slot(4), unix_seconds=SLOT_ZERO - 1)
    yield _rt1_open("skew_across_the_wrap", with_slot(255), unix_seconds=SLOT_ZERO)
    yield _rt1_open("expired_across_the_wrap", with_slot(254), unix_seconds=SLOT_ZERO)
    yield _rt1_open("101_ahead_across_the_wrap", with_slot(100), unix_seconds=SLOT_ZERO - 1)
    yield _rt1_open("102_ahead_across_the_wrap", with_slot(101), unix_seconds=SLOT_ZERO - 1)
    # An expired token stays refused for 153 slots, no longer: this is why keys rotate.
    slot = rt1.SLOT_SECONDS
    yield _rt1_open("last_slot_of_refusal", with_slot(128), unix_seconds=NOW + 154 * slot)
    yield _rt1_open("good_again_a_cycle_later", with_slot(128), unix_seconds=NOW + 155 * slot)

    good = with_slot(132)
    yield _rt1_open("empty", "")
    yield _rt1_open("31_characters", good[:-1])
    yield _rt1_open("33_characters", good + "A")
    yield _rt1_open("padded", good[:-1] + "=")
    yield _rt1_open("double_padded", good[:-2] + "==")
    yield _rt1_open("url_safe_alphabet", good[:-1] + "-")
    yield _rt1_open("url_safe_underscore", good[:-1] + "_")
    yield _rt1_open("space", good[:5] + " " + good[6:])
    yield _rt1_open("line_feed", good[:-1] + "\n")
    yield _rt1_open("colon", good[:-1] + ":")
    yield _rt1_open("not_ascii", good[:-2] + "é")
    yield _rt1_open("not_ascii_32_characters", good[:-1] + "é")

    token = base64.b64decode(good)

    def with_byte(position: int, value: int) -> str:
        changed = bytearray(token)
        changed[position] = value
        return base64.b64encode(changed).decode()

    yield _rt1_open("version_0", with_byte(0, 0))
    yield _rt1_open("version_2", with_byte(0, 2))
    yield _rt1_open("version_7", with_byte(0, 7))
    yield _rt1_open("format_2", with_byte(0, 2 << 3 | 1))
    yield _rt1_open("format_3", with_byte(0, 3 << 3 | 1))
    yield _rt1_open("version_is_checked_before_the_key", with_byte(0, 4 << 5 | 2))
    yield _rt1_open("key_not_held", with_byte(0, 1 << 5 | 1))
    yield _rt1_open("reserved_key_id", with_byte(0, 7 << 5 | 1))
    yield _rt1_open("right_key_under_a_wrong_id", good, key_id=2)
    yield _rt1_open("key_id_rewritten", with_byte(0, 2 << 5 | 1), key_id=2)
    yield _rt1_open("format_rewritten", with_byte(0, 1 << 3 | 1))
    yield _rt1_open("another_master", good, master=OTHER_MASTER)
    yield _rt1_open("first_tag_bit", with_byte(1, token[1] ^ 0x80))
    yield _rt1_open("last_tag_bit", with_byte(8, token[8] ^ 1))
    yield _rt1_open("first_cipher_text_bit", with_byte(9, token[9] ^ 0x80))
    yield _rt1_open("last_cipher_text_bit", with_byte(23, token[23] ^ 1))
    yield _rt1_open("all_A", "A" * 32)
    yield _rt1_open("tag_is_checked_before_expiry", with_byte(23, token[23] ^ 1), unix_seconds=0)


# RE1


def re1_vectors() -> Json:
    seal_cases = list(_re1_seal_cases())
    return {
        "format": "RE1",
        "seal": seal_cases,
        "open": list(_re1_open_cases(seal_cases)),
        "edge": list(_re1_edge_cases()),
    }


UP = re1.Header(
    direction=re1.UP,
    flags=0,
    key_id=0,
    hop_limit=3,
    tick=re1.tick_at(NOW),
    client=re1.Address.parse("198.51.100.23:61000"),
    ingress=1,
    return_hop=None,
)
CLIENT_V6 = re1.Address.parse("[2001:db8:aaaa::17]:61000")
HOP_V4 = re1.Address.parse("203.0.113.5:4000")
HOP_V6 = re1.Address.parse("[2001:db8:bbbb::5]:4000")
# A client of ingress point 3, behind an edge relay, as the cluster's relay and its owner see it.
EDGE = re1.Address.parse("192.0.2.9:3479")
BY_EDGE = replace(UP, ingress=3 << 8 | 1, hop_limit=2, return_hop=EDGE)


def _re1_header(header: re1.Header) -> Json:
    return {
        "key_id": header.key_id,
        "direction": header.direction,
        "flags": header.flags,
        "hop_limit": header.hop_limit,
        "tick": header.tick,
        "client": str(header.client),
        "ingress": header.ingress,
        "return_hop": None if header.return_hop is None else str(header.return_hop),
    }


def _re1_sealed(header: re1.Header, secret: bytes = SECRET, owner: str = OWNER) -> bytes:
    return re1.seal(header, re1.pair_key(secret, re1.Address.parse(owner)))


def _re1_seal(name: str, header: re1.Header, *, secret: bytes = SECRET, owner: str = OWNER) -> Json:
    return {
        "name": name,
        "secret": secret.hex(),
        "owner": owner,
        **_re1_header(header),
        "header": _re1_sealed(header, secret, owner).hex(),
    }


def _re1_seal_cases() -> Iterator[Json]:
    yield _re1_seal("up", UP)
    yield _re1_seal("down", replace(UP, direction=re1.DOWN))
    yield _re1_seal("down_confirm_path", replace(UP, direction=re1.DOWN, flags=0b0011))
    yield _re1_seal("down_release", replace(UP, direction=re1.DOWN, flags=0b0100))
    yield _re1_seal("down_no_session", replace(UP, direction=re1.DOWN, flags=0b1000))
    yield _re1_seal("ipv4_client_ipv4_hop", replace(UP, return_hop=HOP_V4, hop_limit=2))
    yield _re1_seal("ipv4_client_ipv6_hop", replace(UP, return_hop=HOP_V6, hop_limit=2))
    yield _re1_seal("ipv6_client", replace(UP, client=CLIENT_V6))
    yield _re1_seal("ipv6_client_ipv4_hop", replace(UP, client=CLIENT_V6, return_hop=HOP_V4))
    yield _re1_seal("ipv6_client_ipv6_hop", replace(UP, client=CLIENT_V6, return_hop=HOP_V6))
    yield _re1_seal(
        "down_ipv6_client_ipv6_hop",
        replace(UP, direction=re1.DOWN, flags=1, client=CLIENT_V6, return_hop=HOP_V6),
    )
    yield _re1_seal("up_by_an_edge", BY_EDGE)
    yield _re1_seal("down_by_an_edge", replace(BY_EDGE, direction=re1.DOWN, flags=3, hop_limit=3))
    yield _re1_seal("edge_lost", replace(BY_EDGE, flags=0b10_0000, hop_limit=3))
    yield _re1_seal("ipv6_owner", UP, owner="[2001:db8:1:2:a:b:c:d]:5000")
    yield _re1_seal("another_port_of_the_owner", UP, owner="10.0.0.7:5001")
    # The pair key sees IPv4 as v4-mapped, so this header equals that of the case "up".
    yield _re1_seal("v4_mapped_owner", UP, owner="[::ffff:10.0.0.7]:5000")
    yield _re1_seal("another_secret_key_3", replace(UP, key_id=3), secret=OTHER_SECRET)
    yield _re1_seal(
        "all_ones",
        replace(
            UP,
            direction=re1.DOWN,
            flags=63,
            key_id=3,
            hop_limit=255,
            tick=65535,
            client=re1.Address.parse("255.255.255.255:65535"),
            ingress=65535,
        ),
    )
    yield _re1_seal(
        "all_zero",
        replace(UP, hop_limit=0, tick=0, client=re1.Address.parse("0.0.0.0:0"), ingress=0),
    )


def _re1_edge(name: str, header: re1.Header, *, master: bytes = SECRET) -> Json:
    key = re1.edge_key(master)
    return {
        "name": name,
        "master": master.hex(),
        "edge_key": key.hex(),
        **_re1_header(header),
        "header": re1.seal(header, re1.edge_hop_key(key)).hex(),
    }


def _re1_edge_cases() -> Iterator[Json]:
    """What passes between an edge relay and a cluster's relay, under the edge hop key."""
    up = replace(BY_EDGE, hop_limit=3, return_hop=re1.Address.parse(OWNER))
    down = replace(up, direction=re1.DOWN, hop_limit=2)
    owner_v6 = re1.Address.parse("[2001:db8:1:2:a:b:c:d]:5000")
    probe = replace(
        UP, flags=0b1_0000, client=re1.Address.parse("0.0.0.0:0"), ingress=7, hop_limit=3
    )
    yield _re1_edge("up", up)
    yield _re1_edge("up_ipv6", replace(up, client=CLIENT_V6, return_hop=owner_v6))
    yield _re1_edge("up_another_master_key_3", replace(up, key_id=3), master=OTHER_SECRET)
    yield _re1_edge("down", down)
    yield _re1_edge("down_confirm_path", replace(down, flags=3))
    yield _re1_edge("down_no_session", replace(down, flags=8))
    yield _re1_edge("probe_of_cluster_7", probe)
    yield _re1_edge("answer_of_cluster_7", replace(probe, direction=re1.DOWN))


def _re1_open(
    name: str,
    datagram: bytes,
    *,
    secret: bytes = SECRET,
    key_id: int = 0,
    owner: str = OWNER,
    unix_seconds: int = NOW,
) -> Json:
    """Tell what a receiver that holds one secret makes of a datagram, record by record."""
    records, well_formed = re1.split(datagram)
    results: list[Json] = []
    for parsed in records:
        try:
            re1.verify(
                parsed,
                secret=secret,
                key_id=key_id,
                owner=re1.Address.parse(owner),
                unix_seconds=unix_seconds,
            )
        except re1.Refused as refused:
            results.append({"error": refused.reason})
        else:
            results.append({**_re1_header(parsed.header), "payload": parsed.payload.hex()})
    if not well_formed:
        results.append({"error": "malformed"})
    return {
        "name": name,
        "secret": secret.hex(),
        "key_id": key_id,
        "owner": owner,
        "unix_seconds": unix_seconds,
        "datagram": datagram.hex(),
        "results": results,
    }


def _re1_open_cases(seal_cases: list[Json]) -> Iterator[Json]:
    payload = b"payload"
    for case in seal_cases:
        yield _re1_open(
            case["name"],
            re1.record(bytes.fromhex(case["header"]), payload),
            secret=bytes.fromhex(case["secret"]),
            key_id=case["key_id"],
            owner=case["owner"],
            unix_seconds=TICK_ZERO + case["tick"] * re1.TICK_SECONDS + 15,
        )

    up = _re1_sealed(UP)
    v6 = _re1_sealed(replace(UP, client=CLIENT_V6, return_hop=HOP_V6))
    one = re1.record(up, payload)
    yield _re1_open("no_payload", up)
    yield _re1_open("payload_that_looks_like_padding", re1.record(up, bytes(16)))
    yield _re1_open("largest_payload", re1.record(up, b"\x80" * 1500))
    yield _re1_open("bundle", one + re1.record(v6, b"second") + re1.record(up, b""))
    yield _re1_open("padding", one + bytes(33))
    yield _re1_open("padded_bundle", one + re1.record(v6, b"second") + bytes(1))
    # Padding is recognised by its first byte; what follows is skipped.
    yield _re1_open("padding_is_not_looked_at", one + b"\x00" + one)
    # The MAC covers neither payload nor length.
    yield _re1_open("payload_rewritten", up[:10] + b"\x00\x07" + up[12:] + b"PAYLOAD")
    yield _re1_open("payload_cut_together_with_its_length", re1.record(up, payload[:3]))

    yield _re1_open("empty", b"")
    yield _re1_open("padding_only", bytes(40))
    yield _re1_open("length_past_the_end", one[:-1])
    yield _re1_open("header_cut_in_its_fixed_part", up[:11])
    yield _re1_open("header_cut_in_the_client_address", v6[:20])
    yield _re1_open("header_cut_in_the_return_hop", v6[:45])
    yield _re1_open("header_cut_in_the_mac", up[:-1])
    yield _re1_open("second_record_cut", one + one[:-1])
    yield _re1_open("second_record_without_magic", one + b"\x80" + one)

    def with_byte(position: int, value: int) -> bytes:
        return one[:position] + bytes([value]) + one[position + 1 :]

    yield _re1_open("wrong_magic", with_byte(0, 0xE4))
    yield _re1_open("version_0", with_byte(1, 0))
    yield _re1_open("version_2", with_byte(1, 2 << 5))
    yield _re1_open("two_return_hops", with_byte(1, 1 << 5 | 2))
    yield _re1_open("three_return_hops", with_byte(1, 1 << 5 | 3))
    yield _re1_open("family_of_no_hop", with_byte(1, 1 << 5 | 1 << 2))

    yield _re1_open("secret_not_held", one, key_id=1)
    yield _re1_open("key_id_rewritten", with_byte(2, 2 << 6), key_id=2)
    yield _re1_open("another_secret", one, secret=OTHER_SECRET)
    yield _re1_open("another_owner", one, owner="10.0.0.8:5000")
    yield _re1_open("another_port", one, owner="10.0.0.7:5001")
    yield _re1_open("direction_turned", with_byte(1, 1 << 5 | 1 << 4))
    yield _re1_open("flag_added", with_byte(2, 1))
    yield _re1_open("edge_lost_added", with_byte(2, 0x20))
    yield _re1_open("hop_limit_raised", with_byte(3, 255))
    yield _re1_open("client_port_rewritten", with_byte(7, one[7] ^ 1))
    yield _re1_open("ingress_rewritten", with_byte(9, 2))
    yield _re1_open("client_address_rewritten", with_byte(15, one[15] ^ 1))
    yield _re1_open("last_mac_bit", with_byte(23, one[23] ^ 1))
    yield _re1_open("bad_record_between_good_ones", one + with_byte(23, one[23] ^ 1) + one)
    yield _re1_open("mac_is_checked_before_the_tick", with_byte(9, 2), unix_seconds=0)

    for off in (-3, -2, 2, 3):
        tick = re1.tick_at(NOW) + off
        name = f"tick_{abs(off)}_{'behind' if off < 0 else 'ahead'}"
        yield _re1_open(name, re1.record(_re1_sealed(replace(UP, tick=tick)), payload))
    last = re1.record(_re1_sealed(replace(UP, tick=65535)), payload)
    yield _re1_open("tick_2_behind_across_the_wrap", last, unix_seconds=TICK_ZERO + 31)
    yield _re1_open("tick_3_behind_across_the_wrap", last, unix_seconds=TICK_ZERO + 32)
    first = re1.record(_re1_sealed(replace(UP, tick=0)), payload)
    yield _re1_open("tick_2_ahead_across_the_wrap", first, unix_seconds=TICK_ZERO - 32)
    yield _re1_open("tick_3_ahead_across_the_wrap", first, unix_seconds=TICK_ZERO - 33)


# Fuzz seeds


def stun_message(
    message_type: int, attributes: list[tuple[int, bytes]], password: bytes | None
) -> bytes:
    """Build a STUN message (RFC 8489), with MESSAGE-INTEGRITY under `password`, FINGERPRINT."""
    body = b"".join(
        struct.pack(">HH", kind, len(value)) + value + bytes(-len(value) % 4)
        for kind, value in attributes
    )

    def header(length: int) -> bytes:
        return struct.pack(">HHI12s", message_type, length, 0x2112A442, b"transaction!")

    if password is not None:
        covered = header(len(body) + 24) + body
        body += struct.pack(">HH", 0x0008, 20) + hmac.digest(password, covered, "sha1")
    covered = header(len(body) + 8) + body
    return covered + struct.pack(">HHI", 0x8028, 4, zlib.crc32(covered) ^ 0x5354554E)


def fuzz_seeds(rt1_cases: Json, re1_cases: Json) -> dict[str, dict[str, bytes]]:
    """Return the seeds of each fuzz target, by name."""
    ufrags = {case["name"]: case["ufrag"] for case in rt1_cases["seal"]}
    username = (0x0006, f"{ufrags['ipv4']}:c1i3".encode())
    username_v6 = (0x0006, f"{ufrags['ipv6']}:c1i3nt".encode())
    check = [username, (0x0024, b"\x6e\x7f\x1e\xff"), (0x802A, bytes(range(8)))]
    mapped = (0x0020, b"\x00\x01\xee\x48\x21\x12\xa4\x43")
    password = b"a password of 24 letters"
    stun = {
        "request": stun_message(0x0001, check, password),
        "request_ipv6_owner": stun_message(0x0001, [username_v6, *check[1:]], password),
        "request_use_candidate": stun_message(0x0001, [*check, (0x0025, b"")], password),
        "request_without_username": stun_message(0x0001, [], None),
        "request_32_attributes": stun_message(0x0001, [(0x8000, b"")] * 30 + [username], None),
        "indication": stun_message(0x0011, [], None),
        "success": stun_message(0x0101, [mapped], password),
        "error": stun_message(0x0111, [(0x0009, b"\x00\x00\x04\x57Role Conflict")], password),
    }
    token = {
        case["name"]: struct.pack(">Q", case["unix_seconds"]) + case["ufrag"].encode()
        for case in rt1_cases["open"]
        if case.get("error") in {None, "expired", "version"}
    }
    # The same bytes twice, or 1500 of them, teach the fuzzer nothing.
    hop = {
        case["name"]: bytes.fromhex(case["datagram"])
        for case in re1_cases["open"]
        if case["owner"] == OWNER
        and case["secret"] == SECRET.hex()
        and "error" not in case["results"][0]
        and case["name"] not in {"largest_payload"}
    }
    demux = {
        "stun": stun["request"],
        "dtls": bytes.fromhex("16fefd0000000000000000000401020304"),
        "rtp": bytes.fromhex("806f0001000003c0deadbeef") + b"opus",
        "hop": hop["bundle"],
        "hop_ipv6": hop["ipv6_client_ipv6_hop"],
    }
    return {"demux": demux, "hop": hop, "stun": stun, "token": token} | engine_seeds()


def engine_seeds() -> dict[str, dict[str, bytes]]:
    """Return the seeds of the targets that drive the engine: an offer, RTP, and whole calls."""
    session = [
        "v=0",
        "o=- 1 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
    ]
    transport = [
        "c=IN IP4 0.0.0.0",
        "a=candidate:1 1 udp 2113937151 192.0.2.77 9 typ host",
        "a=ice-ufrag:c1i3",
        "a=ice-pwd:abcdefghijklmnopqrstuv",
        "a=ice-options:trickle",
        "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
        "a=setup:actpass",
    ]
    codecs = [
        "a=rtcp-mux",
        "a=rtpmap:111 opus/48000/2",
        "a=rtcp-fb:111 transport-cc",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=rtpmap:63 red/48000/2",
        "a=fmtp:63 111/111",
        "a=rtpmap:110 telephone-event/48000",
    ]
    extensions = [
        "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid",
    ]
    audio = ["m=audio 9 UDP/TLS/RTP/SAVPF 111 63 110", *transport]
    channel = ["m=application 9 UDP/DTLS/SCTP webrtc-datachannel", *transport]
    sendrecv = ["a=mid:0", *extensions, "a=sendrecv", "a=msid:- track", *codecs, "a=ssrc:1 cname:c"]
    sctp = ["a=mid:1", "a=sctp-port:5000", "a=max-message-size:262144"]
    bundle = ["a=group:BUNDLE 0 1"]
    offers = {
        "audio_and_data_channel": [*session, *bundle, *audio, *sendrecv, *channel, *sctp],
        "audio": [*session, *audio, *sendrecv],
        "recvonly_without_mid": [*session, *audio, "a=recvonly", *codecs],
    }

    # An Opus packet of 20 ms; how it comes stands at the top of fuzz_targets/listener.rs.
    opus = bytes.fromhex("480be4c136ecc580")

    def rtp(how: int, wait: int, forward: int, clock: int, payload: bytes = opus) -> bytes:
        return bytes([how, wait, forward, clock, len(payload)]) + payload

    wake = rtp(8, 0, 0, 0, b"")
    leaps = [
        rtp(12 | n % 4, 90, (1, 255, 100, 129)[n % 4], (2, 255, 7, 128)[n % 4]) for n in range(9)
    ]
    listener = {
        "in_order": b"\x02" + rtp(12, 20, 1, 2) * 10,
        "lost_and_given_up": b"\x03" + (rtp(12, 20, 1, 2) + rtp(12, 20, 2, 4) + wake) * 5,
        "leaps_and_restarts": b"\x04" + rtp(0, 200, 0, 0, b"").join(leaps),
    }

    # Steps of fuzz_targets/session.rs.
    run, up, down, cut, damage, speak, later, ask = 0, 1, 2, 7, 6, 9, 10, 11

    def take(step: int, how: int, payload: bytes) -> bytes:
        return bytes([step, how, len(payload)]) + payload

    said = take(speak, 1, opus) + bytes([run, 4]) + take(ask, 0x80, bytes(10)) + bytes([run, 31])
    flushed = take(ask, 1, b"") + bytes([run, 4]) + take(ask, 2, b"hello") + bytes([run, 8])
    end = bytes([later, 50, run, 8]) + take(ask, 3, b"")
    whole = bytes([run, 31]) + said + flushed + end
    copied = bytes([run, 0, cut, 100, cut, 104, up, 5]) + take(damage, 3, b"\x01\x01")
    lost = bytes([3, 0, 4, 0, 5, 1, down, 0, run, 20]) + take(8, 0, b"\x80\x6f\x00\x01")
    forwarded = take(speak, 1, opus) + bytes([run, 4]) + take(ask, 0xC0, opus) + bytes([run, 31])
    calls = {
        "opus": b"\x80" + bytes([run, 31]) + forwarded + flushed + end,
        "dtls_1_2": b"\x00" + whole,
        "dtls_1_3": b"\x01" + whole,
        "either": b"\x02" + whole,
        "copied_damaged_and_lost": b"\x02" + copied + lost + bytes([later, 255, run, 8]),
        "hung_up_in_the_handshake": b"\x02" + bytes([run, 0, down, 0, up, 0]) + end,
    }
    return {
        "offer": {name: "\r\n".join([*lines, ""]).encode() for name, lines in offers.items()},
        "listener": listener,
        "session": calls,
    }


def files() -> dict[Path, bytes]:
    """Return every generated file and its content."""
    rt1_cases, re1_cases = rt1_vectors(), re1_vectors()
    written = {
        VECTORS / f"{name}.json": (json.dumps(vectors, indent=2) + "\n").encode()
        for name, vectors in (("rt1", rt1_cases), ("re1", re1_cases))
    }
    for target, seeds in fuzz_seeds(rt1_cases, re1_cases).items():
        written |= {SEEDS / target / name: content for name, content in seeds.items()}
    return written


def main() -> None:
    for path, content in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    main()
