"""The HTTP server of the exporter."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

from aiohttp import web

from comfyui_exporter import __version__
from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.web.metrics import MetricsHandler

_SHUTDOWN = 0.5
"""Seconds that requests under way get when the exporter ends."""

_HEADERS = {
    "Server": "comfyui-exporter",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}


def build_app(store: MetricStore, telemetry_path: str, ready: Callable[[], bool]) -> web.Application:
    """Put the routes together."""

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="comfyui-exporter is healthy.\n")

    async def is_ready(_: web.Request) -> web.Response:
        if ready():
            return web.Response(text="comfyui-exporter is ready.\n")
        return web.Response(status=503, text="comfyui-exporter is not ready: not every server was tried yet.\n")

    async def index(_: web.Request) -> web.Response:
        return web.Response(text=_page(telemetry_path, store.servers), content_type="text/html")

    async def headers(_: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(_HEADERS)

    app = web.Application()
    app.on_response_prepare.append(headers)
    app.router.add_get("/-/healthy", healthy)
    app.router.add_get("/-/ready", is_ready)
    app.router.add_get(telemetry_path, MetricsHandler(store).__call__)
    if telemetry_path != "/":
        app.router.add_get("/", index)
    return app


def _page(telemetry_path: str, servers: Sequence[str]) -> str:
    names = "".join(f"<li>{html.escape(name)}</li>" for name in servers)
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>comfyui-exporter</title>"
        "<style>body{font:16px/1.5 system-ui,sans-serif;margin:3rem auto;max-width:40rem;padding:0 1rem}</style>"
        f"<h1>comfyui-exporter</h1><p>Version {html.escape(__version__)}. "
        f'<a href="{html.escape(telemetry_path)}">Metrics</a>, <a href="/-/healthy">health</a>, '
        f'<a href="/-/ready">readiness</a>.</p><p>Watching:</p><ul>{names}</ul></html>'
    )


class WebServer:
    """Serves one application on several addresses."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN)
        self._prepared = False

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Listen on one address more ("" is every interface, port 0 a free one), and say which it became.

        Raises:
            OSError: it can't be had.

        """
        if not self._prepared:
            await self._runner.setup()
            self._prepared = True
        site = web.TCPSite(self._runner, host or None, port)
        await site.start()
        server = site._server  # noqa: SLF001  aiohttp has no other way to ask for the port of one site
        sockets = getattr(server, "sockets", ())
        bound = int(sockets[0].getsockname()[1]) if sockets else port
        return host, bound

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()
