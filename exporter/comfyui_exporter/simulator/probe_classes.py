"""Node classes made to be observed: they sleep in steps, fail, block or expand on demand, and need no model.

The recordings of a real ComfyUI in `tests/recordings` were made with nodes of these names and inputs.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from comfyui_exporter.simulator.failures import FAILURES, OUT_OF_MEMORY, Failure
from comfyui_exporter.simulator.nodes import Input, NodeClass, Task, Work

_MODULE = "custom_nodes.exporter_probe"
_SEED = Input("INT", {"default": 0, "min": 0, "max": 4611686018427387904})
_STEPS = Input("INT", {"default": 10, "min": 1, "max": 10_000})
_STEP_MS = Input("INT", {"default": 50, "min": 0, "max": 600_000})
_IMAGE = Input("IMAGE")

_INNER_STEPS, _INNER_STEP_MS = 2, 60
"""What each inner node of an expanded ProbeExpand does."""

_KINDS = MappingProxyType(
    {
        "value": "value",
        "file": "missing_file",
        "timeout": "timeout",
        "oom_runtime": "cuda_oom_runtime",
        "oom_torch": "cuda_oom",
        "connection": "connection",
    }
)
"""Short names of failures that ProbeFail takes as `kind`."""


def _steps(task: Task) -> Work:
    return Work(steps=int(task.number("steps", 10)), step_ms=task.number("step_ms", 50))


def _preview_steps(task: Task) -> Work:
    return Work(steps=int(task.number("steps", 10)), step_ms=task.number("step_ms", 50), preview=True)


def _quiet(task: Task) -> Work:
    return Work(quiet_ms=task.number("ms", 1000 * task.number("seconds", 1)))


def _fail(task: Task) -> Work:
    if "kind" in task.inputs:
        failure = FAILURES[_KINDS.get(task.text("kind", "value"), "value")]
    else:
        exception = task.text("exception", "RuntimeError")
        exception_type = OUT_OF_MEMORY if exception == "OutOfMemoryError" else exception
        failure = Failure(exception_type, task.text("message", "failed"))
    return Work(quiet_ms=task.number("delay_ms", 0), failure=failure)


def _block(task: Task) -> Work:
    return Work(blocked=task.text("message", "blocked"))


def _expand(task: Task) -> Work:
    inner: dict[str, tuple[str, dict[str, Any]]] = {}
    for index in range(1, int(task.number("count", 1)) + 1):
        inputs: dict[str, Any] = {"steps": _INNER_STEPS, "step_ms": _INNER_STEP_MS, "seed": task.number("seed", 0)}
        if index > 1:
            inputs["image"] = [str(index - 1), 0]
        inner[str(index)] = ("ProbeSteps", inputs)
    return Work(expansion=inner)


PROBE_CLASSES = (
    NodeClass(
        "ProbeSteps",
        required={"steps": _STEPS, "step_ms": _STEP_MS, "seed": _SEED},
        optional={"image": _IMAGE, "busy": Input("BOOLEAN", {"default": False})},
        returns=("IMAGE",),
        work=_steps,
        category="probe",
        module=_MODULE,
    ),
    NodeClass(
        "ProbePreview",
        required={"steps": _STEPS, "step_ms": _STEP_MS, "seed": _SEED},
        returns=("IMAGE",),
        work=_preview_steps,
        category="probe",
        module=_MODULE,
    ),
    NodeClass(
        "ProbeQuiet",
        optional={
            "mode": Input("COMBO"),
            "seconds": Input("FLOAT", {"default": 1.0, "min": 0.0, "max": 36_000.0}),
            "ms": Input("INT", {"default": 1000, "min": 0, "max": 36_000_000}),
            "seed": _SEED,
        },
        returns=("IMAGE",),
        work=_quiet,
        category="probe",
        module=_MODULE,
    ),
    NodeClass(
        "ProbeFail",
        optional={
            "exception": Input("STRING", {"default": "RuntimeError"}),
            "message": Input("STRING", {"default": "failed"}),
            "kind": Input("COMBO"),
            "delay_ms": Input("INT", {"default": 0, "min": 0, "max": 3_600_000}),
            "seed": _SEED,
            "image": _IMAGE,
        },
        returns=("IMAGE",),
        work=_fail,
        category="probe",
        module=_MODULE,
    ),
    NodeClass(
        "ProbeBlock",
        optional={"message": Input("STRING", {"default": "blocked"}), "seed": _SEED},
        returns=("IMAGE",),
        work=_block,
        category="probe",
        module=_MODULE,
    ),
    NodeClass(
        "ProbeExpand",
        required={"count": Input("INT", {"default": 1, "min": 1, "max": 100})},
        optional={"seed": _SEED},
        returns=("IMAGE",),
        work=_expand,
        category="probe",
        module=_MODULE,
    ),
)
"""ProbeSteps, ProbePreview, ProbeQuiet, ProbeFail, ProbeBlock and ProbeExpand."""
