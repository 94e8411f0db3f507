"""`/sd`: tells Prometheus (http_sd) how to scrape in slices, each with an `up` of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from urllib.parse import urlsplit

from aiohttp import web

from comfyui_exporter.metrics.store import MetricStore

MOST_SLICES = 1_000

_NUMBER = re.compile("[1-9][0-9]{0,3}")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[\w.-]+)(:[0-9]{1,5})?", re.ASCII)


class Discovery:
    """One target for each server, or for each slice of them, and one for the exporter itself."""

    def __init__(self, store: MetricStore, external_url: str | None, telemetry_path: str) -> None:
        self._store = store
        self._external = urlsplit(external_url) if external_url else None
        self._path = telemetry_path

    async def __call__(self, request: web.Request) -> web.Response:
        """Answer Prometheus."""
        slices = request.query.get("slices")
        if slices is not None and not (_NUMBER.fullmatch(slices) and int(slices) <= MOST_SLICES):
            raise web.HTTPBadRequest(text=f"slices is a number from 1 to {MOST_SLICES}\n")
        address, common = self._where(request)
        targets = self._servers() if slices is None else self._slices(int(slices))
        targets = chain(targets, [{"__param_self": "1"}])
        groups = [{"targets": [address], "labels": {**common, **labels}} for labels in targets]
        return web.json_response(groups)

    def _where(self, request: web.Request) -> tuple[str, dict[str, str]]:
        """Give the address under which Prometheus finds us, and what it needs to know besides."""
        if self._external is None:
            # Written out, as a target without a port has the port of its scheme.
            scheme = "https" if request.secure else "http"
            host = request.headers.get("Host", "")
            if not _HOST.fullmatch(host):
                raise web.HTTPBadRequest(text="no usable Host header; give --web.external-url\n")
            return _with_port(host, scheme), {"__scheme__": scheme, "__metrics_path__": self._path}
        path = self._external.path.rstrip("/") + self._path
        scheme = self._external.scheme
        return _with_port(self._external.netloc, scheme), {"__scheme__": scheme, "__metrics_path__": path}

    def _servers(self) -> Iterator[dict[str, str]]:
        return ({"__param_server": name, "server": name} for name in self._store.servers)

    @staticmethod
    def _slices(count: int) -> Iterator[dict[str, str]]:
        return ({"__param_slice": f"{index}/{count}", "slice": f"{index}/{count}"} for index in range(count))


def _with_port(host: str, scheme: str) -> str:
    """With the port written out, so that the label `instance` is the same whichever way it is asked for."""
    if re.search(r":[0-9]+$", host):
        return host
    return f"{host}:{443 if scheme == 'https' else 80}"
