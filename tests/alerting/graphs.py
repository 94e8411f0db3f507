"""Prompts with a known end, for simulated ComfyUIs."""

from __future__ import annotations

import itertools
from typing import Any

_seeds = itertools.count(1)
"""No two are the same, so none comes from the cache."""


def good(milliseconds: int = 200, steps: int = 4) -> dict[str, Any]:
    """Completes after so long, in so many steps."""
    return _shown("ProbeSteps", steps=steps, step_ms=milliseconds // steps)


def silent(seconds: float) -> dict[str, Any]:
    """Shows no progress for so long, as a node that hangs."""
    return _shown("ProbeQuiet", seconds=seconds)


def failing(kind: str) -> dict[str, Any]:
    """Fails at once, see `probe_classes` for the kinds."""
    return _shown("ProbeFail", kind=kind)


def _shown(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {
        "1": {"class_type": class_type, "inputs": {**inputs, "seed": next(_seeds)}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
