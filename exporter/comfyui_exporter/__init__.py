"""Watches ComfyUI servers from outside and tells Prometheus the truth about their jobs.

As a library: `StatusMonitor` watches one ComfyUI inside a program of yours, see docs/library.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from comfyui_exporter.comfyui.client import ComfyUIClient
    from comfyui_exporter.comfyui.client import ComfyUIClient as ComfyUIConnector
    from comfyui_exporter.jobs.update import ProgressStatus, ProgressUpdate
    from comfyui_exporter.library import StatusMonitor, create_status_monitor
    from comfyui_exporter.watch.source import Connector

__version__ = "0.1.0"

__all__ = [
    "ComfyUIClient",
    "ComfyUIConnector",
    "Connector",
    "ProgressStatus",
    "ProgressUpdate",
    "StatusMonitor",
    "create_status_monitor",
]

_HOMES = {
    "ComfyUIClient": "comfyui.client",
    "ComfyUIConnector": "comfyui.client",
    "Connector": "watch.source",
    "ProgressStatus": "jobs.update",
    "ProgressUpdate": "jobs.update",
    "StatusMonitor": "library",
    "create_status_monitor": "library",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: the command line is not to wait for all of it."""
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module  # noqa: PLC0415

    module = import_module(f"{__name__}.{_HOMES[name]}")
    return getattr(module, "ComfyUIClient" if name == "ComfyUIConnector" else name)
