"""Links lead somewhere: between dashboards, from tables to jobs, from alerts to dashboards."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from grafana.boards import BOARDS, UIDS, panels, variables
from prometheus.shipped import ALERTS

every_board = pytest.mark.parametrize("uid", UIDS)


def links(panel: dict[str, Any]) -> Iterator[str]:
    for override in panel["fieldConfig"]["overrides"]:
        for setting in override["properties"]:
            if setting["id"] == "links":
                yield from (link["url"] for link in setting["value"])


def fields(panel: dict[str, Any]) -> set[str]:
    """The names under which a table's columns are known to links."""
    organized = [step["options"] for step in panel["transformations"] if step["id"] == "organize"]
    return {name for options in organized for name in options["renameByName"].values()}


@every_board
def test_the_dashboards_lead_to_each_other_and_keep_time_and_choices(uid):
    (link,) = BOARDS[uid]["links"]
    assert link["type"] == "dashboards"
    assert link["keepTime"]
    assert link["includeVars"]
    assert all(set(link["tags"]) <= set(board["tags"]) for board in BOARDS.values())


@every_board
def test_a_link_of_a_cell_leads_to_what_is_there(uid):
    for panel in panels(uid):
        for url in links(panel):
            if found := re.match(r"/d/([\w-]+)\?", url):
                assert set(re.findall(r"var-(\w+)=", url)) <= set(variables(found[1]))
                assert "${__url_time_range}" in url
                assert "${datasource:queryparam}" in url
                assert set(re.findall(r"__data\.fields\.(\w+)", url)) <= fields(panel), panel["title"]
            else:
                assert url.startswith("${exporter_url:raw}/api/v1/jobs/")
                assert "exporter_url" in variables(uid)


def test_a_prompt_is_always_a_link_to_its_job():
    shown = [panel for uid in UIDS for panel in panels(uid) if "Prompt" in str(panel.get("transformations"))]
    assert len(shown) == 3
    for panel in shown:
        assert any("/api/v1/jobs/" in url for url in links(panel)), panel["title"]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda rule: rule.name)
def test_an_alert_leads_to_a_dashboard_that_understands_what_it_chooses(alert):
    found = re.search(r"/d/([\w-]+)", alert.annotations["dashboard_url"])
    assert found
    assert set(re.findall(r"var-(\w+)=", alert.annotations["dashboard_url"])) <= set(variables(found[1]))


def test_graphs_of_durations_and_failures_lead_to_single_jobs():
    asked = {
        (uid, panel["title"])
        for uid in UIDS
        for panel in panels(uid)
        if any(target.get("exemplar") for target in panel["targets"])
    }
    assert asked == {("comfyui-jobs", "Duration of completed jobs"), ("comfyui-failures", "Failures by pattern")}
