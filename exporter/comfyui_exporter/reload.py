"""Going by another configuration while running: SIGHUP, POST /-/reload, and server files that change."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from comfyui_exporter.config.changes import needing_a_start
from comfyui_exporter.config.errors import ConfigError, Problem
from comfyui_exporter.config.model import Config
from comfyui_exporter.config.server_files import ServerFiles, together
from comfyui_exporter.config.settings import Settings, warnings_of
from comfyui_exporter.config.sharding import takes
from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.store import MetricStore

log = logging.getLogger("comfyui_exporter.reload")

LOOK_EVERY = 5.0
"""Seconds between looks at the server files, and between tries of what could not be done."""

Apply = Callable[[Config], Awaitable[Sequence[str]]]
"""Goes by a configuration, and says what of it cannot be done for now."""


class Reloader:
    """Turns settings and server files into what is watched, at the start and whenever they change.

    A configuration that cannot be used changes nothing; of a server file that cannot be used the servers stay that it
    had before.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._files = ServerFiles(settings.config.server_files)
        self._file_problems: tuple[Problem, ...] = ()
        self._undone: tuple[str, ...] = ()
        """What the configuration asks for and is to be tried again."""
        self._refused = False
        """Whether the last reload could not be used."""
        self._warned = set(settings.warnings)
        self._lock = asyncio.Lock()
        self._begun = asyncio.Event()
        self._tasks = set[asyncio.Task[object]]()
        self._apply: Apply | None = None
        self._metrics: MetricStore | None = None
        self._first: Config | None = None
        self._config: Config | None = None
        self.also: list[Callable[[], Awaitable[None]]] = []
        """Further things that a reload reads anew; each raises ConfigError, ValueError or OSError if it cannot."""

    async def config(self) -> Config:
        """Give the configuration to start with, with the servers of this replica alone."""
        self._first = self._config = await self._whole(self._settings, self._files)
        return self._config

    def start(self, apply: Apply, metrics: MetricStore) -> None:
        """Look after changes from now on, and reload if that was asked for meanwhile."""
        self._apply, self._metrics = apply, metrics
        self._tell()
        self._keep(asyncio.create_task(self._look(), name="server files"))
        self._begun.set()

    async def close(self) -> None:
        """Look no more, and leave what is under way as it is."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def reload_soon(self) -> None:
        """Reload without waiting for it."""
        self._begin()

    async def reload(self) -> tuple[str, ...]:
        """Read everything anew and go by it; what is wrong, in one line each, and nothing if all is well.

        Problems of server files do not keep the rest from taking effect.
        """
        # Whoever asked may go away; what is half done is of no use to anybody.
        return await asyncio.shield(self._begin())

    def _begin(self) -> asyncio.Task[tuple[str, ...]]:
        task = asyncio.create_task(self._reload(), name="reload")
        self._keep(task)
        return task

    def _keep(self, task: asyncio.Task[tuple[str, ...]] | asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self) -> tuple[str, ...]:
        await self._begun.wait()
        async with self._lock:
            try:
                settings = await asyncio.to_thread(self._settings.reloaded)
                for other in self.also:
                    await other()
                files = self._files.of(settings.config.server_files)
                config = await self._whole(settings, files, anew=True)
            except (ConfigError, OSError, ValueError) as error:
                said = tuple(str(error).splitlines())
                for line in said:
                    log.error("reloading failed, everything stays as it was: %s", line)
                self._refused = True
                self._tell()
                return said
            self._settings, self._files, self._refused = settings, files, False
            await self._go_by(config)
            self._tell()
            log.info("reloaded", extra={"servers": len(config.servers)})
            return (*(str(problem) for problem in self._file_problems), *self._undone)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            async with self._lock:
                try:
                    await self._look_once()
                except Exception:
                    log.exception("unexpected error")

    async def _look_once(self) -> None:
        if not (self._files.patterns or self._undone):
            return
        was_well = self._is_well
        config = await self._whole(self._settings, self._files)
        changed = self._config is None or config.servers != self._config.servers
        if changed or self._undone:
            await self._go_by(config)
        if changed:
            log.info("server files changed", extra={"servers": len(config.servers)})
        if changed or was_well != self._is_well:
            self._tell()

    async def _whole(self, settings: Settings, files: ServerFiles, *, anew: bool = False) -> Config:
        servers, problems = await asyncio.to_thread(lambda: files.read(anew=anew))
        own = settings.named_servers
        if not own and not servers and not files.patterns:
            own = settings.config.servers  # the default
        servers, doubles = together(own, servers)
        told, self._file_problems = self._file_problems, (*problems, *doubles)
        for problem in self._file_problems:
            if problem not in told:
                log.error("a server file is not used as it is: %s", problem)
        warnings = (*settings.warnings, *warnings_of(settings.config.with_servers(servers)))
        for warning in dict.fromkeys(warnings):
            if warning not in self._warned:
                log.warning("%s", warning)
        self._warned = set(warnings)
        return settings.config.with_servers(tuple(server for server in servers if takes(settings.shard, server.name)))

    async def _go_by(self, config: Config) -> None:
        if self._first is not None and config != self._config:
            for key in needing_a_start(self._first, config):
                log.warning("%s has changed, which takes effect at the next start", key)
        self._config = config
        told = self._undone
        try:
            self._undone = () if self._apply is None else tuple(await self._apply(config))
        except Exception:
            log.exception("unexpected error")
            self._undone = ("unexpected error, see the log",)
        for line in self._undone:
            if line not in told:
                log.error("could not be done, and is tried again: %s", line)

    @property
    def _is_well(self) -> bool:
        return not (self._refused or self._file_problems or self._undone)

    def _tell(self) -> None:
        if self._metrics is None:
            return
        self._metrics.set(families.CONFIG_RELOAD_SUCCESSFUL, None, (), float(self._is_well))
        if self._is_well:
            self._metrics.set(families.CONFIG_RELOAD_SUCCESS_TIME, None, (), time.time())
