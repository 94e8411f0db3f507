"""The push service of one Monitor: wires board, hub, access and metrics."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from aiohttp import web

from comfyui_exporter.config.secret_files import read_secret
from comfyui_exporter.config.sections import Push
from comfyui_exporter.metrics.push import PushCounts
from comfyui_exporter.monitor import Monitor
from comfyui_exporter.push.access import Access
from comfyui_exporter.push.handler import PushHandler, build_push_app
from comfyui_exporter.push.hub import Hub
from comfyui_exporter.push.local import BoardAnswers
from comfyui_exporter.push.tokens import TokenFile, job_token


def hosts_of(external_url: str | None) -> tuple[str, ...]:
    """The host names under which an external URL makes us known."""
    host = urlsplit(external_url).hostname if external_url else None
    return () if host is None else (host,)


class PushService:
    """Tells clients what the board tells. `app` is the application of its own port, `handler` answers `/ws`.

    `held` lets clients wait for their snapshot until every server was looked at, see `start`: to a relay that lived
    through our restart, an empty one would say that all jobs are gone.
    """

    def __init__(self, monitor: Monitor, push: Push, external_url: str | None = None, *, held: bool = False) -> None:
        self.hub = Hub(
            answers=BoardAnswers(monitor.board),
            queue_size=push.queue_size,
            max_clients=push.max_clients,
            counts=PushCounts(monitor.metrics),
            held=held,
        )
        self._monitor = monitor
        self._waiting: asyncio.Task[None] | None = None
        self._token = None if push.token_file is None else TokenFile(push.token_file, read_secret)
        self.access = Access(allowed_origins=push.allowed_origins, hosts=hosts_of(external_url), token=self._token)
        self._board = monitor.board
        self._board.add_reader(self.hub)
        self.handler = PushHandler(self.hub, self.access)
        self.app: web.Application = build_push_app(self.hub, self.access)

    async def token_for(self, prompt_id: str) -> str | None:
        """Make a token that is good for one job alone; None where no token is asked for."""
        token = None if self._token is None else await self._token.token()
        return None if token is None else job_token(token, prompt_id)

    def start(self) -> None:
        """Give snapshots as soon as the monitor, which has to be started, is ready."""
        self._waiting = asyncio.create_task(self._release(), name="push: first look")

    async def _release(self) -> None:
        await self._monitor.first_look()
        self.hub.release()

    async def close(self) -> None:
        """Say goodbye to everybody."""
        if self._waiting is not None:
            self._waiting.cancel()
        self._board.remove_reader(self.hub)
        await self.hub.close()
