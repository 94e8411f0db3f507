"""Every alert says what it has to, is compared with settings alone, and is shown firing and silent."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from prometheus.known import SERIES
from prometheus.promql import names_of
from prometheus.shipped import ALERT_NAMES, ALERTS, RECORDS, TEST_FILES, Rule

WANTED = {
    "ComfyUIDown", "ComfyUIRestarted", "ComfyUIQueueStuck", "ComfyUIJobStalled", "ComfyUIJobTimeout",
    "ComfyUIJobsLost", "ComfyUIJobFailed", "ComfyUIHighFailureRate", "ComfyUIFailurePattern", "ComfyUIOutOfMemory",
    "ComfyUIQueueBacklog", "ComfyUISlowGeneration", "ComfyUIVRAMLow", "ComfyUIJobSuccessSLOBurn",
    "ComfyUIServerVanished", "ComfyUIExporterDown", "ComfyUIExporterScrapeSlow", "ComfyUIExporterRequestErrors",
    "ComfyUIEventStreamDown", "ComfyUIExporterStoreErrors", "ComfyUIExporterReloadFailed",
    "ComfyUINotificationsFailing", "ComfyUIRulesBroken", "Watchdog",
}  # fmt: skip
DASHBOARDS = {"comfyui-overview", "comfyui-jobs", "comfyui-failures", "comfyui-capacity", "comfyui-exporter"}
THRESHOLDS = {rule.name for rule in RECORDS if rule.name.startswith("comfyui:threshold_")}
LINK = '{{ with query "comfyui:links" }}{{ . | first | label "%s" }}{{ end }}'
each_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)


def expectations() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """What the tests of the rules expect: an alert, and the alerts that fire."""
    for file in TEST_FILES:
        for case in yaml.safe_load(file.read_text())["tests"]:
            for expected in case.get("alert_rule_test", ()):
                yield expected["alertname"], expected.get("exp_alerts") or []


def thresholds_of(alert: Rule) -> set[str]:
    return {metric for metric in names_of(alert.expression).metrics if metric.startswith("comfyui:threshold_")}


def test_there_is_every_alert_that_we_promise():
    assert set(ALERT_NAMES) == WANTED


@each_alert
def test_an_alert_says_what_it_is_and_where_to_look(alert: Rule):
    assert alert.body["labels"]["severity"] in {"critical", "warning", "info"}
    said = alert.annotations
    assert list(said) == ["summary", "description", "runbook_url", "dashboard_url"]
    assert "{{" not in said["summary"]
    assert said["runbook_url"] == f"{LINK % 'runbooks'}/{alert.name}.md"
    base, _, rest = said["dashboard_url"].partition("/d/")
    assert base == LINK % "grafana"
    uid, _, variables = rest.partition("?")
    assert uid in DASHBOARDS
    for variable in variables.split("&") if variables else ():
        name = variable.partition("=")[0].removeprefix("var-")
        assert variable == f"var-{name}={{{{ $labels.{name} | urlquery }}}}"
    if alert.name != "ComfyUIServerVanished" and "$labels.server" in said["description"]:
        assert {"var-job=", "var-instance=", "var-server="} <= set(re.findall(r"var-\w+=", variables))


@each_alert
def test_what_an_alert_asks_in_its_description_is_there(alert: Rule):
    for query in re.findall(r'(?:printf|query) "((?:[^"\\]|\\.)+)"', alert.annotations["description"]):
        if query.startswith("%"):
            continue
        expression = query.replace('\\"', '"').replace("%q", '""')
        names = names_of(expression)
        assert names.metrics <= set(SERIES), alert.name
        for metric, matchers in names.selectors:
            assert {matcher.label for matcher in matchers} <= SERIES[metric], alert.name


@each_alert
def test_an_alert_is_compared_with_settings_and_not_with_numbers_of_its_own(alert: Rule):
    bare = re.sub(r"#[^\n]*|\[[^\]]*\]", "", alert.expression)
    numbers = {float(found) for found in re.findall(r"(?:[<>]=?|==|!=)\s*([\d.]+)", bare)}
    # 0.5 is most of the time, of what is either there or not.
    assert numbers <= {0.0, 1.0, 0.5}, alert.name
    if 0.5 in numbers:
        assert "avg_over_time" in bare
    assert thresholds_of(alert) <= THRESHOLDS


def test_every_threshold_is_used_and_one_that_is_missing_is_told_of():
    used = set().union(*(thresholds_of(alert) for alert in ALERTS if alert.name != "ComfyUIRulesBroken"))
    (guard,) = [alert for alert in ALERTS if alert.name == "ComfyUIRulesBroken"]
    guarded = set(re.findall(r"absent\(([\w:]+)\)", guard.expression))
    assert used == THRESHOLDS
    assert guarded == THRESHOLDS | {"comfyui:links"}


def test_thresholds_are_numbers_with_a_comment_that_names_their_alert():
    for rule in RECORDS:
        if rule.name in THRESHOLDS:
            assert re.fullmatch(r"vector\([\d.]+\)", rule.expression)
            assert "labels" not in rule.body


def test_an_alert_that_pages_waits_and_does_not_flap():
    for alert in ALERTS:
        if alert.body["labels"]["severity"] == "critical":
            assert alert.body["for"], alert.name
            assert alert.body["keep_firing_for"], alert.name


def test_every_alert_is_shown_firing_and_silent():
    seen: dict[str, set[bool]] = defaultdict(set)
    for name, fires in expectations():
        seen[name].add(bool(fires))
    for name in ALERT_NAMES:
        assert True in seen[name], f"no test shows {name} firing"
        # The watchdog is never silent; that nothing else fires then is what its test shows.
        assert False in seen[name] or name in {"Watchdog", "ComfyUIRulesBroken"}, f"no test shows {name} silent"


def test_every_part_of_an_alert_that_comes_in_parts_is_shown_firing():
    windows = {e["exp_labels"]["window"] for name, fires in expectations() if "SLO" in name for e in fires}
    assert windows == {alert.body["labels"]["window"] for alert in ALERTS if "SLO" in alert.name}


def test_what_fires_is_shown_with_all_that_it_says():
    for name, fires in expectations():
        for expected in fires:
            said = expected["exp_annotations"]
            assert set(said) == {"summary", "description", "runbook_url", "dashboard_url"}, name
            for text in said.values():
                assert text, name
                assert not re.search(r"<no value>|<error|\{\{|  ", text), name


def test_an_alert_about_a_server_says_which_one():
    about_others = {name for name in ALERT_NAMES if name.startswith("ComfyUIExporter")} - {
        "ComfyUIExporterRequestErrors"
    }
    about_others |= {"ComfyUINotificationsFailing", "ComfyUIRulesBroken", "Watchdog"}
    for name, fires in expectations():
        for expected in fires:
            if name not in about_others:
                assert {"job", "instance", "server"} <= set(expected["exp_labels"]), name
