"""A day in which nothing is wrong, and nobody is to be told of anything.

Two ComfyUIs work from morning to night: browsers, scripts and services submit images, videos, audio and meshes, some
impatient users interrupt or delete; at noon somebody submits a pile of videos that takes most of an hour; from time to
time a video takes half an hour; long hours are idle. At night one job fails. That failure is told as `info`,
ComfyUIJobFailed, which asks nobody to act; no `warning` and no `critical` may come, and no other `info`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from alerting.graphs import failing
from alerting.haste import HASTE
from alerting.programs import ComfyUI
from alerting.stage import Place, Stage, stage
from comfyui_exporter.simulator.workflows import video

DAY_MINUTES = 24 * 60 / HASTE
"""How long a day is here."""

_HOURS = (
    # From hour, jobs a minute and server.
    (0, 0.0),
    (7, 0.5),
    (9, 2.0),
    (12, 1.0),
    (13, 2.5),
    (18, 1.0),
    (20, 0.2),
    (22, 0.0),
)
_PILE_AT = 12.5
_PILE = 15
"""Videos of about three minutes, submitted at once."""
_PILE_STEPS = 500

_LONG_VIDEOS_AT = (10.0, 15.0, 20.5)
_LONG_VIDEO_STEPS = 5_000
"""About half an hour."""

_FAILURE_AT = 3.0


@dataclass(slots=True)
class Day:
    """What came of it."""

    minutes: float
    jobs: dict[str, int] = field(default_factory=dict)
    """Finished ones by status."""
    messages: dict[str, int] = field(default_factory=dict)
    """By alert and severity; repeats apart."""
    watchdog_heard: int = 0
    fired: list[str] = field(default_factory=list)
    """What fired in Prometheus at any time, told or not."""
    longest_queue: int = 0
    problems: list[str] = field(default_factory=list)


async def healthy(folder: Path, minutes: float) -> Day:
    """So many minutes of a day, whose hours are as much shorter if they are fewer than `DAY_MINUTES`."""
    day = Day(minutes)
    of_server = {"stall_timeout": f"{600 / HASTE:g}s"}
    async with stage(folder) as where, where.place("day", count=2, speed=HASTE, of_server=of_server) as place:
        # Prometheus was started before there was an exporter.
        await where.prometheus.until('absent(ALERTS{alertname="ComfyUIExporterDown"})')
        where.notified.messages.clear()
        hour = minutes * 60 / 24
        began = time.monotonic()
        tasks = [
            asyncio.create_task(_traffic(place, hour)),
            asyncio.create_task(_specials(place, hour)),
            asyncio.create_task(_watch(where, place, day)),
        ]
        try:
            done, _ = await asyncio.wait(tasks[:2], return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
            await asyncio.sleep(max(0.0, began + minutes * 60 - time.monotonic()))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await _sum_up(where, place, day)
    return day


async def _traffic(place: Place, hour: float) -> None:
    began = time.monotonic()
    for at, rate in _HOURS:
        await asyncio.sleep(max(0.0, began + at * hour - time.monotonic()))
        for comfy in place.comfys:
            await comfy.post("/simulator/traffic", {"rate": rate * HASTE})


async def _specials(place: Place, hour: float) -> None:
    rng = Random("day")
    began = time.monotonic()
    acts = [(_FAILURE_AT, "failure"), (_PILE_AT, "pile"), *((at, "long") for at in _LONG_VIDEOS_AT)]
    for at, act in sorted(acts):
        await asyncio.sleep(max(0.0, began + at * hour - time.monotonic()))
        comfy = rng.choice(place.comfys)
        if act == "failure":
            await comfy.submit(failing("value"), job_type="upscale")
        elif act == "pile":
            for _ in range(_PILE):
                await comfy.submit(_video(rng, steps=_PILE_STEPS), job_type="video")
        else:
            await comfy.submit(_video(rng, steps=_LONG_VIDEO_STEPS), job_type="long-video")


def _video(rng: Random, steps: int) -> dict[str, Any]:
    graph = video(rng).graph
    graph["7"]["inputs"]["steps"] = steps
    return graph


async def _watch(where: Stage, place: Place, day: Day) -> None:
    while True:
        for alert in await where.prometheus.alerts():
            if alert["state"] == "firing":
                name = alert["labels"]["alertname"]
                if name not in day.fired:
                    day.fired.append(name)
        for comfy in place.comfys:
            day.longest_queue = max(day.longest_queue, await _queue(comfy))
        await asyncio.sleep(0.5)


async def _queue(comfy: ComfyUI) -> int:
    return int((await comfy.get("/prompt"))["exec_info"]["queue_remaining"])


async def _sum_up(where: Stage, place: Place, day: Day) -> None:
    found = await where.prometheus.query(f'sum by (status) (comfyui_jobs_total{{job="{place.job}"}})')
    day.jobs = {series["metric"]["status"]: round(float(series["value"][1])) for series in found}
    counts: Counter[str] = Counter()
    told: dict[str, str] = {}
    for message in where.notified.messages:
        if not message.firing and message.job != place.job:
            continue  # the end of what was before
        severity = message.body["alerts"][0]["labels"]["severity"]
        if not message.repeats:
            counts[f"{message.alertname} {severity}"] += 1
        if severity != "info" or message.alertname != "ComfyUIJobFailed":
            told.setdefault(message.alertname, message.body["alerts"][0]["annotations"]["description"])
    day.messages = dict(counts)
    day.problems += [f"{name} was told: {text}" for name, text in told.items()]
    day.watchdog_heard = len(where.notified.watchdog)
    if not day.watchdog_heard:
        day.problems.append("the watchdog was not heard")
    day.problems += [f"rule {line}" for line in await where.prometheus.broken_rules()]
