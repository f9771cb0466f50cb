"""Callers of one server, all in this process, and what is seen of their calls."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from firsthop._native import Callers
from firsthop.bench import isolation
from firsthop.bench.isolation import Isolation
from firsthop.bench.media import kernel
from firsthop.bench.media.seen import LEAST_RATE, Seen
from firsthop.bench.media.servers import Server
from firsthop.load.sound import Sound

#: A voice agent's clients have one.
_CHANNEL: Final = "oai-events"
#: So many callers of a crowd listen for marks: what they decode takes CPU time of the load.
_LISTENERS: Final = 5
#: How fast they come. Each handshake takes a millisecond of the core, or several.
_JOINS_PER_S: Final = 60
_CONNECT_SECONDS: Final = 20.0
#: From connected to measured: encoders and queues are there, handshakes are over.
_SETTLE_S: Final = 1.0
_GLANCE_S: Final = 0.02


class Crowd:
    """Callers of a server. They stay until the block that `gathered` gives is left.

    Args:
        server: Whom they call.
        sound: What they say.
        where: On whose other core they run.
        host: Where they call from.
    """

    def __init__(self, server: Server, sound: Sound, where: Isolation, host: str) -> None:
        self._server = server
        self._joined = 0
        self._listeners: list[int] = []
        others = kernel.own_threads()
        core = where.core if where.other_core is None else where.other_core
        with isolation.pinned(core):
            self._callers = Callers(
                local=host,
                threads=1,
                sound=sound.packets,
                marks=sound.marks,
                channel=_CHANNEL,
            )
        if where.realtime:
            isolation.set_threads_realtime(kernel.own_threads() - others, on=True)

    def join(self, upto: int, *, talk: bool = True) -> None:
        """Add callers until there are so many, and wait until they are connected, or cannot be.

        Args:
            upto: How many there are then.
            talk: Whether they talk, and do not just stay.

        Raises:
            BenchError: The server does not take a call.
        """
        began, already = time.monotonic(), self._joined
        while self._joined < upto:
            # Those who talk already are to be served meanwhile.
            due = began + (self._joined - already) / _JOINS_PER_S
            time.sleep(max(0.0, due - time.monotonic()))
            listens = talk and self._joined < _LISTENERS
            caller, offer = self._callers.offer(talks=talk, listens=listens)
            self._callers.answer(caller, self._server.place(offer))
            if listens:
                self._listeners.append(caller)
            self._joined += 1
        deadline = time.monotonic() + _CONNECT_SECONDS
        while self._callers.totals()["connecting"] and time.monotonic() < deadline:
            time.sleep(_GLANCE_S)

    def measure(self, seconds: float) -> Seen:
        """Let them talk, and see what comes of it."""
        time.sleep(_SETTLE_S)
        lost_before = self._lost()
        self._callers.measure()
        began, cpu_before = time.monotonic(), self._server.cpu_s()
        time.sleep(seconds)
        elapsed, cpu = time.monotonic() - began, self._server.cpu_s()
        totals, gaps, lost = self._callers.totals(), self._callers.gaps(), self._lost()
        return Seen(
            sessions=self._joined,
            connected=totals["connected"],
            seconds=elapsed,
            cpu_s=cpu - cpu_before,
            sent=totals["sent"],
            received=totals["received"],
            lost=totals["lost"],
            late=totals["late"],
            gaps=gaps,
            delays_ms=[
                delay
                for caller in self._listeners
                for delay in self._callers.call(caller).delays_ms
            ],
            dropped=lost[0] - lost_before[0],
            load_dropped=lost[1] - lost_before[1],
            least_rate=self._server.least_rate if self._server.echo == "pcm" else LEAST_RATE,
            resident_bytes=self._server.resident_bytes(),
        )

    def leave(self) -> None:
        """Hang all up."""
        for caller in self._callers.callers():
            self._callers.hang_up(caller)
        self._callers.stop()

    def _lost(self) -> tuple[int, int]:
        """Datagrams that the sockets of the server and of the callers had no room for."""
        return self._server.dropped(), kernel.dropped("self")


@contextmanager
def gathered(server: Server, sound: Sound, where: Isolation, host: str) -> Iterator[Crowd]:
    """Give callers of a server, none yet; leaving hangs them up."""
    crowd = Crowd(server, sound, where, host)
    try:
        yield crowd
    finally:
        crowd.leave()
