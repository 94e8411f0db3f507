"""What the poller needs from a ComfyUI client."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import aiohttp

from comfyui_exporter.comfyui.client import Cost, RequestObserver
from comfyui_exporter.comfyui.history import HistoryPayload, Knows
from comfyui_exporter.comfyui.queue import Known, QueuePayload
from comfyui_exporter.tracker.observations import Details, SystemStats


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


class Connector(Source, Protocol):
    """All that watching needs of a connection to one ComfyUI; `ComfyUIClient` is the usual one."""

    def attend(
        self,
        observe: RequestObserver,
        report_problem: Callable[[str, str], None],
        on_reconnect: Callable[[], None],
    ) -> None:
        """Tell these of requests, of payloads that could not be used, and of new connections."""

    async def system_stats(self) -> SystemStats:
        """GET /system_stats."""

    def socket(self, client_id: str, heartbeat: float) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
        """Open /ws."""

    async def close(self) -> None:
        """Close every connection."""
