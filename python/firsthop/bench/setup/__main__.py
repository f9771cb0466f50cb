"""Prints one call as the proxy saw it, datagram by datagram.

python -m firsthop.bench.setup [--server NAME] [--rtt MS]
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from firsthop.bench import checkout, isolation
from firsthop.bench.errors import BenchError
from firsthop.bench.impairment import Packet
from firsthop.bench.setup import servers, timeline
from firsthop.bench.setup.browser import browser
from firsthop.bench.setup.network import browser_address
from firsthop.bench.setup.run import agreed
from firsthop.bench.setup.servers import Server

_NAMES: Final = (
    *(servers.DIRECT, servers.SNAP, servers.RELAYED),
    *(servers.PION, servers.PION_PASSIVE, servers.AIORTC),
)
_MAKERS: Final = {
    servers.DIRECT: servers.direct,
    servers.SNAP: servers.direct,
    servers.RELAYED: servers.relayed,
    servers.PION: servers.pion,
    servers.PION_PASSIVE: servers.pion_passive,
    servers.AIORTC: servers.aiortc,
}
_KEEP: Final = 400


def main() -> None:
    """Place a call, and one before it to warm up."""
    options = argparse.ArgumentParser(prog="python -m firsthop.bench.setup", description=__doc__)
    options.add_argument("--server", choices=_NAMES, default=servers.DIRECT)
    options.add_argument("--rtt", type=float, default=100.0, metavar="MS")
    given = options.parse_args()
    try:
        checkout.check()
        where = isolation.enter()
        host = browser_address(own_network=not any("loopback" in note for note in where.notes))
        with (
            tempfile.TemporaryDirectory(prefix="firsthop-bench-") as folder,
            ExitStack() as running,
        ):
            made = _MAKERS[given.server](host, Path(folder), running)
            server = next(each for each in made if each.name == given.server)
            found, packets = asyncio.run(_call(server, host, given.rtt, Path(folder)))
    except BenchError as error:
        options.exit(1, f"{error}\n")
    for line in timeline.lines(packets, given.rtt / 2):
        print(line)
    reached = sorted((ms, stage) for stage, ms in found["reached"].items())
    print("\nms from the POST:", ", ".join(f"{stage} {ms:.1f}" for ms, stage in reached))
    print("DTLS:", agreed(found["transport"]))


async def _call(
    server: Server, host: str, rtt_ms: float, folder: Path
) -> tuple[dict[str, Any], list[Packet]]:
    async with browser(folder / "chromium", server.flags) as caller:
        for keep in (0, _KEEP):
            with servers.way(server, host, rtt_ms, keep=keep) as way:
                async with caller.page(way.origin) as page:
                    found = await page.call(server.door, way.media)
                    packets = way.media.packets()
    return found, packets


if __name__ == "__main__":
    main()
