"""`POST /-/reload`: read the configuration anew."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from comfyui_exporter.web.errors import ApiError
from comfyui_exporter.web.guard import WriteGuard


class Reloading:
    """Reloads for those who may write; the answer says what is wrong, if anything is."""

    def __init__(self, reload: Callable[[], Awaitable[Sequence[str]]], guard: WriteGuard) -> None:
        self._reload = reload
        self._guard = guard

    async def __call__(self, request: web.Request) -> web.Response:
        """Answer one request."""
        try:
            self._guard.check(request)
        except ApiError as error:
            return web.Response(status=error.status, text=f"{error.message}\n")
        problems = await self._reload()
        if problems:
            return web.Response(status=500, text="".join(f"{problem}\n" for problem in problems))
        return web.Response(text="reloaded\n")
