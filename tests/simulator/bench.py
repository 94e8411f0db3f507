"""A ComfyUI in memory with a clock that a test moves."""

from __future__ import annotations

import asyncio

from comfyui_exporter.simulator.comfy import ComfyUI
from comfyui_exporter.simulator.worker import run_to_end


class Bench:
    """A ComfyUI, its events, and short ways to use it."""

    def __init__(self, **options):
        self.now = 1_000_000
        self.events = []
        self.comfy = ComfyUI(lambda: self.now, listener=lambda *event: self.events.append(event), **options)
        self._seed = 0

    def graph(self, **inputs):
        self._seed += 1
        return {
            "1": {"class_type": "ProbeSteps", "inputs": {"steps": 2, "step_ms": 10, "seed": self._seed, **inputs}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "probe"}},
        }

    def submit(self, **body):
        """Submit a prompt that differs from all others, and return its id."""
        status, answer = self.comfy.submit({"prompt": self.graph(), **body})
        assert status == 200, answer
        return answer["prompt_id"]

    def run(self, **body):
        """Submit a prompt and execute what is next; returns the id of the submitted one."""
        prompt_id = self.submit(**body)
        run_to_end(self.comfy)
        return prompt_id

    def names(self):
        return [event for event, _, _ in self.events]

    @property
    def pending(self):
        return [item[1] for item in self.comfy.queue().body["queue_pending"]]

    @property
    def running(self):
        return [item[1] for item in self.comfy.queue().body["queue_running"]]


async def until(condition):
    """Let the event loop turn until something has happened at the other end of a socket."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - there is nothing on this side to wait for
            await asyncio.sleep(0)
