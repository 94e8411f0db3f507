"""Runs the prompts of a simulated ComfyUI in simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from random import Random

from comfyui_exporter.simulator.comfy import ComfyUI
from comfyui_exporter.simulator.execution import Execution
from comfyui_exporter.simulator.failures import FAILURES
from comfyui_exporter.simulator.simtime import SimTime
from comfyui_exporter.simulator.worker import Accident, work_on

_TOO_SHORT_S = 0.0005
"""Shorter waits are put together, in seconds: a sleep takes about so long anyway."""


class Executor:
    """The worker of one ComfyUI process: takes one prompt after the other and lets its work take time.

    Args:
        comfy: Whose prompts.
        time: Where waits happen.
        speed: How many times faster than the simulated GPU's usual time nodes work. ComfyUI's clock is not affected.
        on_exit: Called when a prompt makes the process exit, see `ComfyUI.exiting`.
    """

    def __init__(self, comfy: ComfyUI, time: SimTime, speed: float, on_exit: Callable[[], None]) -> None:
        self.accidents: dict[str, str] = {}
        """Name of the failure (see FAILURES) that a prompt is to meet, by prompt_id."""
        self._comfy = comfy
        self._time = time
        self.speed = speed
        """May be changed at any time; holds from the next wait on."""
        self._on_exit = on_exit
        self._wake = asyncio.Event()
        self._hangs = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """A process starts: work from now on."""
        self._hangs = False
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """The process ends: whatever runs is left as it is."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def hang(self) -> None:
        """What runs, or comes next, stops in the middle for good: only a new process works again."""
        self._hangs = True

    def wake(self) -> None:
        """Something was put into the queue, or may have been."""
        self._wake.set()

    async def _run(self) -> None:
        while not self._comfy.exiting:
            self._wake.clear()
            execution = self._comfy.start_next()
            if execution is not None:
                await self._execute(execution)
                # For a moment nothing runs although prompts wait: a real server can be caught there too.
                await self._time.sleep(0)
            elif not self._comfy.exiting:
                await self._wake.wait()
        self._on_exit()

    async def _execute(self, execution: Execution) -> None:
        due = self._time.now_ms()
        for ms in self._work(execution):
            due += ms / self.speed
            left = (due - self._time.now_ms()) / 1000
            await self._time.sleep(left if left > _TOO_SHORT_S else 0)
            if self._hangs:
                await asyncio.Event().wait()

    def _work(self, execution: Execution) -> Iterator[float]:
        name = self.accidents.pop(execution.prompt_id, None)
        accident = accident_in(execution, name, self._comfy.rng) if name is not None else None
        return work_on(self._comfy, execution, accident)


def accident_in(execution: Execution, name: str, rng: Random) -> Accident | None:
    """Where in a prompt the failure of that name happens; None if no node that would run fails like this."""
    failure = FAILURES[name]
    running = [
        node_id
        for node_id in execution.item.graph
        if node_id not in execution.item.outputs and execution.cache.get(node_id) is None
    ]
    if not failure.class_types:
        return Accident(rng.choice(running), failure) if running else None
    for class_type in failure.class_types:
        for node_id, node in execution.item.graph.items():
            if node["class_type"] == class_type and execution.cache.get(node_id) is None:
                return Accident(node_id, failure)
    return None
