"""Every metric, label and value that a rule asks for is there."""

from __future__ import annotations

import pytest

from comfyui_exporter.metrics.store import MetricStore
from metrics.reading import filled, read
from prometheus.known import SERIES, TARGET, faults
from prometheus.promql import Matcher, names_of
from prometheus.shipped import ALERTS, ALL, RECORDS, Rule


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.name)
def test_a_rule_names_only_what_is_there(rule: Rule):
    assert faults(rule.expression) == []


def test_what_is_known_of_the_exporter_is_what_it_serves():
    store = MetricStore()
    store.add_server("gpu0")
    served: dict[str, set[str]] = {}
    for name, labels in read(filled(store)):
        served.setdefault(name, set()).update(dict(labels))
    assert served
    for name, labels in served.items():
        assert SERIES[name] == labels | TARGET, name


def test_every_server_is_told_by_job_instance_and_server():
    for rule in RECORDS:
        if rule.name.startswith("comfyui:") or rule.file == "comfyui-gpu.yml":
            continue
        assert SERIES[rule.name] >= {"job", "instance", "server"}, rule.name


def test_recorded_series_are_named_by_level_metric_and_operation():
    for rule in RECORDS:
        if rule.file in {"comfyui-settings.yml", "comfyui-gpu.yml"}:
            continue
        level, metric, _ = rule.name.split(":")
        assert metric.startswith("comfyui_")
        assert {*level.replace("job_type", "job-type").replace("node_type", "node-type").split("_")} <= {
            "server", "job-type", "node-type", "status", "pattern", "device", "route", "type",
        }  # fmt: skip


def test_every_recorded_series_that_an_alert_needs_is_recorded_before_it():
    recorded = {rule.name for rule in RECORDS}
    for rule in ALERTS:
        asked = {metric for metric in names_of(rule.expression).metrics if ":" in metric}
        assert asked <= recorded, rule.name


def test_a_name_that_is_not_there_is_found():
    assert faults("sum by (server) (comfyui_job_total)") == ["there is no metric comfyui_job_total"]
    assert faults("rate(comfyui_jobs_total[5m]) > 0 and on (host) comfyui_up") == ["no series has the label host"]
    assert faults('comfyui_jobs_total{state="failed"}') == [
        "comfyui_jobs_total has no label state",
        "state is never 'failed'",
    ]
    assert faults('comfyui_jobs_total{status=~"failed|error"}') == ["status is never 'error'"]


def test_names_are_read_out_of_any_expression():
    names = names_of(
        'histogram_quantile(0.5, sum by (le, a) (rate(x_bucket{b="by (c) {d}", e!~"f"}[5m] offset 1h))) # g\n > bool y'
    )
    assert names.metrics == {"x_bucket", "y"}
    assert names.grouped == {"le", "a"}
    assert names.selectors == [("x_bucket", (Matcher("b", "=", "by (c) {d}"), Matcher("e", "!~", "f")))]
