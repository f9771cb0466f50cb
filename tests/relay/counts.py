"""What a process' metrics say of its flow cache."""

from __future__ import annotations

import asyncio

from prometheus_client.parser import text_string_to_metric_families

from firsthop.telemetry.metrics import Metrics

PREFIX = "firsthop_relay_flow_cache_"


def counted(metrics: Metrics, name: str) -> dict[str, int]:
    """Return the counts of ``lookups`` or ``writes`` by result; those above zero."""
    return {
        sample.labels["result"]: int(sample.value)
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name == f"{PREFIX}{name}_total" and sample.value
    }


async def settled(metrics: Metrics, name: str, count: int) -> dict[str, int]:
    """Wait until so many look-ups or writes have ended, and return how."""
    while True:
        results = counted(metrics, name)
        if sum(results.values()) >= count:
            return results
        await asyncio.sleep(0.001)


def breaker_open(metrics: Metrics) -> bool:
    """Return whether the breaker is open."""
    return bool(metrics.flow_cache_breaker_open._value.get())
