"""The dashboard and the alerts ask for metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from deploy.chart import CHART
from firsthop.telemetry.metrics import Metrics
from telemetry.test_metrics import ENGINE, RELAY

#: What Prometheus adds where the chart's ServiceMonitor finds a pod.
TARGET: Final = {"namespace", "pod"}
DASHBOARD: Final[dict[str, Any]] = json.loads((CHART / "dashboards/firsthop.json").read_text())
ALERTS: Final[dict[str, Any]] = yaml.safe_load((CHART / "alerts/firsthop.yaml").read_text())

PANELS: Final = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES: Final = [rule for group in ALERTS["groups"] for rule in group["rules"]]


def exported() -> dict[str, set[str]]:
    """Return the labels of every metric that any part exports, by its name in a query."""
    metrics = Metrics()
    metrics.watch_relay(lambda: RELAY)
    metrics.watch_engine(lambda: ENGINE)
    metrics.watch_workers(lambda: [RELAY])
    metrics.watch_next_hops(lambda: [(1, "192.0.2.1:3479", True)])
    for metric in vars(metrics).values():
        # One with labels is there once they have a value.
        if labels := getattr(metric, "_labelnames", ()):
            metric.labels(*("x" for _ in labels))
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


EXPORTED: Final = exported()


@dataclass(frozen=True)
class Query:
    """A query, as Prometheus reads it."""

    selectors: tuple[tuple[str, dict[str, str]], ...]
    """The metrics, each with its matchers."""
    grouped: set[str]
    """The labels that are kept."""


def parsed(query: str) -> Query:
    """Read a query; ValueError: it is none."""
    selectors: list[tuple[str, dict[str, str]]] = []
    grouped: set[str] = set()

    def visit(node: promql_parser.Expr) -> None:
        match node:
            case promql_parser.MatrixSelector():
                visit(node.vector_selector)
            case promql_parser.VectorSelector():
                matchers = {one.name: one.value for one in node.matchers.matchers}
                selectors.append((str(node.name), matchers))
            case promql_parser.AggregateExpr() if node.modifier is not None:
                assert node.modifier.type is promql_parser.AggModifierType.By
                grouped.update(node.modifier.labels)

    # Grafana puts a duration there.
    promql_parser.walk(promql_parser.parse(query.replace("$__rate_interval", "1m")), visit)
    return Query(tuple(selectors), grouped)


def queries() -> Iterator[tuple[str, str]]:
    for panel in PANELS:
        for target in panel["targets"]:
            yield f"{panel['title']}, {target['legendFormat']}", target["expr"]
    for rule in RULES:
        yield rule["alert"], rule["expr"]


QUERIES: Final = dict(queries())


@pytest.mark.parametrize("text", QUERIES.values(), ids=QUERIES)
def test_a_query_asks_for_metrics_and_labels_that_are_exported(text: str) -> None:
    query = parsed(text)
    assert query.selectors
    for name, matchers in query.selectors:
        assert name in EXPORTED
        assert matchers.keys() <= EXPORTED[name] | TARGET
    known = set().union(*(EXPORTED[name] for name, _ in query.selectors))
    assert query.grouped <= known | TARGET


def test_a_variable_asks_for_a_label_that_every_part_exports() -> None:
    asked = [
        one["query"]["query"] for one in DASHBOARD["templating"]["list"] if "definition" in one
    ]
    assert asked == ["label_values(firsthop_draining, namespace)"]
    assert EXPORTED["firsthop_draining"] == set()


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_a_panel_shows_the_chosen_namespaces_and_names_what_it_keeps(panel: dict[str, Any]) -> None:
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for target in panel["targets"]:
        query, legend = parsed(target["expr"]), target["legendFormat"]
        assert {matchers["namespace"] for _, matchers in query.selectors} == {"$namespace"}
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) == query.grouped - {"le"}


def test_panels_have_a_place_of_their_own_each() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alert_says_what_it_means_with_labels_that_it_has(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"].endswith(".")
    told = " ".join(rule["annotations"].values())
    assert set(re.findall(r"\$labels\.(\w+)", told)) <= parsed(rule["expr"]).grouped
