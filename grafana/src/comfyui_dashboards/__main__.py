"""Writes every dashboard to grafana/dashboards, or to the folder that is named."""

from __future__ import annotations

import sys
from pathlib import Path

from comfyui_dashboards.all import rendered

FOLDER = Path(__file__).parents[2] / "dashboards"


def main() -> None:
    """Write one file for each dashboard."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name, text in rendered().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main()
