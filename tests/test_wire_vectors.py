"""The shared vectors, against both implementations: the reference and the native module."""

import json
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from firsthop import _native
from firsthop.errors import TokenError
from reference import generate, re1, rt1

Json = dict[str, Any]

VECTORS = Path(__file__).parent / "vectors"


def cases(vectors: str, kind: str) -> Callable[[Callable[[Json], None]], Callable[[Json], None]]:
    """Run a test once for each case of a vector file, under the case's name."""
    listed = json.loads((VECTORS / f"{vectors}.json").read_text())[kind]
    return pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in listed])


@cases("rt1", "seal")
def test_reference_seals_token(case: Json) -> None:
    claims = rt1.Claims(
        cluster=case["cluster"],
        address=ip_address(case["address"]),
        port=case["port"],
        expiry_slot=case["expiry_slot"],
    )
    ufrag = rt1.seal(
        master=bytes.fromhex(case["master"]),
        key_id=case["key_id"],
        claims=claims,
        nonce=bytes.fromhex(case["nonce"]),
    )
    assert ufrag == case["ufrag"]


@cases("rt1", "open")
def test_reference_opens_or_refuses_token(case: Json) -> None:
    def opened() -> rt1.Claims:
        return rt1.open_token(
            master=bytes.fromhex(case["master"]),
            key_id=case["key_id"],
            ufrag=case["ufrag"],
            unix_seconds=case["unix_seconds"],
        )

    if "error" in case:
        with pytest.raises(rt1.Refused) as refused:
            opened()
        assert refused.value.reason == case["error"]
    else:
        assert opened() == rt1.Claims(
            cluster=case["cluster"],
            address=ip_address(case["address"]),
            port=case["port"],
            expiry_slot=case["expiry_slot"],
        )


def re1_header(case: Json) -> re1.Header:
    hop = case["return_hop"]
    return re1.Header(
        direction=case["direction"],
        flags=case["flags"],
        key_id=case["key_id"],
        hop_limit=case["hop_limit"],
        tick=case["tick"],
        client=re1.Address.parse(case["client"]),
        ingress=case["ingress"],
        return_hop=None if hop is None else re1.Address.parse(hop),
    )


@cases("re1", "seal")
def test_reference_seals_hop_header(case: Json) -> None:
    key = re1.pair_key(bytes.fromhex(case["secret"]), re1.Address.parse(case["owner"]))
    assert re1.seal(re1_header(case), key).hex() == case["header"]


@cases("re1", "edge")
def test_reference_derives_edge_keys_and_seals_under_them(case: Json) -> None:
    key = re1.edge_key(bytes.fromhex(case["master"]))
    assert key.hex() == case["edge_key"]
    assert re1.seal(re1_header(case), re1.edge_hop_key(key)).hex() == case["header"]


@cases("re1", "open")
def test_reference_opens_or_refuses_hop_datagram(case: Json) -> None:
    records, well_formed = re1.split(bytes.fromhex(case["datagram"]))
    expected = case["results"]
    assert well_formed == (expected[-1].get("error") != "malformed")
    for parsed, result in zip(records, expected[: len(records)], strict=True):
        reason = None
        try:
            re1.verify(
                parsed,
                secret=bytes.fromhex(case["secret"]),
                key_id=case["key_id"],
                owner=re1.Address.parse(case["owner"]),
                unix_seconds=case["unix_seconds"],
            )
        except re1.Refused as refused:
            reason = refused.reason
        assert reason == result.get("error")
        if reason is None:
            assert parsed.header == re1_header(result)
            assert parsed.payload.hex() == result["payload"]


@pytest.mark.parametrize(
    ("length", "expected"),
    [(0, 0x726FDB47DD0E0E31), (15, 0xA129CA6149BE45E5)],
    ids=["empty message", "the example of the SipHash paper"],
)
def test_reference_siphash_is_the_published_one(length: int, expected: int) -> None:
    assert re1.siphash_2_4(bytes(range(16)), bytes(range(length))) == expected


def test_committed_files_are_what_the_generator_writes() -> None:
    generated = generate.files()
    for path, content in generated.items():
        assert path.read_bytes() == content, f"{path}: run python -m reference.generate"
    seeds = {path for path in generate.SEEDS.rglob("*") if path.is_file()}
    assert seeds <= generated.keys()


@cases("rt1", "seal")
def test_native_seals_token(case: Json) -> None:
    ufrag = _native.seal_token(
        master=bytes.fromhex(case["master"]),
        key_id=case["key_id"],
        cluster=case["cluster"],
        address=case["address"],
        port=case["port"],
        expiry_slot=case["expiry_slot"],
        nonce=bytes.fromhex(case["nonce"]),
    )
    assert ufrag == case["ufrag"]


@cases("rt1", "open")
def test_native_opens_or_refuses_token(case: Json) -> None:
    def opened() -> tuple[int, str, int, int]:
        claims: tuple[int, str, int, int] = _native.open_token(
            master=bytes.fromhex(case["master"]),
            key_id=case["key_id"],
            ufrag=case["ufrag"],
            unix_seconds=case["unix_seconds"],
        )
        return claims

    if "error" in case:
        with pytest.raises(TokenError) as refused:
            opened()
        assert refused.value.reason == case["error"]
    else:
        cluster, address, port, expiry_slot = opened()
        assert (cluster, ip_address(address), port, expiry_slot) == (
            case["cluster"],
            ip_address(case["address"]),
            case["port"],
            case["expiry_slot"],
        )


@cases("re1", "seal")
def test_native_seals_hop_header(case: Json) -> None:
    header = _native.seal_hop_header(
        secret=bytes.fromhex(case["secret"]),
        key_id=case["key_id"],
        owner=case["owner"],
        direction=case["direction"],
        flags=case["flags"],
        hop_limit=case["hop_limit"],
        tick=case["tick"],
        client=case["client"],
        ingress=case["ingress"],
        return_hop=case["return_hop"],
    )
    assert header.hex() == case["header"]


@cases("re1", "edge")
def test_native_derives_edge_keys(case: Json) -> None:
    assert _native.edge_key(bytes.fromhex(case["master"])).hex() == case["edge_key"]


def test_an_edge_key_is_derived_from_a_master_of_32_bytes_only() -> None:
    with pytest.raises(ValueError, match="master takes 32 bytes, not 31"):
        _native.edge_key(bytes(31))
