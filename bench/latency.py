"""How long after a job ended in ComfyUI a push client has the frame that says so; naive: asking every 2 s.

The exporter is a process of its own; the simulated ComfyUI and the client share this one and its clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

from comfyui_exporter.simulator import Simulation
from comfyui_exporter.simulator.ledger import Ledger, Run

RESULTS = Path(__file__).parent / "results" / "latency.json"
NAIVE_INTERVAL = 2.0


class Ends:
    """When each job ended, and when who knew of it; seconds."""

    def __init__(self) -> None:
        self.ended: dict[str, float] = {}
        self.pushed: list[float] = []
        self.polled: list[float] = []

    def watch(self) -> None:
        plain = Ledger.finished

        def finished(ledger: Ledger, run: Run, *args: Any, **more: Any) -> None:
            plain(ledger, run, *args, **more)
            self.ended[run.prompt_id] = time.perf_counter()

        Ledger.finished = finished  # type: ignore[method-assign]

    def tell(self, prompt_id: str, into: list[float], told: set[str]) -> None:
        if prompt_id in self.ended and prompt_id not in told:
            told.add(prompt_id)
            into.append(time.perf_counter() - self.ended[prompt_id])


async def push(url: str, ends: Ends) -> None:
    told: set[str] = set()
    async with aiohttp.ClientSession() as http, http.ws_connect(url) as socket:
        async for message in socket:
            frame = json.loads(message.data)
            if frame["type"] == "progress_update" and frame["data"]["ended_at"] is not None:
                ends.tell(frame["data"]["comfyui_prompt_id"], ends.pushed, told)


async def poll(url: str, ends: Ends) -> None:
    told: set[str] = set()
    async with aiohttp.ClientSession() as http:
        while True:
            await asyncio.sleep(NAIVE_INTERVAL)
            async with http.get(f"{url}/history") as response:
                for prompt_id in await response.json():
                    ends.tell(prompt_id, ends.polled, told)


async def measure(jobs: int, speed: float) -> Ends:
    ends = Ends()
    async with Simulation(speed=speed, seed=1, failure_rate=0.1) as simulation:
        ends.watch()
        exporter = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "comfyui_exporter", "run", "--comfyui.url", f"sim={simulation.url}",
            "--web.listen-address", "127.0.0.1:19288", "--push.listen-address", "127.0.0.1:19329",
            "--store.url", "memory", "--log.level", "warn", env={**os.environ},
        )  # fmt: skip
        try:
            await _ready("http://127.0.0.1:19288/-/ready")
            tasks = [
                asyncio.create_task(push("ws://127.0.0.1:19329", ends)),
                asyncio.create_task(poll(simulation.url, ends)),
            ]
            await asyncio.sleep(0.5)
            while len(ends.ended) < jobs:
                while simulation.comfy.queue_remaining < 3:
                    simulation.comfy.submit(simulation.traffic.body())
                await asyncio.sleep(0.05)
            await asyncio.sleep(NAIVE_INTERVAL + 0.5)
            for task in tasks:
                task.cancel()
        finally:
            exporter.terminate()
            await exporter.wait()
    return ends


async def _ready(url: str) -> None:
    async with aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--speed", type=float, default=30.0)
    options = parser.parse_args()
    ends = asyncio.run(measure(options.jobs, options.speed))
    rows = {
        name: {
            "ends": len(values),
            "p50_ms": round(1000 * statistics.median(values), 1),
            "p99_ms": round(1000 * quantile(values, 0.99), 1),
            "max_ms": round(1000 * max(values), 1),
        }
        for name, values in (("push", ends.pushed), ("history every 2 s", ends.polled))
    }
    result = {"jobs": len(ends.ended), "job_seconds": "about 20 / speed", "speed": options.speed, **rows}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{'':20}{'ends':>8}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}")
    for name, row in rows.items():
        print(f"{name:20}{row['ends']:>8}{row['p50_ms']:>10}{row['p99_ms']:>10}{row['max_ms']:>10}")
    print(f"goals: p50 <= 30 ms, p99 <= 100 ms; {len(ends.ended)} jobs")


if __name__ == "__main__":
    main()
