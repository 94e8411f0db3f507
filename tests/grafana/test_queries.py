"""Every query of a panel, an annotation or a variable is PromQL about something that is there."""

from __future__ import annotations

import json
import re

import pytest

from comfyui_exporter.metrics.families import ALL as FAMILIES
from grafana.boards import BOARDS, CHOSEN, QUERIES, UIDS, Query, panel, panels
from prometheus.known import SERIES, faults
from prometheus.promql import names_of
from prometheus.shipped import RECORDS, promtool

GPUS = {family.name for family in FAMILIES if family.name.startswith("comfyui_gpu_")}
"""Of the exporter's host, or measured by somebody else: no variable knows them."""
NOT_CHOSEN = {record.name for record in RECORDS if record.name.startswith("comfyui:")} | GPUS


def test_every_query_is_promql(tmp_path):
    rules = [{"record": f"query:{i}", "expr": query.filled(CHOSEN)} for i, query in enumerate(QUERIES)]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(QUERIES)} rules found" in promtool("check", "rules", file)


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_a_query_names_only_what_is_there(query: Query):
    assert faults(query.filled(CHOSEN)) == []


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_a_query_is_about_what_is_chosen(query: Query):
    about = "".join(query.of.partition("variable ")[1:])
    for metric, matchers in names_of(query.expression).selectors:
        asked = {matcher.label: matcher.value for matcher in matchers}
        for label in ("job", "instance", "server", "job_type"):
            if label in SERIES[metric] and (about, label) not in {
                ("variable job", "job"), ("variable job", "instance"), ("variable instance", "instance"),
                ("variable server", "server"), ("variable job_type", "job_type"),
            } and not (label == "job_type" and metric == "comfyui_batch_jobs"):  # fmt: skip
                assert asked.get(label, "").startswith(f"${label}"), f"{metric}: {label}"


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_a_metric_without_a_selector_is_one_that_nobody_chooses(query: Query):
    names = names_of(query.expression.replace("$__interval_ms", "1").replace("$__interval", "1m"))
    unasked = names.metrics - {metric for metric, _ in names.selectors}
    assert unasked <= NOT_CHOSEN or query.of == "variable job"


@pytest.mark.parametrize("query", [query for query in QUERIES if not query.of.startswith("variable")], ids=str)
def test_two_exporters_are_never_taken_for_one(query: Query):
    for grouping in re.findall(r"\b(?:on|by)\s*\(([^()]*)\)", query.expression):
        labels = {label.strip() for label in grouping.split(",")}
        if {"server", "instance", "prompt_id"} & labels and labels != {"server"}:
            assert {"job", "instance"} <= labels, grouping


def test_rates_follow_the_step_of_the_graph_or_have_a_window_that_is_named():
    for query in QUERIES:
        for window in re.findall(r"\[([^\]]+)\]", query.expression):
            assert window in {
                "$__rate_interval",
                "$__interval",
                "$__range",
                "$__range:$__interval",
                "1m",
                "5m",
                "30m",
                "1h",
                "1d",
            }, str(query)


def test_where_there_are_rules_their_arithmetic_is_not_repeated():
    recorded = {" ".join(record.expression.split()) for record in RECORDS if len(record.expression) > 60}
    for query in QUERIES:
        assert " ".join(query.expression.split()) not in recorded


def setting(name: str) -> float:
    (found,) = [record.expression for record in RECORDS if record.name == f"comfyui:threshold_{name}"]
    return float(found.removeprefix("vector(").removesuffix(")"))


@pytest.mark.parametrize(
    ("uid", "title", "name"),
    [
        ("comfyui-overview", "Failed", "failure_ratio"),
        ("comfyui-overview", "Failed, 30 min", "failure_ratio"),
        ("comfyui-overview", "Queue empty in", "drain_seconds"),
        ("comfyui-failures", "Share that failed, by server", "failure_ratio"),
        ("comfyui-capacity", "Longest queue", "drain_seconds"),
        ("comfyui-exporter", "Request errors", "request_error_ratio"),
        ("comfyui-exporter", "Scrape duration", "scrape_seconds"),
    ],
)
def test_a_panel_turns_red_where_its_alert_begins(uid, title, name):
    last = panel(uid, title)["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]
    assert (last["value"], last["color"]) == (setting(name), "red")


@pytest.mark.parametrize("uid", UIDS)
def test_bars_count_each_thing_once(uid):
    for shown in panels(uid):
        if shown["fieldConfig"]["defaults"].get("custom", {}).get("drawStyle") == "bars":
            assert shown["interval"] == "1m"
            for target in shown["targets"]:
                assert "[$__rate_interval]) * $__interval_ms / 1000" in target["expr"]
                assert target["expr"].startswith("round(sum by (")


def test_all_dashboards_together_use_most_of_what_the_exporter_tells():
    used = {metric for query in QUERIES for metric in names_of(query.expression).metrics}
    text = " ".join(record.expression for record in RECORDS if record.name in used)
    shown = {
        family.name for family in FAMILIES if any(name.startswith(family.name) for name in used) or family.name in text
    }
    unused = {family.name for family in FAMILIES} - shown
    assert unused <= {
        "comfyui_exporter_relay_upstream_connected",
        "comfyui_exporter_relay_upstream_reconnects_total",
        "comfyui_exporter_last_success_timestamp_seconds",
    }, BOARDS.keys()
