"""A relay as a service of the process: the native data plane, its flow cache, and its health."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Final

import structlog
from fastapi import FastAPI

from firsthop import flowcache
from firsthop._native import Relay
from firsthop.config import Settings
from firsthop.fleet.beat import Beat
from firsthop.fleet.beat import Place as FleetPlace
from firsthop.relay import takeover
from firsthop.relay.clusters import native_clusters
from firsthop.relay.notices import Notices
from firsthop.relay.silence import Silence
from firsthop.relay.takeover import Place
from firsthop.telemetry import http
from firsthop.telemetry.metrics import Metrics

log = structlog.get_logger()

#: A relay that drains ends early once nothing came for so long: the checks of a call in which
#: nobody speaks are up to 5 s apart.
_SILENCE_SECONDS: Final = 6.0
#: How often a relay that drains is looked at, in seconds.
_LOOK_EVERY: Final = 0.25


class RelayService:
    """Runs one relay from `start` to `stop`."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._udp = len(settings.relay.listen)
        self._metrics = metrics
        self._relay: Relay | None = None
        self._notices: Notices | None = None
        self._draining = False
        metrics.watch_relay(self._counters)
        metrics.watch_workers(self._worker_counters)
        metrics.watch_next_hops(self._next_hops)

    def start(self) -> None:
        """Bind the sockets, start the workers, and serve their notices on the running loop.

        Raises:
            ConfigError: No keys are set.
            OSError: A socket cannot be bound; the message names it.
        """
        native = self._make(None)
        native.run()
        self._serve(native)
        log.info("relay.started", workers=self._settings.relay.worker_count())

    async def take_over(self, connection: socket.socket) -> socket.socket:
        """Start in the place of a relay that runs, at the other end of `connection`.

        Returns:
            Its listening HTTP socket, ours to close.

        Raises:
            ConfigError: No keys are set.
            OSError: Our settings ask for other sockets than it has; the message names the setting.
            TakeoverError: It speaks another version, or failed. In any case it goes on.
        """
        made: list[Relay] = []

        def begin(place: Place) -> Relay:
            made.append(self._make(place))
            return made[0]

        http = await asyncio.to_thread(takeover.take, connection, begin)
        self._serve(made[0])
        flows = made[0].counters()["flows"]
        log.info("relay.taken_over", workers=self._settings.relay.worker_count(), flows=flows)
        return socket.socket(fileno=http)

    async def give_place(self, path: Path, http: socket.socket) -> None:
        """Wait for a new relay at the Unix socket `path`; return once it runs in our place.

        Args:
            path: Where the socket is made; removed if nobody came.
            http: Our listening HTTP socket.

        Raises:
            OSError: There can be no socket at `path`; the message names it.
        """
        loop = asyncio.get_running_loop()
        with takeover.listen(path) as listener:
            try:
                while True:
                    connection, _ = await loop.sock_accept(listener)
                    with connection:
                        if await self._give(connection, http):
                            log.info("relay.gave_its_place")
                            return
            except asyncio.CancelledError:
                takeover.leave(path)
                raise

    async def _give(self, connection: socket.socket, http: socket.socket) -> bool:
        resumed: list[Relay] = []

        def resume(place: Place, flows: Sequence[bytes]) -> None:
            resumed.append(self._make(place))
            place.close()
            for worker, worker_flows in enumerate(flows):
                resumed[0].restore(worker, worker_flows)
            resumed[0].run()

        giving = _Giving(self._running(), self._stop_notices, asyncio.get_running_loop())
        given = await asyncio.to_thread(takeover.give, connection, giving, http.fileno(), resume)
        if resumed:
            self._serve(resumed[0])
            self.apply(self._settings)  # They may have changed while nobody ran.
        if not given:
            log.warning("relay.takeover_failed", effect="this relay goes on")
        return given

    def apply(self, settings: Settings) -> None:
        """Take over keys, clusters and edges that have changed. Calls go on.

        Raises:
            ConfigError: There are no keys for a cluster, or not the one to seal under.
            ValueError: Clusters cannot be told apart. Nothing changes then, as with the former.
            TimeoutError: A worker did not take them within a second: to be tried again.
        """
        clusters = native_clusters(settings)
        cache_keys = settings.key_bytes() if self._notices is not None else {}
        with contextlib.suppress(RuntimeError):  # Not running, or handing over.
            self._running().set_clusters(settings.relay.edges, clusters)
        if self._notices is not None:
            self._notices.use(cache_keys, settings.key_id)
        self._settings = settings

    def beat(self) -> Beat:
        """What the relay tells the fleet of itself."""
        return Beat(FleetPlace("ingress", self._settings.relay.site), draining=self._draining)

    def drain(self, deadline: float) -> None:
        """Say that no new clients are wanted. Whatever comes is forwarded as before."""
        self._draining = True

    async def drained(self) -> None:
        """Return once no packet has come for some seconds."""
        loop, silence = asyncio.get_running_loop(), Silence(_SILENCE_SECONDS)
        while True:
            if silence.lasts(loop.time(), self._forwarded()):
                return
            await asyncio.sleep(_LOOK_EVERY)

    @property
    def under_way(self) -> int:
        """The flows that it remembers."""
        counters = self._counters()
        return 0 if counters is None else counters["flows"]

    def _forwarded(self) -> int | None:
        counters = self._counters()
        if counters is None:
            return None
        return counters["ingress_packets"] + counters["egress_packets"]

    def _make(self, place: Place | None) -> Relay:
        """Make a native relay that does not run yet, on new sockets or on those of `place`."""
        relay = self._settings.relay
        workers = relay.worker_count()
        return Relay(
            listen=relay.listen,
            tcp_listen=relay.tcp_listen,
            tcp_connections=relay.tcp_connections,
            tcp_connections_per_address=relay.tcp_connections_per_address,
            upstream=relay.upstream,
            workers=workers,
            pin=relay.pin,
            busy_poll_us=relay.busy_poll_us,
            flow_capacity=-(-relay.flow_capacity // workers),
            flow_idle_seconds=relay.flow_idle_seconds,
            look_up=relay.flow_cache.url != "memory",
            site=relay.site,
            edges=relay.edges,
            clusters=native_clusters(self._settings),
            sockets=None if place is None else place.sockets,
        )

    def _serve(self, native: Relay) -> None:
        """Take `native`, which runs, for ours."""
        self._relay = native
        cache = flowcache.load(self._settings, self._metrics.flow_cache_garbage.inc)
        if cache is not None:
            budget = self._settings.relay.flow_cache.budget_ms / 1000
            self._notices = Notices(native, cache, budget, self._metrics)
            self._notices.start()

    async def _stop_notices(self) -> None:
        notices, self._notices = self._notices, None
        if notices is not None:
            await notices.stop()

    def _running(self) -> Relay:
        if self._relay is None:
            raise RuntimeError("the relay is not running")
        return self._relay

    def _counters(self) -> dict[str, int] | None:
        with contextlib.suppress(RuntimeError):  # Not running, or no longer: handing over.
            return self._running().counters()
        return None

    def _worker_counters(self) -> list[dict[str, int]] | None:
        with contextlib.suppress(RuntimeError):
            return self._running().worker_counters()
        return None

    def _next_hops(self) -> list[tuple[int, str, bool]] | None:
        with contextlib.suppress(RuntimeError):
            return self._running().next_hops()
        return None

    @property
    def listening(self) -> list[str]:
        """The public UDP addresses as bound."""
        return self._relay.local_addresses()[: self._udp] if self._relay else []

    @property
    def listening_tcp(self) -> list[str]:
        """The public TCP addresses as bound."""
        return self._relay.local_addresses()[self._udp :] if self._relay else []

    @property
    def upstream(self) -> list[str]:
        """The upstream transport addresses as bound."""
        return self._relay.upstream_addresses() if self._relay else []

    def problem(self) -> str | None:
        """Why the relay is not ready, or None.

        That its flow cache is down is no reason: known flows do not need it.
        """
        if self._relay is None:
            return "not started"
        if self._draining:
            return "draining"
        clusters = self._settings.relay.clusters
        if not clusters:
            return "relay.clusters is empty, so there is nowhere to forward to"
        with contextlib.suppress(RuntimeError):
            next_hops = self._relay.next_hops()
            if all(cluster.relays for cluster in clusters) and not any(
                alive for *_, alive in next_hops
            ):
                return "no relay of any cluster answers"
            return self._relay.failed()
        # Another relay has our place, or is about to: whoever asks is served.
        return None

    async def stop(self) -> None:
        """End the workers. Calls go on through another relay, or when this one is back."""
        await self._stop_notices()
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.stop()
            log.info("relay.stopped")

    def app(self) -> FastAPI:
        """The HTTP side of a relay that runs alone: health and metrics."""
        app = FastAPI(title="firsthop relay", openapi_url=None)
        app.include_router(http.routes(self._metrics, self.problem))
        return app


class _Giving:
    """A native relay whose notices nobody takes any more once it stops."""

    def __init__(
        self,
        native: Relay,
        stop_notices: Callable[[], Coroutine[None, None, None]],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._native = native
        self._stop_notices = stop_notices
        self._loop = loop
        self.sockets = native.sockets
        self.export = native.export

    def finish(self) -> list[bytes]:
        """Stop, and return what changed since the export. Called on a thread that may wait."""
        asyncio.run_coroutine_threadsafe(self._stop_notices(), self._loop).result()
        return self._native.finish()
