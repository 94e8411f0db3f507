"""Identity and numbers as ComfyUI's payloads carry them."""

from __future__ import annotations

import math

import msgspec

from comfyui_exporter.comfyui.json import NULL, text

MAX_PROMPT_ID = 1_000
"""Characters of a prompt_id; ComfyUI takes any string, but one of this length is an attack and can't be asked for."""

MAX_NAME = 200
"""Characters of a class name, version or other short string."""

MOST_REMAINING = 2**63
"""A queue_remaining from here on is no number of jobs."""

_LIMIT = 2**63


class Item(msgspec.Struct, array_like=True):
    """A queue item, as /queue and a history entry's `prompt` give it; newer versions may add elements."""

    number: int | float | None
    """null stands for NaN, which a client may send and ComfyUI takes."""
    prompt_id: str
    graph: msgspec.Raw = NULL
    extra_data: msgspec.Raw = NULL
    outputs_to_execute: msgspec.Raw = NULL


def prompt_id_of(prompt_id: str) -> str:
    """Bound a prompt_id; one beyond the bound stays distinct enough by its beginning."""
    return text(prompt_id, MAX_PROMPT_ID)


def number_of(number: float | None) -> float:
    """Take a queue number as a float; one too large for that, or not a number, sorts last."""
    if number is None:
        return math.inf
    try:
        value = float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
    return math.inf if math.isnan(value) else value


def milliseconds(value: object) -> int | None:
    """Take a timestamp of ComfyUI; None for what is none."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _LIMIT:
        return int(value)
    return None


def size_of(value: object) -> int | None:
    """Take a number of bytes; None for what is none."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LIMIT:
        return int(value)
    return None
