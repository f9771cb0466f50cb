"""One of the addresses at which a cluster takes offers, and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit, urlunsplit


@dataclass(frozen=True, slots=True)
class Entrance:
    """A transceiver's signaling, or whatever answers in its place."""

    url: str
    """Where it is, without a slash at the end; by address, once that is known."""
    name: str | None = None
    """The name that the address is one of: certificates are for that."""
    ready: bool | None = None
    """Whether it wanted calls when it was last asked; None: it said nothing, or was not asked."""

    @property
    def host(self) -> str:
        """Host and port as a request names them: those of the fleet file."""
        parts = urlsplit(self.url)
        if self.name is None:
            return parts.netloc
        return self.name if parts.port is None else f"{self.name}:{parts.port}"

    @property
    def state(self) -> str:
        """The same in a word: ready, not_ready, silent."""
        return "silent" if self.ready is None else "ready" if self.ready else "not_ready"


def name_in(url: str) -> str | None:
    """Return the host of a URL if it is a name, None if it is an IP address."""
    host = urlsplit(url).hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return host
    return None


def entrances(url: str, addresses: Iterable[str] = ()) -> list[Entrance]:
    """Return what a URL stands for.

    Args:
        url: As the fleet file has it.
        addresses: IP addresses of its host, if that is a name; none: they are not known.
    """
    bare = url.rstrip("/")
    name = name_in(bare)
    found = [Entrance(_at(bare, address), name) for address in addresses if name is not None]
    return found or [Entrance(bare)]


def _at(url: str, address: str) -> str:
    """Put an address in the place of the host."""
    parts = urlsplit(url)
    host = f"[{address}]" if ":" in address else address
    netloc = host if parts.port is None else f"{host}:{parts.port}"
    return urlunsplit(parts._replace(netloc=netloc))
