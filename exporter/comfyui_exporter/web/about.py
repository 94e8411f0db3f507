"""`/api/v1/about`: what the live page has to know besides jobs and servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from comfyui_exporter import __version__
from comfyui_exporter.push.access import Access
from comfyui_exporter.push.caller import CALLER, Caller

ABOUT = "/api/v1/about"
"""Tells a page of whatever name why it gets nothing else."""


@dataclass(slots=True)
class About:
    """What it answers from. `titles` gives failure patterns in words, `page` tells one page from a newer one."""

    links: Mapping[str, str]
    """URLs by name; may be replaced when the configuration changes."""
    titles: Callable[[], Mapping[str, str]]
    access: Access
    telemetry_path: str
    page: str

    def add_to(self, app: web.Application) -> None:
        """Add the route; errors become answers by what `Api` adds."""
        app.router.add_get(ABOUT, self._about)

    async def _about(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "version": __version__,
                "page": self.page,
                "socket": self._socket(request),
                "metrics": self.telemetry_path.lstrip("/"),
                "links": dict(self.links),
                "failure_patterns": dict(self.titles()),
            }
        )

    def _socket(self, request: web.Request) -> str:
        """Whether a page of the given origin can open the socket: a browser does not tell it why it was refused."""
        origin = request.query.get("origin")
        if not self.access.allows(origin, request.headers.get("Host")):
            return "other_origin"
        known = CALLER.get() in {Caller.USER, Caller.TOKEN}
        return "token" if self.access.asks_for_token and not known else "open"
