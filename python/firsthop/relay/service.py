"""A relay as a service of the process: the native data plane, and its health."""

from __future__ import annotations

import structlog
from fastapi import FastAPI

from firsthop._native import Relay
from firsthop.config import RelaySettings, Settings
from firsthop.telemetry import http
from firsthop.telemetry.metrics import Metrics

log = structlog.get_logger()


class RelayService:
    """Runs one relay from `start` to `stop`."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._relay: Relay | None = None

    def start(self) -> None:
        """Bind the sockets and start the workers.

        Raises:
            ConfigError: No keys are set.
            OSError: A socket cannot be bound; the message names it.
        """
        relay, keys = self._settings.relay, self._settings.key_bytes()
        native = Relay(
            listen=list(relay.listen),
            upstream=relay.upstream,
            workers=relay.worker_count(),
            flow_capacity=relay.flow_capacity,
            flow_idle_seconds=relay.flow_idle_seconds,
            token_keys=keys,
            hop_secrets=keys,
            hop_key_id=self._settings.key_id,
            clusters=_clusters(relay),
        )
        self._relay = native
        self._metrics.watch_relay(native.counters)
        log.info("relay.started", workers=relay.worker_count(), clusters=len(relay.clusters))

    @property
    def listening(self) -> list[str]:
        """The public transport addresses as bound."""
        return self._relay.local_addresses() if self._relay else []

    @property
    def upstream(self) -> list[str]:
        """The upstream transport addresses as bound."""
        return self._relay.upstream_addresses() if self._relay else []

    def problem(self) -> str | None:
        """Why the relay is not ready, or None."""
        return self._relay.failed() if self._relay else "not started"

    def stop(self) -> None:
        """End the workers. Calls go on through another relay, or when this one is back."""
        if self._relay is not None:
            self._relay.stop()
            self._relay = None
            log.info("relay.stopped")

    def app(self) -> FastAPI:
        """The HTTP side of a relay that runs alone: health and metrics."""
        app = FastAPI(title="firsthop relay", openapi_url=None)
        app.include_router(http.routes(self._metrics, self.problem))
        return app


def _clusters(relay: RelaySettings) -> list[tuple[int, str | None, list[str], int, int]]:
    return [
        (
            cluster.id,
            cluster.ipv6_prefix,
            list(cluster.networks),
            cluster.first_port,
            cluster.last_port,
        )
        for cluster in relay.clusters
    ]
