"""What a real ComfyUI lets us tell of a job's progress: submitted without a client_id, and as a browser does.

Run it with and without the bridge installed. ComfyUI needs the nodes of bench/comfyui_nodes.
"""

from __future__ import annotations

import argparse
import asyncio
import time
import uuid
from typing import Any

import aiohttp

from comfyui_exporter import ComfyUIClient, ProgressUpdate, create_status_monitor


def workflow(steps: int, step_ms: int) -> dict[str, Any]:
    return {
        "1": {
            "class_type": "ProbeSteps",
            "inputs": {"steps": steps, "step_ms": step_ms, "seed": time.time_ns() % 2**31, "busy": False},
        },
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "probe"}},
    }


async def one(url: str, client_id: str | None) -> list[ProgressUpdate]:
    """Submit a job, and give what was told of it until its end."""
    heard: list[ProgressUpdate] = []
    over = asyncio.Event()
    async with ComfyUIClient(url) as client:
        monitor = await create_status_monitor(client, websocket_port=None)

        def take(update: ProgressUpdate) -> None:
            heard.append(update)
            if update.terminal:
                over.set()

        monitor.add_progress_callback(take)
        await asyncio.sleep(0.5)
        body = {"prompt": workflow(20, 100)} | ({} if client_id is None else {"client_id": client_id})
        async with aiohttp.ClientSession() as http, http.post(f"{url}/prompt", json=body) as response:
            prompt_id = (await response.json())["prompt_id"]
        monitor.monitor_job(1, prompt_id, "probe")
        await asyncio.wait_for(over.wait(), 60)
        await monitor.stop_monitoring()
    return heard


def report(title: str, heard: list[ProgressUpdate]) -> None:
    steps = sorted({update.current_step for update in heard if update.total_steps})
    percents = [update.progress_percent for update in heard]
    print(f"{title}: {len(heard)} updates, steps {steps[:1]}..{steps[-1:]} ({len(steps)} of 20)")
    print(f"  percents {percents}")
    print(
        f"  never backwards: {percents == sorted(percents)}; ended as {heard[-1].status} after "
        f"{heard[-1].generation_time} s with {len(heard[-1].outputs or ())} outputs"
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    url = parser.parse_args().url
    report("without client_id", await one(url, None))
    report("as from a browser", await one(url, uuid.uuid4().hex))


if __name__ == "__main__":
    asyncio.run(main())
