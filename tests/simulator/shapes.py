"""What two pieces of JSON have in common when their names, numbers and times may differ."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

NODE_ID = re.compile(r"\d+(\.\d+)*")


def shape(value: Any, ids: Collection[str], path: str = "") -> set[str]:
    """Every path with the type at its end; keys that are prompt ids or node ids count as one."""
    if isinstance(value, dict):
        found = {f"{path}:object"}
        for key, inner in value.items():
            name = "<prompt_id>" if key in ids else "<node_id>" if NODE_ID.fullmatch(key) else key
            found |= shape(inner, ids, f"{path}.{name}")
        return found
    if isinstance(value, list):
        return {f"{path}:array"}.union(*(shape(inner, ids, f"{path}[]") for inner in value))
    return {f"{path}:{type(value).__name__}"}


def renamed(value: Any, names: dict[str, str]) -> Any:
    """The value with every text that is a name replaced, in keys too."""
    if isinstance(value, dict):
        return {names.get(key, key): renamed(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [renamed(inner, names) for inner in value]
    return names.get(value, value) if isinstance(value, str) else value


def collapsed(events: Iterable[str]) -> list[str]:
    """The order of events, with each stretch of progress as one: how many fit into it is a matter of ms."""
    order: list[str] = []
    for event in events:
        name = "progress..." if event in {"progress", "progress_state", "preview 1", "preview 4"} else event
        if name != "progress..." or order[-1:] != [name]:
            order.append(name)
    return order
