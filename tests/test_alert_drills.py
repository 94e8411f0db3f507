"""Alerts from a ComfyUI that is in trouble to those who are told: all processes are real, a minute is two seconds.

`bench/drills.py` makes every alert come true; here are the few that show the whole way.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
import yaml

from alerting.graphs import failing
from alerting.haste import HASTE, RULES, hasty_query, hasty_rules
from alerting.programs import PATIENCE, free_port
from alerting.server_drills import down
from alerting.stage import Place, stage

OF_A_BUSY_MACHINE = {"ComfyUIExporterDown", "ComfyUIExporterScrapeSlow"}
"""Other tests may run beside this one, and half a second is short then."""


async def test_two_dead_servers_are_one_message_that_holds_back_the_rest_and_healthy_traffic_is_none(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path) as where, where.place("calm", speed=HASTE) as calm:
        await calm.comfy.post("/simulator/traffic", {"rate": 120})
        await down(where)
        (row,) = [row for row in where.rows if row.alert == "ComfyUIDown"]
        assert row.severity == "critical"
        assert row.messages == 1
        assert row.kept_back == ["ComfyUIHighFailureRate"]
        assert row.resolved
        assert where.surprises == []
        ended = f'sum(comfyui_jobs_total{{job="{calm.job}"}}) > 5'
        await where.prometheus.until(ended)
        assert {message.alertname for message in where.notified.about(calm.job)} <= OF_A_BUSY_MACHINE
        assert await where.prometheus.broken_rules() == []
        assert where.notified.watchdog


async def test_a_job_that_ran_out_of_memory_is_told_by_its_prompt_id_in_the_inbox_and_to_push_clients(
    tmp_path: Path,
) -> None:
    port = free_port()
    async with (
        stage(tmp_path, inbox=f"http://127.0.0.1:{port}/api/v1/alerts") as where,
        where.place("memory", port=port) as place,
        aiohttp.ClientSession() as session,
        session.ws_connect(place.exporter.push) as client,
    ):
        place.act("a job runs out of memory")
        prompt_id = await place.comfy.submit(failing("oom_torch"), job_id=11)
        pushed = asyncio.create_task(_pushed(client, "ComfyUIJobFailed"))
        await place.told("ComfyUIJobFailed", says=(prompt_id, "job 11", "type image", "cuda_oom", place.comfy.name))
        await place.told("ComfyUIOutOfMemory", says=("cuda_oom", place.comfy.name))
        alert = await pushed
        assert alert["status"] == "firing"
        assert alert["labels"]["prompt_id"] == prompt_id
        assert prompt_id in alert["annotations"]["description"]
        assert await _listed(place, "ComfyUIOutOfMemory")
        assert where.surprises == []


async def _pushed(client: aiohttp.ClientWebSocketResponse, alertname: str) -> dict:
    async with asyncio.timeout(PATIENCE):
        while True:
            message = await client.receive_json()
            if message["type"] == "alert" and message["data"]["labels"]["alertname"] == alertname:
                return message["data"]


async def _listed(place: Place, alertname: str) -> dict:
    async with asyncio.timeout(PATIENCE):
        while True:
            for alert in (await place.exporter.get("/api/v1/alerts"))["items"]:
                if alert["labels"]["alertname"] == alertname:
                    return alert
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("query", "hasty"),
    [
        ("rate(a[5m])", "rate(a[10000ms])"),
        ("sum_over_time(a:increase5m[6h:5m])", "sum_over_time(a:increase5m[720000ms:10000ms])"),
        ("a[10m] offset 1h30m", "a[20000ms] offset 180000ms"),
        ('a{f=~"x-[a-z]+[.]yml"}[1h]', 'a{f=~"x-[a-z]+[.]yml"}[120000ms]'),
        ("in the last 30 minutes, 5m", "in the last 30 minutes, 5m"),
    ],
)
def test_a_query_in_haste_has_the_same_windows_only_shorter(query: str, hasty: str) -> None:
    assert hasty_query(query) == hasty


def test_haste_changes_nothing_but_times_and_thresholds_that_are_times() -> None:
    for file in RULES:
        rules = yaml.safe_load(file.read_text())
        hasty = hasty_rules(rules)
        for group, hasty_group in zip(rules["groups"], hasty["groups"], strict=True):
            for rule, hasty_rule in zip(group["rules"], hasty_group["rules"], strict=True):
                assert rule.keys() == hasty_rule.keys()
                assert rule.get("labels") == hasty_rule.get("labels")
                changed = {name for name in rule if rule[name] != hasty_rule[name]}
                if rule.get("record", "").startswith("comfyui:") and not rule["record"].endswith("_seconds"):
                    assert not changed
                assert "ms" in json.dumps(hasty_rule) or "[" not in rule["expr"]
