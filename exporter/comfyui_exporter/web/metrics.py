"""`/metrics`: what Prometheus scrapes."""

from __future__ import annotations

import asyncio
import gzip

from aiohttp import web

from comfyui_exporter.metrics.negotiate import accepts_gzip, choose_format
from comfyui_exporter.metrics.store import MetricStore

_COMPRESSION = 1
"""Text of metrics shrinks to a tenth at the lowest level; higher ones only cost CPU."""

_LARGE = 64 * 1024
"""Bytes from which compressing is done in a thread (zlib lets go of the interpreter meanwhile)."""


class MetricsHandler:
    """Answers scrapes from memory: `?server=NAME` (repeatable) for those servers only, `?self=1` for the exporter."""

    def __init__(self, store: MetricStore) -> None:
        self._store = store

    async def __call__(self, request: web.Request) -> web.Response:
        """Answer one scrape."""
        servers = request.query.getall("server", [])
        unknown = [name for name in servers if name not in self._store.servers]
        if unknown:
            raise web.HTTPNotFound(text="no such server\n")
        only_self = request.query.get("self", "") in {"1", "true"}
        wanted = servers if servers or only_self else None
        openmetrics, content_type = choose_format(request.headers.get("Accept"))
        chunks = self._store.render(openmetrics, wanted, only_self or not servers)
        body = b"".join(chunks)
        headers = {"Content-Type": content_type}
        if accepts_gzip(request.headers.get("Accept-Encoding")):
            headers["Content-Encoding"] = "gzip"
            if len(body) < _LARGE:
                body = gzip.compress(body, _COMPRESSION)
            else:
                body = await asyncio.to_thread(gzip.compress, body, _COMPRESSION)
        return web.Response(body=body, headers=headers)
