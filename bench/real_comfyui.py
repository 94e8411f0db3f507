"""Watch a real ComfyUI while it is used and misused, and hold what was counted against its own history.

    python bench/real_comfyui.py --url http://127.0.0.1:8188 --kill 'COMMAND' --start 'COMMAND'

ComfyUI needs `bench/comfyui_nodes/probe_nodes.py` in its custom_nodes; a CPU is enough. COMMANDs end it with kill -9
and start it again (the latter returns once it answers). Without them the crash is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

PORT = 19188
GRACE = 36.0
"""Seconds after which a job that vanished is certainly reported: the exporter's job_grace and a little more."""


@dataclass
class Truth:
    """What we did and what ComfyUI says came of it."""

    submitted: int = 0
    ends: Counter[str] = field(default_factory=Counter)


class Driver:
    """Submits, interrupts, deletes, and reads the history now and then to know the truth."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session
        self.truth = Truth()
        self.seed = int(time.time())
        self.known: set[tuple[str, float]] = set()

    async def get(self, path: str) -> Any:
        async with self.session.get(self.url + path) as response:
            return await response.json()

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        async with self.session.post(self.url + path, json=body) as response:
            text = await response.text()
            return json.loads(text) if response.status == 200 and text else None

    async def submit(self, node: str, inputs: dict[str, Any], **extra: Any) -> str:
        self.seed += 1
        if node != "ProbeFail":
            inputs = {**inputs, "seed": self.seed}
        prompt = {
            "1": {"class_type": node, "inputs": inputs},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": f"bench{self.seed}"}},
        }
        answer = await self.post("/prompt", {"prompt": prompt, **extra})
        self.truth.submitted += 1
        return str(answer["prompt_id"])

    async def steps(self, steps: int, step_ms: int, **extra: Any) -> str:
        return await self.submit("ProbeSteps", {"steps": steps, "step_ms": step_ms, "busy": False}, **extra)

    async def idle(self) -> None:
        while (await self.get("/prompt"))["exec_info"]["queue_remaining"]:
            await asyncio.sleep(0.2)

    async def take_stock(self) -> None:
        """Count the history entries that are new since the last time, by ComfyUI's own word."""
        for prompt_id, entry in (await self.get("/history")).items():
            messages = entry["status"]["messages"]
            started = next(data["timestamp"] for name, data in messages if name == "execution_start")
            if (prompt_id, started) in self.known:
                continue
            self.known.add((prompt_id, started))
            last = messages[-1][0]
            end = {"execution_success": "completed", "execution_interrupted": "interrupted"}.get(last, "failed")
            self.truth.ends[end] += 1


async def counted() -> dict[str, float]:
    """What the exporter says now, summed over job types."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{PORT}/metrics") as response:
        text = await response.text()
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in {"comfyui_jobs_submitted_total", "comfyui_restarts_total", "process_cpu_seconds_total"}:
                sums[sample.name] = sums.get(sample.name, 0) + sample.value
            elif sample.name == "comfyui_jobs_total":
                sums[sample.labels["status"]] = sums.get(sample.labels["status"], 0) + sample.value
            elif sample.name == "comfyui_job_failures_total":
                key = f"pattern {sample.labels['pattern']}"
                sums[key] = sums.get(key, 0) + sample.value
            elif sample.name == "comfyui_exporter_received_bytes_total":
                key = f"bytes {sample.labels['route']}"
                sums[key] = sums.get(key, 0) + sample.value
    return sums


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def use_and_misuse(driver: Driver, jobs: int, kill: str, start: str) -> None:
    """Play the scenario."""
    for number in range(jobs):
        await driver.steps(1 + number % 3, 5, client_id="bench" if number % 2 else None)
        if number % 10 == 9:
            await asyncio.sleep(0.3)
    for kind in ("value", "file", "timeout", "oom_runtime", "oom_torch", "connection"):
        await driver.submit("ProbeFail", {"kind": kind}, extra_data={"job_type": "fails"})
    await driver.submit("ProbeBlock", {})
    await driver.idle()
    await driver.take_stock()
    print("fast jobs and failures done", flush=True)

    for _ in range(3):  # interrupts
        await driver.steps(100, 100)
        await asyncio.sleep(1.0)
        await driver.post("/interrupt", {})
        await driver.idle()
    running = await driver.steps(120, 100)  # deletes and a clear behind a running job
    waiting = [await driver.steps(1, 5) for _ in range(6)]
    await asyncio.sleep(3)
    await driver.post("/queue", {"delete": waiting[:2]})
    await asyncio.sleep(3)
    await driver.post("/queue", {"clear": True})
    driver.truth.ends["cancelled"] += 6
    await driver.idle()
    await driver.take_stock()
    for _ in range(2):  # one id, three runs; long enough to be seen in the queue, for their entry keeps its old place
        await asyncio.sleep(1)
        await driver.steps(10, 100, prompt_id=running)
        await driver.idle()
        await driver.take_stock()
    await driver.steps(5, 100, front=True)
    await driver.idle()
    await driver.take_stock()
    await driver.post("/history", {"clear": True})
    for _ in range(5):
        await driver.steps(1, 5)
    await driver.idle()
    await driver.take_stock()
    print("interrupts, deletes, reused id, cleared history done", flush=True)

    await asyncio.sleep(GRACE)  # what was deleted is cancelled only after it; a restart before would make it lost
    if kill and start:
        await driver.steps(200, 100)
        for _ in range(3):
            await driver.steps(1, 5)
        await asyncio.sleep(4)
        subprocess.run(kill, shell=True, check=True)
        driver.truth.ends["lost"] += 4
        driver.known.clear()
        await asyncio.sleep(3)
        await asyncio.to_thread(subprocess.run, start, shell=True, check=True)
        for _ in range(10):
            await driver.steps(1, 5)
        await driver.idle()
        await driver.take_stock()
        print("kill -9 and restart done", flush=True)


async def main(options: argparse.Namespace) -> int:
    """Run the exporter beside the scenario and print both sides."""
    exporter = subprocess.Popen(
        [
            sys.executable, "-m", "comfyui_exporter", "run", "--push.listen-address", "",
            "--comfyui.url", options.url, "--web.listen-address", f"127.0.0.1:{PORT}",
            "--store.url", "memory",
        ],
    )  # fmt: skip
    try:
        await asyncio.sleep(3)
        began = time.monotonic()
        async with aiohttp.ClientSession() as session:
            driver = Driver(options.url, session)
            await driver.take_stock()
            driver.truth.ends.clear()  # what was there before us
            await use_and_misuse(driver, options.jobs, options.kill, options.start)
        deadline = time.monotonic() + 2 * GRACE  # a restart is noticed within 30 s, and the grace begins only then
        while (await counted()).get("lost", 0) < driver.truth.ends["lost"] and time.monotonic() < deadline:
            await asyncio.sleep(1)
        took = time.monotonic() - began
        found = await counted()
        cpu = cpu_seconds(exporter.pid)
    finally:
        exporter.terminate()
        exporter.wait(5)
    truth = {"comfyui_jobs_submitted_total": driver.truth.submitted, **driver.truth.ends}
    truth["comfyui_restarts_total"] = int(bool(options.kill and options.start))
    wrong = 0
    print(f"{'':36}{'ComfyUI':>10}{'exporter':>10}")
    for name, value in truth.items():
        wrong += found.get(name, 0) != value
        print(f"{name:36}{value:>10}{found.get(name, 0):>10.0f}{'' if found.get(name, 0) == value else '  WRONG'}")
    print({name: value for name, value in found.items() if name.startswith("pattern") and value})
    received = {name: int(value) for name, value in found.items() if name.startswith("bytes") and value}
    print(f"{took:.0f} s, exporter CPU {cpu:.2f} s ({100 * cpu / took:.2f} % of a core), received {received}")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8188")
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--kill", default="")
    parser.add_argument("--start", default="")
    sys.exit(asyncio.run(main(parser.parse_args())))
