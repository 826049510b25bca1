"""The dashboard, the alerts and the page of metrics name metrics, labels and values that a server has."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.main import create_app
from app.settings import Settings
from tests.app.bodies import sum_of_exp
from tests.app.client import client_of
from tests.deploy.promql import read
from tests.docs.markdown import sections
from tests.serving import CHECKOUT, TUTORIAL_GRAPH

DASHBOARD: dict[str, Any] = json.loads((CHECKOUT / "deploy/grafana/gradd.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((CHECKOUT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
SCRAPES = yaml.safe_load((CHECKOUT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
PAGE = {section.title: section.text for section in sections(CHECKOUT / "docs/operations.md")}

EXPRESSIONS = {
    **{f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]},
    **{rule["alert"]: rule["expr"] for rule in RULES},
    **{found["name"]: found["query"] for found in DASHBOARD["templating"]["list"] if found["type"] == "query"},
}

SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds."""

OF_PROMETHEUS = {"up"}
"""Metrics that Prometheus makes."""

OPEN = {"status": {"200", "404", "422", "500", "503", "504"}}
"""Values that occur only in trouble."""

Samples = dict[str, dict[str, set[str]]]
Live = tuple[dict[str, str], Samples]


@pytest.fixture(scope="module")
def live() -> Live:
    """The types of the metrics of a server that has answered all kinds of requests, and the labels of their samples."""
    with client_of(create_app(Settings(concurrency=1, inline_ms=0))) as client:
        for body in (sum_of_exp(), sum_of_exp(), b"{"):
            client.post("/v1/gradients", body)
        graph_id = client.post("/v1/graphs", {"graph": TUTORIAL_GRAPH}).json()["id"]
        for name in (graph_id, "none"):
            client.post(f"/v1/graphs/{name}/forward", {})
        client.services.metrics.held("/v1/gradients")
        text = client.get("/metrics").text
    samples: Samples = defaultdict(lambda: defaultdict(set))
    types = {}
    for family in text_string_to_metric_families(text):
        types[family.name] = family.type
        for sample in family.samples:
            types[sample.name] = family.type
            _ = samples[sample.name]
            for label, value in sample.labels.items():
                samples[sample.name][label].add(value)
    return types, samples


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_reads_metrics_that_a_server_has(name: str, live: Live) -> None:
    types, samples = live
    parts = EXPRESSIONS[name].rpartition(",") if EXPRESSIONS[name].startswith("label_values(") else None
    expression = read(f"{parts[0]})" if parts else EXPRESSIONS[name])
    assert expression.selectors
    labels: set[str] = {parts[2].strip(" )")} if parts else set()
    for selector in expression.selectors:
        if selector.metric in OF_PROMETHEUS:
            continue
        assert selector.metric in samples, f"no server has {selector.metric}"
        found = samples[selector.metric]
        labels |= found.keys()
        counts = types[selector.metric] in {"counter", "histogram"}
        assert selector.is_range == counts, f"{selector.metric} is a {types[selector.metric]}"
        for matcher in selector.matchers:
            if matcher.label in SCRAPED:
                continue
            assert matcher.label in found, f"{selector.metric} has no label {matcher.label}"
            values = found[matcher.label] | OPEN.get(matcher.label, set())
            wanted = matcher.value.split("|") if matcher.operator == "=~" else [re.escape(matcher.value)]
            for value in wanted:
                assert any(re.fullmatch(value, known) for known in values), f"{matcher.label} is never {value}"
    assert expression.groups <= labels | SCRAPED


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_legend_has_labels_that_the_expression_keeps(panel: dict[str, Any], live: Live) -> None:
    for target in panel["targets"]:
        expression = read(target["expr"])
        kept = expression.groups or ({"instance"} if "sum" not in target["expr"] else set())
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= kept
        assert set(re.findall(r"\$(\w+)", target["expr"])) <= {"job", "instance", "__rate_interval"}


def test_the_dashboard_is_whole() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert all(panel["description"] and panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS)
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    rows = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    taken = [
        (x, y) for at in rows for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert all(at["x"] + at["w"] <= 24 for at in rows)


def test_the_rules_are_loaded_and_whole() -> None:
    assert SCRAPES["rule_files"] == ["alerts.yml"]
    assert [scrape["job_name"] for scrape in SCRAPES["scrape_configs"]] == ["gradd"]
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    for rule in RULES:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert re.fullmatch(r"\d+m", rule["for"])
        jobs = [matcher.value for selector in read(rule["expr"]).selectors for matcher in selector.matchers]
        assert "gradd" in jobs


def rows(title: str) -> Iterator[list[str]]:
    """Yield the cells of each row of a section's table, without the head."""
    lines = [line for line in PAGE[title].splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip("|"))]


def test_the_page_lists_each_metric_with_its_labels(live: Live) -> None:
    types, samples = live
    known: dict[str, set[str]] = {}
    for name, labels in samples.items():
        is_part = types[name] == "histogram"
        known.setdefault(re.sub(r"_(bucket|count|sum)$", "", name) if is_part else name, set()).update(
            labels.keys() - {"le"}
        )
    listed = {name.strip("`"): set(re.findall(r"`(\w+)`", labels)) for name, labels, _ in rows("Metrics")}
    assert listed == known


def test_the_page_lists_each_alert_as_it_is() -> None:
    listed = [
        (name.strip("`"), expression.strip("`"), meaning)
        for name, expression, meaning, action in rows("Alerts")
        if action
    ]
    assert listed == [(rule["alert"], rule["expr"], rule["annotations"]["summary"]) for rule in RULES]


@pytest.mark.parametrize("text", ["sum(rate(a[5m])", 'a{b="c" d="e"}', "a ? b", "rate", 'a{b="c}', "sum by (x) a)"])
def test_expressions_that_are_none_are_refused(text: str) -> None:
    with pytest.raises((ValueError, StopIteration)):
        read(text)
