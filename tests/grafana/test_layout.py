"""Every dashboard can be read: nothing covers anything, and everything says what it is."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import pytest

from comfyui_dashboards.colours import BY_SEVERITY, BY_STATUS
from comfyui_exporter.metrics.increments import STATUSES
from grafana.boards import BOARDS, UIDS, annotations, panels, rows, variables

CORE = {"timeseries", "stat", "table", "heatmap", "state-timeline"}
"""Panel types that every Grafana has."""
SINCE_10_1 = {"merge", "filterFieldsByName", "organize", "groupingToMatrix", "sortBy"}
"""Transformations that Grafana 10.1 has."""

every_board = pytest.mark.parametrize("uid", UIDS)


def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    place = panel["gridPos"]
    return {
        (x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])
    }


@every_board
def test_no_panel_covers_another_and_no_gap_is_left(uid):
    everything = [*panels(uid), *rows(uid)]
    for one, other in combinations(everything, 2):
        assert not cells(one) & cells(other), f"{one['title']} and {other['title']}"
    covered = set[tuple[int, int]]().union(*map(cells, everything))
    height = max(y for _, y in covered) + 1
    assert covered == {(x, y) for x in range(24) for y in range(height)}


@every_board
def test_ids_are_unique_and_so_are_titles(uid):
    everything = [*panels(uid), *rows(uid)]
    assert sorted(panel["id"] for panel in everything) == list(range(1, len(everything) + 1))
    assert len({panel["title"] for panel in everything}) == len(everything)


@every_board
def test_every_panel_says_what_it_shows_and_in_which_unit(uid):
    for panel in panels(uid):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        if panel["type"] == "timeseries" and "noValue" in panel["fieldConfig"]["defaults"]:
            # Grafana writes it beside ticks that whole numbers leave out.
            assert panel["fieldConfig"]["defaults"].get("decimals") is None, panel["title"]
        assert len(panel["title"]) <= 8 * panel["gridPos"]["w"], f"{panel['title']} is cut off"


@every_board
def test_ids_in_tables_are_not_taken_for_numbers(uid):
    for panel in panels(uid):
        overrides = panel["fieldConfig"]["overrides"]
        units = {o["matcher"]["options"]: p["value"] for o in overrides for p in o["properties"] if p["id"] == "unit"}
        for title in {"Prompt", "Job", "Batch", "Device"} & {o["matcher"]["options"] for o in overrides}:
            assert units[title] == "string", f"{panel['title']}: {title}"


@every_board
def test_titles_of_numbers_fit_at_1280(uid):
    # Three columns have room for nine letters beside the sign of the description, each further one for seven more.
    for panel in panels(uid):
        if panel["type"] == "stat":
            assert len(panel["title"]) <= 9 + 9 * (panel["gridPos"]["w"] - 3), panel["title"]


@every_board
def test_no_panel_needs_a_plugin_or_a_newer_grafana(uid):
    assert BOARDS[uid]["schemaVersion"] == 38
    for panel in panels(uid):
        assert panel["type"] in CORE
        assert {step["id"] for step in panel.get("transformations", [])} <= SINCE_10_1


@every_board
def test_everything_asks_the_data_source_that_is_chosen(uid):
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert variables(uid)["datasource"]["query"] == "prometheus"
    for panel in panels(uid):
        assert [panel["datasource"], *(target["datasource"] for target in panel["targets"])] == [chosen] * (
            1 + len(panel["targets"])
        )
        assert [target["refId"] for target in panel["targets"]] == list("ABCDEFGHIJKLMNOP"[: len(panel["targets"])])
    for asking in [*annotations(uid), *(v for v in variables(uid).values() if v["type"] == "query")]:
        assert asking["datasource"] == chosen


@every_board
def test_every_line_has_a_name_and_a_legend_with_numbers(uid):
    for panel in panels(uid):
        if panel["type"] == "timeseries":
            legend = panel["options"]["legend"]
            assert legend["showLegend"]
            assert len(legend["calcs"]) == 2
            assert all(target["legendFormat"] for target in panel["targets"])


@every_board
def test_what_can_be_chosen_can_be_chosen_together(uid):
    chosen = variables(uid)
    assert list(chosen)[:4] == ["datasource", "job", "instance", "server"]
    for name in {"job", "instance", "server", "job_type"} & set(chosen):
        variable = chosen[name]
        assert variable["multi"]
        assert variable["includeAll"]
        assert variable["allValue"] == ".+"
        assert variable["current"]["value"] == "$__all"
        assert variable["refresh"] == 2, "what is chosen from follows the time range"


def test_job_types_can_be_chosen_wherever_jobs_are_shown():
    assert [uid for uid in UIDS if "job_type" not in variables(uid)] == ["comfyui-exporter"]


@every_board
def test_restarts_and_alerts_are_marked(uid):
    marked = annotations(uid)
    assert [mark["name"] for mark in marked] == ["Restarts", "Critical alerts", "Warnings"]
    assert all(mark["enable"] for mark in marked)


def named_colours(panel: dict[str, Any]) -> dict[str, str]:
    return {
        override["matcher"]["options"]: setting["value"]["fixedColor"]
        for override in panel["fieldConfig"]["overrides"]
        if override["matcher"]["id"] == "byName"
        for setting in override["properties"]
        if setting["id"] == "color" and setting["value"]["mode"] == "fixed"
    }


@every_board
def test_a_status_has_one_colour_everywhere(uid):
    for panel in panels(uid):
        for name, colour in named_colours(panel).items():
            meant = BY_STATUS.get(name) or BY_STATUS["pending" if name == "waiting" else "running"]
            assert colour == meant, f"{panel['title']}: {name}"


@every_board
def test_series_that_are_named_after_a_status_are_coloured(uid):
    for panel in panels(uid):
        if any(re.search(r"by \(status\)", target["expr"]) for target in panel["targets"]):
            assert {status.value for status in STATUSES} <= set(named_colours(panel)), panel["title"]


def test_every_status_and_severity_has_a_colour_of_its_own():
    assert {status.value for status in STATUSES} <= set(BY_STATUS)
    assert len({BY_STATUS[status.value] for status in STATUSES}) == len(STATUSES)
    assert len(set(BY_SEVERITY.values())) == len(BY_SEVERITY)
