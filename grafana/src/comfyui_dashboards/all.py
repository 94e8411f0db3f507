"""Which dashboards there are."""

from __future__ import annotations

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from comfyui_dashboards import capacity, exporter, failures, jobs, overview
from comfyui_dashboards.board import Board

BOARDS: tuple[Board, ...] = (overview.BOARD, jobs.BOARD, failures.BOARD, capacity.BOARD, exporter.BOARD)


def rendered() -> dict[str, str]:
    """Give the text of each file by its name."""
    encoder = JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False)
    return {f"{board.uid}.json": encoder.encode(board.build()) + "\n" for board in BOARDS}
