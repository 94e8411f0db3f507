"""A history and a queue to start with, as if the simulated ComfyUI had been in use for long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from comfyui_exporter.simulator.comfy import ComfyUI
from comfyui_exporter.simulator.execution import COMPLETED, failed
from comfyui_exporter.simulator.node_classes import NODE_CLASSES
from comfyui_exporter.simulator.nodes import Task

_JOB_MS = 200_000
"""Each past job gets so much of the past, which is longer than it takes."""


class Users(Protocol):
    """Who used it: `Traffic`, or somebody with other habits."""

    def body(self) -> dict[str, Any]:
        """What one of them sends to POST /prompt."""

    def fails(self) -> bool:
        """Draw whether a submission fails."""


def preload_history(
    comfy: ComfyUI, users: Users, jobs: int, move_clock: Callable[[float], None], speed: float = 1.0
) -> None:
    """Submit and finish so many prompts of these users, without their steps.

    Args:
        comfy: Idle, and without an executor.
        users: Make the prompts; those that they want to fail fail at their end.
        jobs: How many.
        move_clock: Moves ComfyUI's clock by so many ms; at the end it is where it was.
        speed: That of the executor, so that jobs took as long as they are going to take.
    """
    move_clock(-_JOB_MS * jobs)
    for _ in range(jobs):
        comfy.submit(users.body())
        took = _finish(comfy, lambda ms: move_clock(ms / speed), failing=users.fails()) / speed
        move_clock(_JOB_MS - took)


def preload_pending(comfy: ComfyUI, users: Users, jobs: int) -> None:
    """Submit so many prompts of these users, which then wait for the executor to start."""
    for _ in range(jobs):
        comfy.submit(users.body())


def _finish(comfy: ComfyUI, move_clock: Callable[[float], None], *, failing: bool) -> float:
    """Finish the only pending prompt with the time that its nodes take; returns that time in ms."""
    execution = comfy.start_next()
    if execution is None:
        return 0
    total = 0.0
    for node_id, node in execution.item.graph.items():
        if execution.cache.get(node_id) is not None:
            continue
        node_class = NODE_CLASSES[node["class_type"]]
        task = Task(node_id, node["inputs"], execution.item.graph, comfy.machine)
        work = node_class.work(task)
        took = min((work.load_ms + work.quiet_ms + work.steps * work.step_ms) * comfy.machine.noise(), _JOB_MS / 12)
        move_clock(took)
        total += took
        if failing and node_class.output_node:
            break
        execution.finish_node(node_id, node_class.show(task))
    comfy.finish(failed("RuntimeError", "CUDA out of memory. Tried to allocate 2.00 GiB.") if failing else COMPLETED)
    return total
