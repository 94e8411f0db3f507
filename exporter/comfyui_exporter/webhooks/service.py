"""The webhooks of one process: wires configuration, board, outbox and sender."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from random import Random

from comfyui_exporter.config.model import Config
from comfyui_exporter.config.secret_files import read_webhook_secret
from comfyui_exporter.jobs.board import JobBoard
from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.metrics.webhooks import WebhookCounts
from comfyui_exporter.push.tokens import TokenFile
from comfyui_exporter.webhooks.allowed import AllowedHosts
from comfyui_exporter.webhooks.delivery import REGISTRATION
from comfyui_exporter.webhooks.hooks import Hook
from comfyui_exporter.webhooks.outbox import MemoryOutbox, Outbox
from comfyui_exporter.webhooks.poster import Poster, Target
from comfyui_exporter.webhooks.reader import WebhookReader
from comfyui_exporter.webhooks.schedule import Schedule
from comfyui_exporter.webhooks.sender import Sender

log = logging.getLogger("comfyui_exporter.webhooks")


class Webhooks:
    """Calls what is configured from `start` to `close`. Without an `outbox`, what waits is kept in memory."""

    def __init__(
        self,
        config: Config,
        board: JobBoard,
        metrics: MetricStore,
        outbox: Outbox | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        counts = WebhookCounts(metrics)
        registered = config.registered_webhooks
        self._outbox: Outbox = MemoryOutbox(counts.dead) if outbox is None else outbox
        self._allowed = AllowedHosts(
            registered.allowed_hosts if registered else (), private=registered is not None and registered.allow_private
        )
        self._reader = WebhookReader(
            [Hook(webhook.url, webhook.statuses) for webhook in config.webhooks],
            registered.statuses if registered else (),
            self._outbox,
            wall,
            lambda: f"msg_{uuid.uuid4().hex}",
        )
        targets = {Hook(each.url, each.statuses).key: _target(each.secret_file) for each in config.webhooks}
        if registered:
            targets[REGISTRATION] = _target(registered.secret_file)
        self._poster = Poster(targets, self._allowed, wall)
        self._sender = Sender(self._outbox, self._poster.post, Schedule(Random()), wall, counts)  # noqa: S311  jitter
        self._board = board
        self._task: asyncio.Task[None] | None = None

    def check(self, url: str) -> None:
        """Let the webhook_url of a registration pass or not.

        Raises:
            ValueError: it is no URL that could be called.
            NotAllowedError: it may not be called.

        """
        self._allowed.check(url)

    def start(self) -> None:
        """Begin to send; needs a running loop.

        To be called when the board has what a store kept, which is told to nobody, and before anything is watched.
        """
        self._reader.attach(self._board)
        self._task = asyncio.create_task(self._sender.run(), name="webhooks")

    async def close(self) -> None:
        """Stop sending, before the outbox ends; changes of jobs still go into it.

        Calls under way are cut off, and made again where the outbox outlives the process.
        """
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._poster.close()


def _target(secret_file: Path | None) -> Target:
    if secret_file is None:
        return Target()
    return Target(TokenFile(secret_file, read_webhook_secret, report=_tell).token)


def _tell(error: Exception) -> None:
    log.error("the secret of a webhook cannot be read: %s", error)
