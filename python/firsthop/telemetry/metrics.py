"""Every metric of firsthop, by name.

Names are ``firsthop_<part>_<what>_<unit>``; labels are closed sets, never an address, a ufrag or
a call id. The native core counts in plain integers; the collectors here read them when scraped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_DROPPED: Final = "dropped_"

Counters = Mapping[str, int]

#: Native counter, which is the metric's name too -> help. All counters but the gauges only grow.
_RELAY: Final = {
    "ingress_packets": "Packets forwarded from clients to transceivers",
    "ingress_bytes": "Bytes of those packets, without hop headers",
    "ingress_datagrams": "Datagrams that carried those packets",
    "egress_packets": "Packets forwarded from transceivers to clients",
    "egress_bytes": "Bytes of those packets, without hop headers",
    "flows": "Flows remembered now",
    "flows_created": "Flows learned from the return path",
    "flows_moved": "Flows that changed their owner",
    "flows_released": "Flows that their owner ended",
    "flows_expired": "Flows forgotten because nothing passed",
    "flows_evicted": "Flows forgotten early, for room",
}
_TRANSCEIVER: Final = {
    "sessions": "Sessions that the engine owns now",
    "ingress_packets": "Packets from clients",
    "egress_packets": "Packets to clients",
}
_GAUGES: Final = frozenset({"flows", "sessions"})


class _NativeCollector(Collector):
    """Turns the native core's counters into metrics, at the moment of a scrape."""

    def __init__(self, part: str, names: Mapping[str, str], read: Callable[[], Counters]) -> None:
        self._prefix = f"firsthop_{part}_"
        self._names = names
        self._read = read

    def collect(self) -> Iterable[Metric]:
        counters = self._read()
        for name, text in self._names.items():
            family = GaugeMetricFamily if name in _GAUGES else CounterMetricFamily
            yield family(self._prefix + name, text, value=counters[name])
        dropped = CounterMetricFamily(
            self._prefix + "dropped_packets", "Packets dropped, by reason", labels=["reason"]
        )
        for key, value in counters.items():
            if key.startswith(_DROPPED):
                dropped.add_metric([key.removeprefix(_DROPPED)], value)
        yield dropped


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
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
        self.setup_seconds = Histogram(
            "firsthop_transceiver_setup_seconds",
            "From the answer to ICE and DTLS being done",
            buckets=(0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10),
            registry=self._registry,
        )
        self.interruptions = Counter(
            "firsthop_transceiver_interruptions",
            "Times that a caller's speech stopped the agent's",
            registry=self._registry,
        )

    def watch_relay(self, read: Callable[[], Counters]) -> None:
        """Export a relay's counters, read at each scrape."""
        self._registry.register(_NativeCollector("relay", _RELAY, read))

    def watch_engine(self, read: Callable[[], Counters]) -> None:
        """Export an engine's counters, read at each scrape."""
        self._registry.register(_NativeCollector("transceiver", _TRANSCEIVER, read))

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)
