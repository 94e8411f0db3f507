"""Going by another configuration while running: SIGHUP, POST /-/reload, and server files that change."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from comfyui_exporter.config.changes import needing_a_start
from comfyui_exporter.config.errors import ConfigError, Problem
from comfyui_exporter.config.model import Config
from comfyui_exporter.config.server_files import ServerFiles
from comfyui_exporter.config.servers import ServerConfig
from comfyui_exporter.config.settings import Settings
from comfyui_exporter.config.sharding import takes
from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.store import MetricStore

log = logging.getLogger("comfyui_exporter.reload")

LOOK_EVERY = 5.0
"""Seconds between looks at the server files."""


class Reloader:
    """Turns settings and server files into what is watched, at the start and whenever they change.

    A configuration that cannot be used changes nothing; of a server file that cannot be used the servers stay that it
    had before.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._files = ServerFiles(settings.config.server_files)
        self._problems: tuple[Problem, ...] = ()
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._apply: Callable[[Config], Awaitable[None]] | None = None
        self._metrics: MetricStore | None = None
        self._config: Config | None = None
        self.also: list[Callable[[], Awaitable[None]]] = []
        """Further things that a reload reads anew; each raises ConfigError, ValueError or OSError if it cannot."""

    async def config(self) -> Config:
        """Give the configuration to start with, with the servers of this replica alone."""
        self._config = await self._whole(self._settings)
        return self._config

    def start(self, apply: Callable[[Config], Awaitable[None]], metrics: MetricStore) -> None:
        """Look after changes from now on."""
        self._apply, self._metrics = apply, metrics
        self._tell(successful=not self._problems)
        self._task = asyncio.create_task(self._look(), name="server files")

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def reload(self) -> tuple[str, ...]:
        """Read everything anew and go by it; what is wrong, in one line each, and nothing if all is well.

        Problems of server files do not keep the rest from taking effect.
        """
        async with self._lock:
            try:
                settings = await asyncio.to_thread(self._settings.reloaded)
                for other in self.also:
                    await other()
                if settings.config.server_files != self._files.patterns:
                    self._files = ServerFiles(settings.config.server_files)
                config = await self._whole(settings)
                await self._go_by(config)
            except (ConfigError, OSError, ValueError) as error:
                said = tuple(str(error).splitlines())
                for line in said:
                    log.error("reloading failed, everything stays as it was: %s", line)
                self._tell(successful=False)
                return said
            self._settings = settings
            self._tell(successful=not self._problems)
            log.info("reloaded", extra={"servers": len(config.servers)})
            return tuple(str(problem) for problem in self._problems)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if not self._settings.config.server_files:
                continue
            async with self._lock:
                before = self._problems
                try:
                    config = await self._whole(self._settings)
                    if self._config is None or config.servers != self._config.servers:
                        await self._go_by(config)
                        log.info("server files changed", extra={"servers": len(config.servers)})
                except Exception:
                    log.exception("unexpected error")
                    continue
                if before != self._problems:
                    self._tell(successful=not self._problems)

    async def _whole(self, settings: Settings) -> Config:
        servers, problems = await asyncio.to_thread(self._files.read)
        own = settings.named_servers
        if not own and not servers and not settings.config.server_files:
            own = settings.config.servers  # the default
        servers, doubles = _unique(own, servers)
        told, self._problems = self._problems, (*problems, *doubles)
        for problem in self._problems:
            if problem not in told:
                log.error("a server file is not used as it is: %s", problem)
        return settings.config.with_servers(tuple(server for server in servers if takes(settings.shard, server.name)))

    async def _go_by(self, config: Config) -> None:
        if self._apply is not None:
            if self._config is not None:
                for key in needing_a_start(self._config, config):
                    log.warning("%s has changed, which takes effect at the next start", key)
            await self._apply(config)
        self._config = config

    def _tell(self, *, successful: bool) -> None:
        if self._metrics is None:
            return
        self._metrics.set(families.CONFIG_RELOAD_SUCCESSFUL, None, (), float(successful))
        if successful:
            self._metrics.set(families.CONFIG_RELOAD_SUCCESS_TIME, None, (), time.time())


def _unique(
    own: Sequence[ServerConfig], others: Sequence[ServerConfig]
) -> tuple[tuple[ServerConfig, ...], tuple[Problem, ...]]:
    """Put the servers together; of two with one name the first counts."""
    found: dict[str, ServerConfig] = {}
    doubles = []
    for server in (*own, *others):
        before = found.setdefault(server.name, server)
        if before is not server and before != server:
            message = f"server name {server.name!r} is taken; give this one another by the label `server`"
            doubles.append(Problem("", None, None, "server_files", message))
    return tuple(found.values()), tuple(doubles)
