"""`python -m comfyui_exporter` is `comfyui-exporter`."""

from __future__ import annotations

from comfyui_exporter.cli.main import main

if __name__ == "__main__":
    main()
