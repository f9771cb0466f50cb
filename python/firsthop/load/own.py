"""What the load itself was short of: a slow load machine looks like a slow server."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICK_S: Final = 0.05
_TASKS: Final = Path("/proc/self/task")

#: From here on the load machine is doubted.
_BUSY: Final = 0.85
_WAITED: Final = 0.05
_LATE: Final = 0.01
_LATE_MS: Final = 50.0


@dataclass(frozen=True, slots=True)
class Own:
    """How the load process did while it measured."""

    busiest: float
    """CPU time of its busiest thread, of the time that passed: 0 to 1."""
    waited: float | None
    """The longest that a thread was ready to run and had no core, of the time that passed.

    None where the kernel does not tell.
    """
    late_ms: float
    """How late its event loop woke up, 99th percentile: what is in the times of HTTP."""
    late_packets: float
    """Audio packets that left more than 5 ms after their time, or not at all, of all: 0 to 1."""
    unsent: int = 0
    """Datagrams that the system refused to send."""

    def doubts(self) -> list[str]:
        """Tell why the figures may be the load machine's and not the server's; empty: they are not.

        How late the loop was is about setting up only.
        """
        told = []
        if self.busiest >= _BUSY:
            told.append(f"a thread of the load was busy {self.busiest:.0%} of the time: --threads")
        if self.waited is not None and self.waited >= _WAITED:
            told.append(f"a thread of the load waited for a core {self.waited:.0%} of the time")
        if self.late_packets >= _LATE:
            told.append(f"the load sent {self.late_packets:.1%} of its packets too late")
        if self.unsent:
            told.append(f"the load's own system refused to send {self.unsent:,} datagrams")
        if self.late_ms >= _LATE_MS:
            told.append(f"the load's own loop was {self.late_ms:.0f} ms late (p99)")
        return told


class OwnWatch:
    """Watches this process. `run` has to run meanwhile."""

    def __init__(self) -> None:
        self._late: Counter[int] = Counter()
        self.restart()

    def restart(self) -> None:
        """Begin anew."""
        self._late.clear()
        self._began = time.monotonic()
        self._before = dict(_threads())

    async def run(self) -> None:
        """Notice how late the event loop is, until cancelled."""
        while True:
            due = time.monotonic() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self._late[int((time.monotonic() - due) * 1000)] += 1

    def seen(self, totals: Mapping[str, int]) -> Own:
        """Return how it was since the last `restart`.

        Args:
            totals: What the clients counted since then.
        """
        due = totals["sent"] + totals["late"]
        late_packets = min(totals["late"] / due, 1.0) if due else 0.0
        passed = max(time.monotonic() - self._began, 1e-3) * 1e9
        spent = [
            (
                cpu - self._before.get(thread, (0, 0))[0],
                waited - self._before.get(thread, (0, 0))[1],
            )
            for thread, (cpu, waited) in _threads()
        ]
        if not spent:
            busiest = sum(os.times()[:2]) * 1e9 / passed
            return Own(min(busiest, 1.0), None, self._late_p99(), late_packets, totals["unsent"])
        return Own(
            min(max(cpu for cpu, _ in spent) / passed, 1.0),
            min(max(waited for _, waited in spent) / passed, 1.0),
            self._late_p99(),
            late_packets,
            totals["unsent"],
        )

    def _late_p99(self) -> float:
        left = sum(self._late.values()) * 0.01
        for late in sorted(self._late, reverse=True):
            left -= self._late[late]
            if left < 0:
                return float(max(late, 0))
        return 0.0


def _threads() -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the CPU time and the waiting time of each thread, in ns; nothing but on Linux."""
    try:
        tasks = list(_TASKS.iterdir())
    except OSError:
        return
    for task in tasks:
        try:
            cpu, waited, _ = (task / "schedstat").read_text().split()
        except (OSError, ValueError):
            continue
        yield task.name, (int(cpu), int(waited))
