"""The exporter of the demo: how it is configured and started."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from comfyui_exporter.demo.ports import Place
from comfyui_exporter.demo.programs import Command

JOB_TYPES = (
    ("video", ("VHS_VideoCombine", "SaveVideo", "SaveWEBM", "SaveAnimatedWEBP", "SaveAnimatedPNG")),
    ("audio", ("SaveAudio*", "PreviewAudio")),
    ("3d", ("SaveGLB", "Preview3D*")),
    ("upscale", ("ImageUpscaleWithModel", "UltimateSDUpscale*")),
    ("image", ("SaveImage*", "PreviewImage")),
)
"""As in examples/comfyui-exporter.yml, which installed packages do not have."""

_STALL_TIMEOUT = "20s"
"""Longer than any model takes to load here. Ten minutes, the default, would be most of the day."""

_JOB_GRACE = "5s"


def exporter(
    servers: Mapping[str, Place], web: Place, push: Place, links: Mapping[str, str], folder: Path, log_level: str
) -> Command:
    """An exporter that watches these; its store and its configuration are in the folder."""
    config = {
        "poll_interval": "1s",
        "job_grace": _JOB_GRACE,
        "job_types": [{"job_type": name, "node_types": list(nodes)} for name, nodes in JOB_TYPES],
        "servers": [
            {"name": name, "url": f"http://{place.address}", "stall_timeout": _STALL_TIMEOUT}
            for name, place in servers.items()
        ],
        "links": dict(links),
    }
    file = folder / "comfyui-exporter.yml"
    file.write_text(json.dumps(config, indent=2))  # which is YAML too
    flags = {
        "config.file": str(file),
        "state.dir": str(folder),
        "web.listen-address": web.flag,
        "push.listen-address": push.flag,
        "log.level": log_level,
    }
    given = [word for name, value in flags.items() for word in (f"--{name}", value)]
    # -P: what lies in the folder in which somebody starts the demo is not imported.
    return Command("exporter", (sys.executable, "-P", "-m", "comfyui_exporter", "run", *given), complains=True)
