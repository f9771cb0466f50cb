"""Flows and owners as a shared store may see them: it learns no address of either."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from firsthop.flowcache.base import OWNER_BYTES, Flow, Owner
from firsthop.store.sealed import OVERHEAD, SKEW, StoreSeal

#: Length of every value.
VALUE_BYTES: Final = OVERHEAD + OWNER_BYTES


class Seal:
    """Names flows and seals owners, under the keys of one cluster.

    Args:
        masters: 32 bytes by key id.
        key_id: The key to seal under, one of `masters`.
        ttl_seconds: How old a value may be.
    """

    def __init__(self, masters: Mapping[int, bytes], key_id: int, *, ttl_seconds: int) -> None:
        self._seal = StoreSeal(
            masters,
            key_id,
            purpose="flow cache",
            prefix="firsthop:flow:",
            content_bytes=OWNER_BYTES,
        )
        self.ttl_seconds = ttl_seconds
        #: Takes other keys from now on.
        self.use = self._seal.use

    def name(self, flow: Flow) -> str:
        """The name under which to write a flow."""
        return self._seal.name(flow)

    def names(self, flow: Flow) -> list[str]:
        """Every name under which a relay of the cluster may have written a flow, ours first."""
        return self._seal.names(flow)

    def seal(self, name: str, owner: Owner, unix_seconds: float) -> bytes:
        """Seal an owner as the value of `name`."""
        return self._seal.close(name, owner, unix_seconds)

    def open(self, name: str, value: bytes, unix_seconds: float) -> Owner | None:
        """Open the value of `name`; None if it is not ours, not this name's, or too old."""
        opened = self._seal.open(name, value)
        if opened is None or not -SKEW <= unix_seconds - opened.written <= self.ttl_seconds + SKEW:
            return None
        return opened.content
