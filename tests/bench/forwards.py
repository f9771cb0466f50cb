"""Runs two relays under load for a moment, and prints what came through: for `test_load.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from firsthop.bench import isolation, load, trace
from firsthop.bench.contender import Contender, owners
from firsthop.bench.datagrams import BURST, write
from firsthop.bench.load import Direction
from firsthop.bench.ours import Firsthop
from firsthop.bench.peers import CMmsg

CLIENTS = 50
PACKETS = 4 * BURST
OWNERS = 2


def main(folder: Path) -> None:
    """Forward `PACKETS` packets each way through each relay."""
    where = isolation.enter()
    packets = trace.packets(CLIENTS, PACKETS, seed=1)
    for kind in (CMmsg, Firsthop):
        relay: Contender = kind(where, owners(OWNERS), folder)
        try:
            relay.start()
            relay.teach(CLIENTS)
            directions: tuple[Direction, ...] = ("up", "down")
            for direction in directions:
                sends = relay.up(packets) if direction == "up" else relay.down(packets)
                seen = load.solo(
                    where,
                    pid=relay.pid,
                    idle_ns=0,
                    direction=direction,
                    owners=relay.owners,
                    framing=relay.framing,
                    gro=True,
                    datagrams=write(folder / "datagrams", sends),
                    packets=PACKETS,
                    limit_seconds=30,
                )
                cpu = "CPU time taken" if seen.cpu_ns > 0 else "no CPU time"
                came = f"{seen.sent} sent, {seen.received} received"
                print(f"{relay.name} {direction}: {came}, {cpu}")
        finally:
            relay.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
