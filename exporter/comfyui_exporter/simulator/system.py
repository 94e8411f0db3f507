"""What the simulated machine says of itself."""

from __future__ import annotations

from typing import Any

from comfyui_exporter.simulator.profile import Profile

_GIB = 1 << 30
_RAM = 64 * _GIB
_VRAM = 24 * _GIB
_CONTEXT = 600 << 20
"""VRAM that the CUDA context and the display take."""


def system_stats(
    profile: Profile, model_gigabytes: float, taken_gigabytes: float = 0, *, running: bool
) -> dict[str, Any]:
    """GET /system_stats, in bytes.

    A model of that size is loaded, another program holds so much, and one prompt runs or none.
    """
    model = int(model_gigabytes * _GIB)
    torch_total = model + (model // 3 if running else 0) + (256 << 20 if model else 0)
    torch_total = min(torch_total, _VRAM - _CONTEXT)
    torch_free = torch_total // 20 if running else torch_total // 4
    return {
        "system": {
            "os": profile.os,
            "ram_total": _RAM,
            "ram_free": _RAM - 9 * _GIB - model // 2,
            "comfyui_version": profile.version,
            "required_frontend_version": "1.27.10",
            "installed_templates_version": "0.1.95",
            "required_templates_version": "0.1.95",
            "python_version": "3.12.3 (main, Jan  8 2026, 11:30:50) [GCC 13.3.0]",
            "pytorch_version": "2.8.0+cu128",
            "embedded_python": False,
            "argv": ["main.py", "--listen", "127.0.0.1"],
        },
        "devices": [
            {
                "name": "cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync",
                "type": "cuda",
                "index": 0,
                "vram_total": _VRAM,
                "vram_free": max(0, _VRAM - _CONTEXT - int(taken_gigabytes * _GIB) - torch_total) + torch_free,
                "torch_vram_total": torch_total,
                "torch_vram_free": torch_free,
            }
        ],
    }


def features(profile: Profile) -> dict[str, Any]:
    """GET /features, and the answer to a client's feature_flags."""
    flags: dict[str, Any] = {"supports_preview_metadata": True, "max_upload_size": 104_857_600}
    if profile.jobs_api:
        flags["extension"] = {"manager": {"supports_v4": True}}
    return flags
