"""There is a runbook for each alert and an alert for each runbook, and what they tell to type works."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
import yaml

from docs.pages import ROOT, anchors, fenced
from prometheus.known import faults
from prometheus.shipped import ALERT_NAMES, ALERTS, RUNBOOKS, promtool

PAGES = sorted(RUNBOOKS.glob("*.md"))
HEADINGS = ["Meaning", "Impact", "Confirm", "Causes", "Act", "Silence"]
OVERVIEW = (ROOT / "docs/alerts.md").read_text()
PATHS = {
    8188: {"/prompt", "/queue", "/system_stats", "/history/PROMPT_ID", "/ws"},
    9188: {
        "/metrics", "/-/healthy", "/-/ready", "/api/v1/jobs", "/api/v1/jobs/PROMPT_ID", "/api/v1/servers",
        "/api/v1/statistics",
    },
    9090: {"/-/healthy"},
    9093: {"/-/healthy"},
}  # fmt: skip
"""What ComfyUI, the exporter, Prometheus and Alertmanager answer."""
PARAMETERS = {"server", "status", "job_type", "batch_id", "limit", "cursor"}
STATUSES = {"queued", "processing", "completed", "failed", "timeout", "cancelled"}
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def test_there_is_a_page_for_each_alert_and_no_other():
    assert [page.stem for page in PAGES] == ALERT_NAMES


@each_page
def test_a_page_has_its_headings_and_something_below_each(page):
    text = page.read_text()
    assert text.startswith(f"# {page.stem}\n")
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    assert parts[1::2] == HEADINGS
    assert all(part.strip() for part in parts[2::2])
    assert {heading.lower() for heading in HEADINGS} <= anchors(text)


@each_page
def test_a_page_says_the_severity_and_the_thresholds_of_its_alert(page):
    head = page.read_text().partition("\n## ")[0]
    alerts = [alert for alert in ALERTS if alert.name == page.stem]
    for severity in {alert.body["labels"]["severity"] for alert in alerts}:
        assert severity in head
    used = {name for alert in alerts for name in re.findall(r"scalar\((comfyui:threshold_\w+)\)", alert.expression)}
    named = set(re.findall(r"comfyui:threshold_\w+", head))
    assert named <= used
    assert used - named <= {f"comfyui:threshold_slo_burn_{window}" for window in ("6h", "1d")}


@each_page
def test_a_page_asks_prometheus_for_what_is_there(page, tmp_path):
    queries = [query.strip() for query in fenced(page.read_text(), "promql")]
    assert queries
    for query in queries:
        assert faults(query) == []
    rules = [{"record": f"example:query:{i}", "expr": query} for i, query in enumerate(queries)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "examples", "rules": rules}]}))
    promtool("check", "rules", file)


@each_page
def test_a_page_asks_only_paths_that_are_documented(page):
    for url in re.findall(r"http://[^\s'`]+", page.read_text()):
        parts = urlsplit(url)
        assert parts.hostname == "127.0.0.1"
        assert parts.port is not None
        assert parts.path in PATHS[parts.port], url
        if parts.query:
            asked = dict(pair.split("=") for pair in parts.query.split("&"))
            assert set(asked) <= PARAMETERS
            assert asked.get("status", "failed") in STATUSES


@each_page
def test_a_page_tells_how_to_silence_its_alert(page):
    silence = page.read_text().partition("\n## Silence\n")[2]
    assert "(../alerts.md#silence)" in silence
    assert f"alertname={page.stem}" in silence or "ends by itself" in silence or "Never" in silence


def test_the_overview_has_each_alert_as_it_is():
    rows = re.findall(
        r"^\| \[(\w+)\]\(runbooks/(\w+)\.md\)(?: (\w+))? \| (\w+) \| .+? \| (.*?) \| (\S*) \| (\S*) \|$",
        OVERVIEW,
        re.MULTILINE,
    )
    told = [
        (name, window, severity, pending or None, keep or None) for name, _, window, severity, _, pending, keep in rows
    ]
    expected = [
        (
            alert.name,
            alert.body["labels"].get("window", ""),
            alert.body["labels"]["severity"],
            alert.body.get("for"),
            alert.body.get("keep_firing_for"),
        )
        for alert in ALERTS
    ]
    assert sorted(told, key=str) == sorted(expected, key=str)
    assert all(name == page for name, page, *_ in rows)


def test_the_overview_names_the_thresholds_of_each_alert():
    for name, cell in re.findall(
        r"^\| \[(\w+ ?\w*)\]\(.*?\).*? \| \w+ \| .+? \| (.*?) \| \S* \| \S* \|$", OVERVIEW, re.MULTILINE
    ):
        named = set(re.findall(r"`(\w+)`", cell))
        used = {
            threshold
            for alert in ALERTS
            if alert.name == name
            for threshold in re.findall(r"scalar\(comfyui:threshold_(\w+)\)", alert.expression)
        }
        assert named <= used, name
        if "SLO" not in name:
            assert named == used, name


@pytest.mark.parametrize("example", fenced(OVERVIEW, "yaml"))
def test_the_examples_of_rules_are_valid(example, tmp_path):
    file = tmp_path / "own.yml"
    file.write_text(example)
    promtool("check", "rules", file)
    for rule in yaml.safe_load(example)["groups"][0]["rules"]:
        assert faults(rule["expr"]) == []
