"""Every metric of firsthop, by name.

Names are ``firsthop_<part>_<what>_<unit>``; labels are closed sets, never an address, a ufrag or
a call id. The native core counts in plain integers; the collectors here read them when scraped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Counters = Mapping[str, int]
#: Cluster, address, whether it is alive.
NextHop = tuple[int, str, bool]

#: Native counter, which is the metric's name too -> help. All counters but the gauges only grow.
_RELAY: Final = {
    "ingress_packets": "Packets forwarded from clients to transceivers",
    "ingress_bytes": "Bytes of those packets, without hop headers",
    "ingress_datagrams": "Datagrams that carried those packets",
    "egress_packets": "Packets forwarded from transceivers to clients",
    "egress_bytes": "Bytes of those packets, without hop headers",
    "flows": "Flows remembered now",
    "flows_created": "Flows learned from the return path or from the flow cache",
    "flows_found": "Flows learned from the flow cache",
    "flows_restored": "Flows taken over from the process before",
    "flows_moved": "Flows that changed their owner",
    "flows_released": "Flows that their owner ended",
    "flows_expired": "Flows forgotten because nothing passed",
    "flows_evicted": "Flows forgotten early, for room",
    "edges": "Edge relays that probe this one",
    "edge_lost": "Packets to edge relays that had fallen silent; the transceiver is told each time",
    "tcp_connections": "TCP connections of clients that are open",
    "tcp_accepted": "TCP connections of clients that were accepted",
    "tcp_refused": "TCP connections that a limit left no room for",
}
#: The same of each worker: whether the kernel spreads clients evenly.
_WORKER: Final = {
    "ingress_packets": "Packets forwarded from clients to transceivers, by worker",
    "egress_packets": "Packets forwarded from transceivers to clients, by worker",
    "flows": "Flows remembered now, by worker",
}
_TRANSCEIVER: Final = {
    "sessions": "Sessions that the engine owns now",
    "ingress_packets": "Packets from clients",
    "egress_packets": "Packets to clients",
    "paths_lost": "Paths of sessions whose edge relay fell silent",
}
_GAUGES: Final = frozenset({"flows", "edges", "sessions", "tcp_connections"})
#: Native counters that have one number per reason: what stands before it -> metric, help.
_BY_REASON: Final = {
    "dropped_": ("dropped_packets", "Packets dropped, by reason"),
    "tcp_closed_": ("tcp_closed", "TCP connections of clients that ended, by reason"),
}


class _NativeCollector(Collector):
    """Turns the native core's counters into metrics, at the moment of a scrape."""

    def __init__(
        self, part: str, names: Mapping[str, str], read: Callable[[], Counters | None]
    ) -> None:
        self._prefix = f"firsthop_{part}_"
        self._names = names
        self._read = read

    def collect(self) -> Iterable[Metric]:
        counters = self._read()
        if counters is None:
            return
        for name, text in self._names.items():
            family = GaugeMetricFamily if name in _GAUGES else CounterMetricFamily
            yield family(self._prefix + name, text, value=counters[name])
        for start, (name, text) in _BY_REASON.items():
            reasons = {key.removeprefix(start): key for key in counters if key.startswith(start)}
            if reasons:
                counted = CounterMetricFamily(self._prefix + name, text, labels=["reason"])
                for reason, key in reasons.items():
                    counted.add_metric([reason], counters[key])
                yield counted


class _WorkerCollector(Collector):
    """Turns the counters of each worker into metrics, at the moment of a scrape."""

    def __init__(self, read: Callable[[], Sequence[Counters] | None]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        workers = self._read() or []
        for name, text in _WORKER.items():
            family = GaugeMetricFamily if name in _GAUGES else CounterMetricFamily
            metric = family("firsthop_relay_worker_" + name, text, labels=["worker"])
            for number, counters in enumerate(workers):
                metric.add_metric([str(number)], counters[name])
            yield metric


class _NextHopCollector(Collector):
    """Tells of each relay that an edge sends to whether it answers, at the moment of a scrape."""

    def __init__(self, read: Callable[[], Sequence[NextHop] | None]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        name, text = "firsthop_relay_next_hop_alive", "Whether a cluster's relay answers this edge"
        metric = GaugeMetricFamily(name, text, labels=["cluster", "relay"])
        for cluster, relay, alive in self._read() or []:
            metric.add_metric([str(cluster), relay], alive)
        yield metric


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.draining = Gauge(
            "firsthop_draining",
            "Whether the process is about to end, and only finishes what is under way",
            registry=self._registry,
        )
        self.calls_ended = Counter(
            "firsthop_transceiver_calls_ended",
            "Calls that ended, by reason",
            ["reason"],
            registry=self._registry,
        )
        self.offers_refused = Counter(
            "firsthop_signaling_offers_refused",
            "Offers that were refused, by error code",
            ["code"],
            registry=self._registry,
        )
        self.access_refused = Counter(
            "firsthop_signaling_access_refused",
            "Requests that were refused for who asked or from where, by error code",
            ["code"],
            registry=self._registry,
        )
        self.forwarded = Counter(
            "firsthop_signaling_forwarded",
            "Hang-ups and sidebands forwarded to the call's owner, by result",
            ["result"],
            registry=self._registry,
        )
        self.slow_sockets = Counter(
            "firsthop_signaling_slow_sockets",
            "WebSockets closed because their clients did not keep up",
            registry=self._registry,
        )
        self.gateway_requests = Counter(
            "firsthop_gateway_requests",
            "Requests that a gateway passed on, by cluster and result",
            ["cluster", "result"],
            registry=self._registry,
        )
        self.setup_seconds = Histogram(
            "firsthop_transceiver_setup_seconds",
            "From the answer to ICE and DTLS being done",
            buckets=(0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10),
            registry=self._registry,
        )
        self.capacity = Gauge(
            "firsthop_transceiver_capacity",
            "Calls that the transceiver takes at the same time, at most",
            registry=self._registry,
        )
        self.handovers = Counter(
            "firsthop_transceiver_handovers",
            "Callers asked to go on elsewhere, and calls that go on here, by result",
            ["result"],
            registry=self._registry,
        )
        self.interruptions = Counter(
            "firsthop_transceiver_interruptions",
            "Times that a caller's speech stopped the agent's",
            registry=self._registry,
        )
        self.loopback_seconds = Gauge(
            "firsthop_transceiver_loopback_seconds",
            "From the transceiver's last good call to itself: until it heard its own sound",
            registry=self._registry,
        )
        self.loopback_failures = Counter(
            "firsthop_transceiver_loopback_failures",
            "Calls of the transceiver to itself that came to nothing",
            registry=self._registry,
        )

        self.backend_connections = Counter(
            "firsthop_transceiver_backend_connections",
            "Connections to the server or bot behind calls that were tried, by result",
            ["result"],
            registry=self._registry,
        )
        self.backend_disconnections = Counter(
            "firsthop_transceiver_backend_disconnections",
            "Connections to the server or bot behind a call that ended during it, by reason",
            ["reason"],
            registry=self._registry,
        )
        self.backend_reconnections = Counter(
            "firsthop_transceiver_backend_reconnections",
            "Connections to the Realtime backend that took the place of one lost during a call",
            registry=self._registry,
        )
        self.backend_garbage = Counter(
            "firsthop_transceiver_backend_garbage",
            "Messages of the server or bot behind calls that made no sense",
            registry=self._registry,
        )

        self.agent_stage_seconds = Histogram(
            "firsthop_agent_stage_seconds",
            "From the end of a turn to its transcript, and the answer's first token and sound",
            ["stage"],
            buckets=(0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10),
            registry=self._registry,
        )

        self.tool_calls = Counter(
            "firsthop_agent_tool_calls",
            "Tools called, by whose they are, by name if they are our own, and by outcome",
            ["server", "tool", "outcome"],
            registry=self._registry,
        )

        self.events_refused = Counter(
            "firsthop_transceiver_events_refused",
            "Events of clients that were refused, by error code",
            ["code"],
            registry=self._registry,
        )
        self.flow_cache_lookups = Counter(
            "firsthop_relay_flow_cache_lookups",
            "Flows that the flow cache was asked for, by result",
            ["result"],
            registry=self._registry,
        )
        self.flow_cache_writes = Counter(
            "firsthop_relay_flow_cache_writes",
            "Changes of flows on their way into the flow cache, by result",
            ["result"],
            registry=self._registry,
        )
        self.flow_cache_garbage = Counter(
            "firsthop_relay_flow_cache_garbage",
            "Values in the flow cache that were too old, or not written by a relay with our keys",
            registry=self._registry,
        )
        self.flow_cache_breaker_open = Gauge(
            "firsthop_relay_flow_cache_breaker_open",
            "Whether the flow cache is left alone because it fails",
            registry=self._registry,
        )
        self.flow_cache_lookup_seconds = Histogram(
            "firsthop_relay_flow_cache_lookup_seconds",
            "From the wake-up that brought questions to their answers",
            buckets=(0.0005, 0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.02, 0.05, 0.1),
            registry=self._registry,
        )

        self.fleet_healthy = Gauge(
            "firsthop_fleet_healthy",
            "Clusters and ingress points of the fleet that answer",
            ["part"],
            registry=self._registry,
        )
        self.fleet_signaling = Gauge(
            "firsthop_fleet_signaling",
            "Addresses at which a cluster takes offers, by what they say of themselves",
            ["cluster", "state"],
            registry=self._registry,
        )
        self.fleet_sessions = Gauge(
            "firsthop_fleet_sessions",
            "Calls that a cluster has now, as its heartbeats say",
            ["cluster"],
            registry=self._registry,
        )
        self.fleet_view_age_seconds = Gauge(
            "firsthop_fleet_view_age_seconds",
            "Since what is known of the fleet was last good, by where it comes from",
            ["source"],
            registry=self._registry,
        )
        self.fleet_garbage = Counter(
            "firsthop_fleet_garbage",
            "Places of heartbeats that held what nobody with our keys has written",
            registry=self._registry,
        )

    def watch_relay(self, read: Callable[[], Counters | None]) -> None:
        """Export a relay's counters, read at each scrape; None while it does not run."""
        self._registry.register(_NativeCollector("relay", _RELAY, read))

    def watch_workers(self, read: Callable[[], Sequence[Counters] | None]) -> None:
        """Export the counters of a relay's workers, one mapping each, read at each scrape."""
        self._registry.register(_WorkerCollector(read))

    def watch_next_hops(self, read: Callable[[], Sequence[NextHop] | None]) -> None:
        """Export which relays a relay sends to, and whether they answer, read at each scrape."""
        self._registry.register(_NextHopCollector(read))

    def watch_engine(self, read: Callable[[], Counters | None]) -> None:
        """Export an engine's counters, read at each scrape."""
        self._registry.register(_NativeCollector("transceiver", _TRANSCEIVER, read))

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)
