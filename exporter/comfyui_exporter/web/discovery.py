"""`/sd`: tells Prometheus (http_sd) how to scrape in slices, each with an `up` of its own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from urllib.parse import urlsplit

from aiohttp import web

from comfyui_exporter.metrics.store import MetricStore

MOST_SLICES = 1_000


class Discovery:
    """One target for each server, or for each slice of them, and one for the exporter itself."""

    def __init__(self, store: MetricStore, external_url: str | None, telemetry_path: str) -> None:
        self._store = store
        self._external = urlsplit(external_url) if external_url else None
        self._path = telemetry_path

    async def __call__(self, request: web.Request) -> web.Response:
        """Answer Prometheus."""
        slices = request.query.get("slices")
        if slices is not None and not (slices.isascii() and slices.isdigit() and 0 < int(slices[:9]) <= MOST_SLICES):
            raise web.HTTPBadRequest(text=f"slices is a number from 1 to {MOST_SLICES}\n")
        address, common = self._where(request)
        targets = self._servers() if slices is None else self._slices(int(slices))
        targets = chain(targets, [{"__param_self": "1"}])
        groups = [{"targets": [address], "labels": {**common, **labels}} for labels in targets]
        return web.json_response(groups)

    def _where(self, request: web.Request) -> tuple[str, dict[str, str]]:
        """Give the address under which Prometheus finds us, and what it needs to know besides."""
        if self._external is None:
            secure = {"__scheme__": "https"} if request.secure else {}
            return request.host, {**secure, "__metrics_path__": self._path}
        path = self._external.path.rstrip("/") + self._path
        port = "" if self._external.port else ":443" if self._external.scheme == "https" else ":80"
        return self._external.netloc + port, {"__scheme__": self._external.scheme, "__metrics_path__": path}

    def _servers(self) -> Iterator[dict[str, str]]:
        return ({"__param_server": name, "server": name} for name in self._store.servers)

    @staticmethod
    def _slices(count: int) -> Iterator[dict[str, str]]:
        return ({"__param_slice": f"{index}/{count}", "slice": f"{index}/{count}"} for index in range(count))
