"""What a routing token says, to who holds the key (docs/wire-format.md, RT1)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from firsthop import _native as native
from firsthop.config import ClusterSettings, Settings
from firsthop.errors import FirsthopError, TokenError

_UFRAG_CHARACTERS = 32
_TOKEN_BYTES = 24
_VERSION = 1
_FORMATS = (0, 1)
_SLOT_SECONDS = 900
_SLOTS = 256
_MAX_SLOTS_AHEAD = 101


class NoUfragError(FirsthopError):
    """What was given cannot be a transceiver's ufrag."""

    def __init__(self) -> None:
        super().__init__(
            "not a transceiver's ufrag: expected 32 characters of A-Z a-z 0-9 + /, as in the "
            "a=ice-ufrag line of an SDP answer or before the colon of a USERNAME"
        )


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """A routing token, field by field; what could not be decrypted is None."""

    key_id: int
    format: int
    """0 for an IPv4 owner, 1 for IPv6."""
    version: int
    cluster: int | None = None
    owner: str | None = None
    """Transport address; of IPv6 only the low 64 bits if the cluster has no prefix here."""
    expiry_slot: int | None = None
    expires: datetime | None = None
    """The end of the expiry slot, in UTC; relays take the token for another 15 minutes."""
    refusal: str | None = None
    """Why a relay with these settings drops what bears the token; None if it forwards it."""


def inspect(ufrag: str, settings: Settings, now: datetime) -> Inspection:
    """Open a routing token, expired or not, and say what a relay makes of it.

    Args:
        ufrag: The server's ufrag; a whole USERNAME or ``a=ice-ufrag`` line will do.
        settings: The keys, and `relay.clusters`.
        now: The time to judge by, with its zone.

    Raises:
        ConfigError: No keys are set.
        NoUfragError: It is not 32 characters of the alphabet.
    """
    masters = settings.key_bytes()
    ufrag = ufrag.strip().removeprefix("a=ice-ufrag:").partition(":")[0]
    header = _header(ufrag)
    shown = Inspection(key_id=header >> 5, format=header >> 3 & 0b11, version=header & 0b111)
    if shown.version != _VERSION or shown.format not in _FORMATS:
        return replace(
            shown, refusal="neither version 1 nor a format of it: not ours, or of a newer release"
        )
    if shown.key_id not in masters:
        have = ", ".join(str(key_id) for key_id in sorted(masters))
        return replace(shown, refusal=f"sealed under key {shown.key_id}; keys has {have}")
    try:
        cluster, host, port, slot = _open(ufrag, masters[shown.key_id], shown.key_id, now)
    except TokenError:
        return replace(
            shown, refusal=f"not sealed under our key {shown.key_id}: keys differ, or it is altered"
        )
    ahead = _slots_ahead(slot, now)
    last = (int(now.timestamp()) // _SLOT_SECONDS + ahead + 1) * _SLOT_SECONDS
    address, problem = _owner(cluster, ip_address(host), port, settings.relay.clusters)
    return replace(
        shown,
        cluster=cluster,
        owner=f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}",
        expiry_slot=slot,
        expires=datetime.fromtimestamp(last, UTC),
        refusal="expired" if ahead < -1 else problem,
    )


def rows(inspection: Inspection, now: datetime) -> list[tuple[str, str]]:
    """Return the fields of a token as a person reads them."""
    family = {0: "IPv4 owner", 1: "IPv6 owner"}.get(inspection.format, "unknown")
    shown = [
        ("key", str(inspection.key_id)),
        ("format", f"{inspection.format}, {family}"),
        ("version", str(inspection.version)),
    ]
    if inspection.expires is not None:
        moment, distance = inspection.expires, _distance(inspection.expires, now)
        shown += [
            ("cluster", str(inspection.cluster)),
            ("owner", str(inspection.owner)),
            ("expires", f"{moment:%Y-%m-%d %H:%M} UTC, {distance} (slot {inspection.expiry_slot})"),
        ]
    refusal = inspection.refusal
    return [*shown, ("relay", "forwards to the owner" if refusal is None else f"drops: {refusal}")]


def _distance(moment: datetime, now: datetime) -> str:
    """Return how far off a moment is, in whole hours or minutes."""
    minutes = abs(round((moment - now).total_seconds() / 60))
    amount = f"{minutes // 60} h" if minutes >= 60 else f"{minutes} min"
    return f"in {amount}" if moment >= now else f"{amount} ago"


def _header(ufrag: str) -> int:
    """Return the byte in clear: key id, format, version."""
    try:
        token = base64.b64decode(ufrag, validate=True)
    except (binascii.Error, ValueError):
        raise NoUfragError from None
    if len(ufrag) != _UFRAG_CHARACTERS or len(token) != _TOKEN_BYTES:
        raise NoUfragError
    return token[0]


def _open(ufrag: str, master: bytes, key_id: int, now: datetime) -> tuple[int, str, int, int]:
    """Open a token whenever it expired: slots come round, so one of three moments suits."""
    for slots in (0, _MAX_SLOTS_AHEAD, 2 * _MAX_SLOTS_AHEAD):
        moment = int(now.timestamp()) + slots * _SLOT_SECONDS
        try:
            return native.open_token(master=master, key_id=key_id, ufrag=ufrag, unix_seconds=moment)
        except TokenError as error:
            if error.reason != "expired":
                raise
    raise TokenError("expired")


def _slots_ahead(slot: int, now: datetime) -> int:
    """How many slots after now's a token expires; from -154 to 101."""
    ahead = (slot - int(now.timestamp()) // _SLOT_SECONDS) % _SLOTS
    return ahead if ahead <= _MAX_SLOTS_AHEAD else ahead - _SLOTS


def _owner(
    cluster_id: int,
    address: IPv4Address | IPv6Address,
    port: int,
    clusters: Sequence[ClusterSettings],
) -> tuple[IPv4Address | IPv6Address, str | None]:
    """Return the owner's whole address, and why a relay may not send there."""
    cluster = next((cluster for cluster in clusters if cluster.id == cluster_id), None)
    if cluster is None:
        return address, f"relay.clusters has no cluster {cluster_id}"
    if address.version == 6:
        if cluster.ipv6_prefix is None:
            return address, f"cluster {cluster_id} of relay.clusters has no ipv6_prefix"
        address = ip_network(cluster.ipv6_prefix)[int(address)]
    if not any(address in ip_network(network) for network in cluster.networks):
        return address, f"the owner is in no network of cluster {cluster_id} of relay.clusters"
    if not cluster.first_port <= port <= cluster.last_port:
        ports = f"{cluster.first_port}-{cluster.last_port}"
        return address, f"the owner's port is not among {ports} of cluster {cluster_id}"
    return address, None
