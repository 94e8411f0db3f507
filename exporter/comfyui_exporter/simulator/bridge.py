"""What a ComfyUI with the extension `comfyui_bridge` tells exporters of the jobs of others.

Which events and which of their fields: written down from what a ComfyUI 0.3.64 and a 0.8.0 with the extension sent.
"""

from __future__ import annotations

from typing import Any

_PREFIX = "comfyui-exporter"

_WHOLE = frozenset(
    {"execution_start", "execution_cached", "executing", "progress", "progress_state", "execution_success"}
)
_PARTS = {
    "executed": frozenset({"node", "display_node", "prompt_id"}),
    "execution_error": frozenset({"prompt_id", "node_id", "node_type", "exception_type", "timestamp"}),
    "execution_interrupted": frozenset({"prompt_id", "node_id", "node_type", "timestamp"}),
}


def is_exporter(client_id: Any) -> bool:
    """Whether a client is one that hears of the jobs of others, and of whose own jobs no other hears."""
    return isinstance(client_id, str) and client_id.startswith(_PREFIX)


def forwarded(event: str, data: Any) -> Any:
    """The data that exporters get of an event that is addressed to one client; None: they do not get it."""
    if event in _WHOLE:
        return data
    if event in _PARTS:
        return {name: value for name, value in data.items() if name in _PARTS[event]}
    return None
