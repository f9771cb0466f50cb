"""What names stand for, asked again and again: all addresses, the last ones while nobody says."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Final

from firsthop.tasks import cancel

#: Addresses of one name, at most.
MAX_ADDRESSES: Final = 256

Resolve = Callable[[str], Awaitable[list[str]]]


class Names:
    """Resolves names. What a resolver that fails or is slow has said before stays.

    Args:
        resolve: Returns the addresses of a name. Raises `OSError` or `UnicodeError`.
    """

    def __init__(self, resolve: Resolve | None = None) -> None:
        self._resolve = resolve or _resolve
        self._known: dict[str, tuple[str, ...]] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def addresses(self, name: str, patience: float) -> tuple[str, ...]:
        """Return the addresses of a name, in an order that stays; empty: there never were any.

        Args:
            name: The name.
            patience: How long to wait for news, in seconds.
        """
        # The system's resolver cannot be interrupted. One that hangs is asked once, not each round.
        asking = self._asking.get(name)
        if asking is None:
            asking = self._asking[name] = asyncio.create_task(self._ask(name))
        await asyncio.wait({asking}, timeout=patience)
        return self._known.get(name, ())

    async def close(self) -> None:
        """Wait for no answers any more."""
        asking, self._asking = self._asking, {}
        await cancel(*asking.values())

    async def _ask(self, name: str) -> None:
        try:
            found = {str(ip_address(address)) for address in await self._resolve(name)}
        except (OSError, ValueError):
            return
        finally:
            self._asking.pop(name, None)
        if found:
            in_order = sorted(found, key=lambda text: (":" in text, ip_address(text).packed))
            self._known[name] = tuple(in_order[:MAX_ADDRESSES])


async def _resolve(name: str) -> list[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    # One with a zone is good on one link only, and stands for no server.
    return [str(address[0]) for *_, address in found if "%" not in str(address[0])]
