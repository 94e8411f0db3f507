"""Identity and numbers as ComfyUI's payloads carry them."""

from __future__ import annotations

import math
import threading
from collections.abc import Sized

import msgspec

from comfyui_exporter.comfyui.json import NULL, PayloadError, text

MAX_PROMPT_ID = 1_000
"""Characters of a prompt_id; ComfyUI takes any string, but one of this length is an attack and can't be asked for."""

MAX_NAME = 200
"""Characters of a class name, version or other short string."""

MOST_REMAINING = 2**63
"""A queue_remaining from here on is no number of jobs."""

_LIMIT = 2**63


MOST_ITEMS = 20_000
"""Jobs of a queue, or entries of a page of the history. Eight bytes are enough for one, of which we make a thousand."""

MOST_PROBLEMS = 100
"""Parts of an answer that could not be used and are reported; a million would keep everybody waiting."""


_TOO_MANY = f"has more than {MOST_ITEMS} items"


class _Left(threading.local):
    items = MOST_ITEMS


_left = _Left()


def begin_items() -> None:
    """Begin to count the items of an answer, in this thread."""
    _left.items = MOST_ITEMS


class Listed(msgspec.Struct):
    """One of many: decoding ends with a ValueError at one too many since `begin_items`, before memory does."""

    def __post_init__(self) -> None:
        """Count it."""
        _left.items -= 1
        if _left.items < 0:
            raise ValueError(_TOO_MANY)


def too_many() -> bool:
    """Whether decoding ended for that."""
    return _left.items < 0


def no_more(items: Sized) -> None:
    """Check the number of what could not be decoded in one go, and begin to count anew.

    Raises:
        PayloadError: there are too many.

    """
    if len(items) > MOST_ITEMS:
        raise PayloadError(_TOO_MANY)
    begin_items()


def note(problems: list[str], problem: str) -> None:
    """Keep a problem, unless there are enough of them."""
    if len(problems) < MOST_PROBLEMS:
        problems.append(problem)


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
