"""`check-config --probe`: does each server answer, and what is it?"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from comfyui_exporter.access import access_of
from comfyui_exporter.comfyui.client import ComfyUIClient
from comfyui_exporter.comfyui.errors import ReadError
from comfyui_exporter.config.model import Config
from comfyui_exporter.config.servers import ServerConfig


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one server said; latency in seconds of GET /prompt on an open connection."""

    server: str
    ok: bool
    version: str | None = None
    latency_s: float | None = None
    queue_remaining: int | None = None
    error: str | None = None


async def probe_all(config: Config) -> list[ProbeResult]:
    """Ask every server at once."""
    return list(await asyncio.gather(*(_probe(server, config) for server in config.servers)))


async def _probe(server: ServerConfig, config: Config) -> ProbeResult:
    async with ComfyUIClient(
        server.url,
        access_of(server),
        request_timeout=config.request_timeout,
        max_response_size=config.max_response_size,
    ) as client:
        try:
            stats = await client.system_stats()
            began = time.perf_counter()
            remaining = await client.queue_remaining()
        except ReadError as error:
            return ProbeResult(server.name, ok=False, error=str(error))
        latency = time.perf_counter() - began
        return ProbeResult(server.name, True, stats.version or None, latency, remaining)
