"""What the poller needs from a ComfyUI client."""

from __future__ import annotations

from typing import Protocol

from comfyui_exporter.comfyui.client import Cost
from comfyui_exporter.comfyui.history import HistoryPayload, Knows
from comfyui_exporter.comfyui.queue import Known, QueuePayload
from comfyui_exporter.tracker.observations import Details


class Source(Protocol):
    """The reads; each raises comfyui.errors.ReadError when there is no usable answer."""

    last: Cost

    async def queue_remaining(self) -> int:
        """GET /prompt."""

    async def queue(self, known: Known) -> QueuePayload:
        """GET /queue."""

    async def history_entry(self, prompt_id: str, knows: Knows) -> HistoryPayload:
        """GET /history/{prompt_id}."""

    async def history_page(self, max_items: int, knows: Knows, offset: int | None = None) -> HistoryPayload:
        """GET /history?max_items=&offset=."""

    async def jobs(self) -> QueuePayload | None:
        """GET /api/jobs."""

    async def job_details(self, prompt_id: str) -> Details | None:
        """GET /api/jobs/{id}."""
