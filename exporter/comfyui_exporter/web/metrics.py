"""`/metrics`: what Prometheus scrapes."""

from __future__ import annotations

import asyncio
import gzip

from aiohttp import web

from comfyui_exporter.config.rules import shard
from comfyui_exporter.config.sharding import in_slice
from comfyui_exporter.metrics.negotiate import accepts_gzip, choose_format
from comfyui_exporter.metrics.store import MetricStore

_COMPRESSION = 1
"""Text of metrics shrinks to a tenth at the lowest level; higher ones only cost CPU."""

_LARGE = 64 * 1024
"""Bytes from which compressing is done in a thread (zlib lets go of the interpreter meanwhile)."""


class MetricsHandler:
    """Answers scrapes from memory.

    `?server=NAME` (repeatable) and `?slice=i/n` show those servers only, `?self=1` the exporter alone.
    """

    def __init__(self, store: MetricStore) -> None:
        self._store = store

    async def __call__(self, request: web.Request) -> web.Response:
        """Answer one scrape."""
        servers = request.query.getall("server", [])
        unknown = [name for name in servers if not self._store.has_server(name)]
        if unknown:
            raise web.HTTPNotFound(text="no such server\n")
        if "slice" in request.query:
            servers += self._slice(request.query["slice"])
        only_self = request.query.get("self", "") in {"1", "true"}
        sliced = bool(servers) or "slice" in request.query
        wanted = servers if sliced or only_self else None
        openmetrics, content_type = choose_format(request.headers.get("Accept"))
        chunks = self._store.render(openmetrics, wanted, only_self or not sliced)
        body = b"".join(chunks)
        headers = {"Content-Type": content_type}
        if accepts_gzip(request.headers.get("Accept-Encoding")):
            headers["Content-Encoding"] = "gzip"
            if len(body) < _LARGE:
                body = gzip.compress(body, _COMPRESSION)
            else:
                body = await asyncio.to_thread(gzip.compress, body, _COMPRESSION)
        return web.Response(body=body, headers=headers)

    def _slice(self, text: str) -> list[str]:
        """The servers of a slice; there may be none."""
        try:
            wanted = shard(text)
        except ValueError as error:
            raise web.HTTPBadRequest(text=f"slice: {error}\n") from None
        return [name for name in self._store.servers if in_slice(wanted, name)]
