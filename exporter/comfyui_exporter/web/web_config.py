"""The web config file while the exporter runs: read again when it or a file that it names has changed."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from comfyui_exporter.config.protection import Protection, server_context

log = logging.getLogger("comfyui_exporter.web")

CHECK_EVERY = 2.0
"""Seconds for which files are taken as unchanged."""

_SETTLED = 2.0
"""Seconds since the last change after which nobody is writing any more: half a file would be half a protection."""

_Stamp = tuple[tuple[int, int, int] | None, ...]


class TakesAwayError(ValueError):
    """A change that would take TLS or passwords away, which a file that is being written looks like too."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A web config with what was made of its files."""

    protection: Protection
    context: ssl.SSLContext | None
    """Of new connections; None: they are not encrypted."""
    stamp: _Stamp = ()
    """By which a change is noticed."""


class WebConfig:
    """What holds for new connections and requests. Without a file: no protection.

    `read` is given the path, in a thread, and raises an error that says all that is wrong. A file that cannot be used
    changes nothing; that is logged once, and tried again.
    """

    def __init__(
        self,
        path: Path | None = None,
        read: Callable[[Path], Protection] = lambda _: Protection(),
        *,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._read = read
        self._now = now
        self._wall = wall
        self._loaded = Loaded(Protection(), None)
        self._checked = now()
        self._told: str | None = None
        """What was logged last, until a config can be used again."""
        self._seen: _Stamp | None = None
        self._lock = asyncio.Lock()

    @property
    def is_asked_for(self) -> bool:
        """Whether there is a file."""
        return self._path is not None

    @property
    def protection(self) -> Protection:
        """What holds as far as is known."""
        return self._loaded.protection

    async def reload(self) -> None:
        """Read all files now, whether they changed or not.

        Raises:
            Exception: they can't be used; what held goes on to hold. The text tells all that is wrong.

        """
        if self._path is not None:
            async with self._lock:
                await self._load(self._path)

    async def fresh(self) -> Loaded:
        """Give what holds now; looks for changes every few seconds."""
        if self._path is not None and self._now() - self._checked >= CHECK_EVERY:
            async with self._lock:
                if self._now() - self._checked >= CHECK_EVERY:
                    await self._look(self._path)
                    self._checked = self._now()
        return self._loaded

    async def of_connection(self) -> tuple[ssl.SSLContext | None, frozenset[str] | None]:
        """Give the TLS context of a new connection, and the names, one of which its certificate must have."""
        loaded = await self.fresh()
        tls = loaded.protection.tls
        return loaded.context, None if tls is None else tls.client_names

    async def _look(self, path: Path) -> None:
        stamp = await asyncio.to_thread(_stamp, path, self._loaded.protection)
        settled = stamp == self._seen or self._wall() - _newest(stamp) >= _SETTLED
        self._seen = stamp
        if stamp == self._loaded.stamp or not settled:
            return
        try:
            await self._load(path)
        except Exception as error:  # whatever is wrong, connections go on to be served as before
            # It may name a file that comes only now: that is tried again, and told once.
            if str(error) != self._told:
                log.error("the web config cannot be used, the one before goes on to hold: %s", error)
            self._told = str(error)
        else:
            log.info("web config read again")

    async def _load(self, path: Path) -> None:
        loaded = await asyncio.to_thread(self._load_now, path)
        self._loaded = loaded
        self._told = None

    def _load_now(self, path: Path) -> Loaded:
        # The stamp of the file first: what changes while it is read is read again.
        before = _stamp(path, Protection())
        protection = self._read(path)
        stamp = (*before, *_stamp(path, protection)[1:])
        old = self._loaded.protection
        if old.tls is not None and protection.tls is None:
            raise TakesAwayError("it has no TLS any more; a restart is needed to go without")
        if old.users and not protection.users:
            raise TakesAwayError("it has no basic_auth_users any more; a restart is needed to go without")
        context = None if protection.tls is None else server_context(protection.tls)
        return Loaded(protection, context, stamp)


def _stamp(path: Path, protection: Protection) -> _Stamp:
    """What tells the file, and those that it names, from what they were; None for one that is not there."""
    files = (path, *(() if protection.tls is None else protection.tls.files))
    stamps: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            stat = file.stat()
        except OSError:
            stamps.append(None)
        else:
            stamps.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(stamps)


def _newest(stamp: _Stamp) -> float:
    return max((one[0] / 1e9 for one in stamp if one is not None), default=0.0)
