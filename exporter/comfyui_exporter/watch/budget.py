"""How much watching may cost a ComfyUI."""

from __future__ import annotations

SHARE = 0.002
"""The part of one core that expensive reads may take from ComfyUI, whose Python process feeds the GPU."""

BASE_COST = 0.001
COST_PER_BYTE = 0.010 / 1_000_000
"""Seconds of ComfyUI's CPU per read and per byte, as measured on a real one (500 pending jobs, 15 MB: 105 ms).

Charged whatever a read really took: its latency would also show what the running node does.
"""


class ReadBudget:
    """Paces the reads that cost ComfyUI most: the whole queue, and history pages of more than one entry."""

    def __init__(self) -> None:
        self.ready_at = float("-inf")
        """When the next expensive read may go."""

    def ready(self, at: float) -> bool:
        """Whether an expensive read may go now."""
        return at >= self.ready_at

    def charge(self, at: float, received_bytes: int) -> None:
        """Account for a read that was just answered (or failed after so many bytes)."""
        self.ready_at = max(self.ready_at, at) + (BASE_COST + COST_PER_BYTE * received_bytes) / SHARE
