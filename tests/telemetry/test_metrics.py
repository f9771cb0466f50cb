"""The names and labels that dashboards are built on."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from firsthop.telemetry.metrics import CONTENT_TYPE, Metrics

RELAY = {
    "ingress_packets": 1,
    "ingress_bytes": 2,
    "ingress_datagrams": 3,
    "egress_packets": 4,
    "egress_bytes": 5,
    "flows": 6,
    "flows_created": 7,
    "flows_moved": 8,
    "flows_released": 9,
    "flows_expired": 10,
    "flows_evicted": 11,
    "dropped_hop_mac": 12,
    "dropped_token_expired": 13,
    "tcp_connections": 14,
    "tcp_accepted": 15,
    "tcp_refused": 16,
    "tcp_closed_idle": 17,
    "flows_found": 18,
    "flows_restored": 19,
    "edges": 20,
    "edge_lost": 21,
}
ENGINE = {
    "sessions": 1,
    "ingress_packets": 2,
    "egress_packets": 3,
    "dropped_unproved": 4,
    "paths_lost": 5,
}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(metrics: Metrics) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, frozenset(labels.items())]


def test_relay_counters_have_their_names_and_are_read_at_each_scrape() -> None:
    metrics, counters = Metrics(), dict(RELAY)
    metrics.watch_relay(lambda: counters)
    assert value(metrics, "firsthop_relay_ingress_packets_total") == 1
    assert value(metrics, "firsthop_relay_flows") == 6
    assert value(metrics, "firsthop_relay_dropped_packets_total", reason="hop_mac") == 12
    assert value(metrics, "firsthop_relay_tcp_connections") == 14
    assert value(metrics, "firsthop_relay_tcp_closed_total", reason="idle") == 17
    counters["flows"] = 99
    assert value(metrics, "firsthop_relay_flows") == 99


@pytest.mark.parametrize(
    ("counters", "watch"),
    [(RELAY, Metrics.watch_relay), (ENGINE, Metrics.watch_engine)],
    ids=["relay", "engine"],
)
def test_every_native_counter_is_exported(
    counters: dict[str, int], watch: Callable[[Metrics, Callable[[], dict[str, int]]], None]
) -> None:
    metrics = Metrics()
    watch(metrics, lambda: counters)
    assert sorted(set(counters.values()) - set(samples(metrics).values())) == []


def test_counters_of_workers_are_told_apart_and_read_at_each_scrape() -> None:
    metrics, workers = Metrics(), [dict(RELAY), {**RELAY, "ingress_packets": 50}]
    metrics.watch_workers(lambda: workers)
    assert value(metrics, "firsthop_relay_worker_ingress_packets_total", worker="0") == 1
    assert value(metrics, "firsthop_relay_worker_ingress_packets_total", worker="1") == 50
    assert value(metrics, "firsthop_relay_worker_flows", worker="1") == 6
    workers[1]["egress_packets"] = 99
    assert value(metrics, "firsthop_relay_worker_egress_packets_total", worker="1") == 99


def test_relays_that_an_edge_sends_to_are_told_apart() -> None:
    metrics = Metrics()
    metrics.watch_next_hops(lambda: [(7, "192.0.2.1:3479", True), (8, "192.0.2.2:3479", False)])
    name = "firsthop_relay_next_hop_alive"
    assert value(metrics, name, cluster="7", relay="192.0.2.1:3479") == 1
    assert value(metrics, name, cluster="8", relay="192.0.2.2:3479") == 0


def test_relay_and_transceiver_of_one_process_do_not_mix() -> None:
    metrics = Metrics()
    metrics.watch_relay(lambda: RELAY)
    metrics.watch_engine(lambda: ENGINE)
    assert value(metrics, "firsthop_transceiver_sessions") == 1
    assert value(metrics, "firsthop_transceiver_egress_packets_total") == 3
    assert value(metrics, "firsthop_relay_egress_packets_total") == 4
    assert value(metrics, "firsthop_transceiver_dropped_packets_total", reason="unproved") == 4


def test_own_counters_have_their_names() -> None:
    metrics = Metrics()
    metrics.calls_ended.labels("hung_up").inc()
    metrics.offers_refused.labels("overloaded").inc(2)
    metrics.interruptions.inc(3)
    metrics.setup_seconds.observe(0.15)
    metrics.capacity.set(200)
    metrics.flow_cache_lookups.labels("hit").inc()
    metrics.flow_cache_writes.labels("written").inc(4)
    metrics.flow_cache_garbage.inc(5)
    metrics.flow_cache_breaker_open.set(True)
    metrics.flow_cache_lookup_seconds.observe(0.0008)
    assert value(metrics, "firsthop_transceiver_calls_ended_total", reason="hung_up") == 1
    assert value(metrics, "firsthop_signaling_offers_refused_total", code="overloaded") == 2
    assert value(metrics, "firsthop_transceiver_interruptions_total") == 3
    assert value(metrics, "firsthop_transceiver_setup_seconds_count") == 1
    assert value(metrics, "firsthop_transceiver_capacity") == 200
    assert value(metrics, "firsthop_transceiver_setup_seconds_bucket", le="0.2") == 1
    assert value(metrics, "firsthop_relay_flow_cache_lookups_total", result="hit") == 1
    assert value(metrics, "firsthop_relay_flow_cache_writes_total", result="written") == 4
    assert value(metrics, "firsthop_relay_flow_cache_garbage_total") == 5
    assert value(metrics, "firsthop_relay_flow_cache_breaker_open") == 1
    assert value(metrics, "firsthop_relay_flow_cache_lookup_seconds_bucket", le="0.001") == 1


def test_names_and_labels_are_a_closed_set() -> None:
    metrics = Metrics()
    metrics.watch_relay(lambda: RELAY)
    metrics.watch_engine(lambda: ENGINE)
    metrics.watch_workers(lambda: [RELAY])
    metrics.calls_ended.labels("hung_up").inc()
    metrics.offers_refused.labels("invalid_offer").inc()
    metrics.backend_connections.labels("opened").inc()
    metrics.backend_disconnections.labels("lost").inc()
    metrics.flow_cache_lookups.labels("hit").inc()
    metrics.fleet_healthy.labels("cluster").set(2)
    metrics.fleet_sessions.labels("fra").set(70)
    metrics.fleet_view_age_seconds.labels("file").set(0.5)
    for name, labels in samples(metrics):
        part = "relay|transceiver|signaling|fleet"
        assert re.fullmatch(rf"firsthop_(draining|({part})_[a-z_]+)", name)
        closed = {"reason", "code", "le", "result", "worker", "part", "cluster", "source"}
        assert {key for key, _ in labels} <= closed


def test_two_processes_worth_of_metrics_live_side_by_side() -> None:
    one, other = Metrics(), Metrics()
    one.interruptions.inc()
    assert value(other, "firsthop_transceiver_interruptions_total") == 0


def test_content_type_is_that_of_the_text_format() -> None:
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")
