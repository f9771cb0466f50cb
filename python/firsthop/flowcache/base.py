"""What every flow cache can do."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol

from firsthop.errors import FirsthopError

#: Client IP as 16 bytes (IPv4-mapped for IPv4), port and ingress id, both big-endian.
Flow = bytes
#: Transceiver IP as 16 bytes, port, big-endian.
Owner = bytes

FLOW_BYTES: Final = 20
OWNER_BYTES: Final = 18


class FlowCacheError(FirsthopError):
    """The cache could not be asked.

    Args:
        reason: What kind of failure it was, in a word that names no address and no password.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the flow cache failed: {reason}")
        self.reason = reason


class FlowCache(Protocol):
    """Remembers owners of flows for a while, and forgets them by itself.

    Every method but `close` may raise `FlowCacheError`. Cancelling one loses at most what it was
    about to do.
    """

    def use(self, masters: Mapping[int, bytes], key_id: int) -> None:
        """Seal under other keys from now on: `key_id` of `masters`, 32 bytes each."""

    async def connect(self) -> None:
        """Get ready, so that the first `find` is as fast as any other."""

    async def keep(self, entries: Sequence[tuple[Flow, Owner]]) -> None:
        """Remember the owner of each flow, from now for as long as the cache keeps entries."""

    async def drop(self, flows: Sequence[Flow]) -> None:
        """Forget flows."""

    async def find(self, flows: Collection[Flow]) -> dict[Flow, Owner]:
        """Return the owners that are known; flows without one are left out."""

    async def close(self) -> None:
        """Let go of connections."""
