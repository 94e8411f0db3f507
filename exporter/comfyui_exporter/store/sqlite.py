"""SQLite: one file, one lock beside it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import IO, Any

from sqlalchemy import URL, event
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from comfyui_exporter.store.errors import StoreRefusedError

APPLICATION_ID = 0x43465845
"""`CFXE` in the header of the file says that it is ours (PRAGMA application_id)."""

_CHECKED_WHOLE = 64 * 1024 * 1024
"""Bytes up to which the whole file is checked at start, in well under a second; more is checked as it is read."""

_BUSY_SECONDS = 5.0

_MAGIC = b"SQLite format 3\0"


class SqliteBackend:
    """A store in a file."""

    name = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: IO[str] | None = None

    def prepare(self) -> None:
        """Take the lock and look at the file; touches the disk.

        Raises:
            StoreRefusedError: it is another exporter's, or no database of ours.
        """
        try:
            if not self._path.parent.exists():
                self._path.parent.mkdir(mode=0o700, parents=True)
            self._take_lock()
            # Webhook URLs may hold secrets, so a new file is for its owner alone.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            self._look()
        except OSError as error:
            message = f"{error.strerror or error}"
            raise StoreRefusedError(message) from error

    def engine(self, *, patient: bool = False) -> AsyncEngine:  # noqa: ARG002  nothing here gives up
        """Make the engine."""
        # Not as text: a path may have characters that mean something in a URL.
        url = URL.create("sqlite+aiosqlite", database=str(self._path))
        engine = create_async_engine(url, connect_args={"timeout": _BUSY_SECONDS})

        @event.listens_for(engine.sync_engine, "connect")
        def _set_up(connection: Any, _record: Any) -> None:
            # Or the driver begins transactions only before rows are written: tables and savepoints would be outside.
            connection.isolation_level = None
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            # What a scrape has shown must outlive a power cut too, so each commit is on the disk before it counts.
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA cache_size=-2000")
            cursor.close()

        @event.listens_for(engine.sync_engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        return engine

    async def attend(self, connection: AsyncConnection) -> None:
        """Mark a new file as ours."""
        if (await connection.exec_driver_sql("PRAGMA application_id")).scalar() != APPLICATION_ID:
            await connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
        await connection.commit()

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_lock(self) -> None:
        # On a file of its own: SQLite's locks on the database are taken and given back with every transaction.
        path = self._path.with_name(self._path.name + ".lock")
        self._lock = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._lock.read(20).strip()
            who = f" (process {holder})" if holder.isdigit() else ""
            message = f"another exporter{who} uses it; one store can have one exporter"
            raise StoreRefusedError(message) from None
        self._lock.seek(0)
        self._lock.truncate()
        self._lock.write(f"{os.getpid()}\n")
        self._lock.flush()

    def _look(self) -> None:
        """Refuse what is not ours before anything is written to it."""
        size = self._path.stat().st_size
        if not size:
            return
        with self._path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                # SQLite takes a file of a few bytes for one that nobody has written to yet.
                raise StoreRefusedError(_CORRUPT.format("its beginning is none"))
        try:
            connection = sqlite3.connect(f"file:{_quoted(self._path)}?mode=rw", uri=True, timeout=_BUSY_SECONDS)
            try:
                ours = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
                tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
                if not ours and tables:
                    message = "it is a database of another program; nothing was changed"
                    raise StoreRefusedError(message)
                if size <= _CHECKED_WHOLE:
                    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                    if found != "ok":
                        raise StoreRefusedError(_CORRUPT.format(found))
            finally:
                connection.close()
        except sqlite3.OperationalError as error:
            raise StoreRefusedError(str(error)) from error
        except sqlite3.DatabaseError as error:
            raise StoreRefusedError(_CORRUPT.format(error)) from error


_CORRUPT = (
    "it is damaged, or no SQLite database ({}); nothing was changed. Restore a backup, or move it away to begin with "
    "counters at 0"
)


def _quoted(path: Path) -> str:
    """Quote a path for a URI."""
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
