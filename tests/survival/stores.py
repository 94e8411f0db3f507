"""Where the exporter keeps what is to last, and how that goes away for a while and comes back."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from postgres import Postgres

_ROWS = "SELECT prompt_id, number, seen_running, has_entry FROM comfyui_runs WHERE number IS NOT NULL"

_PATIENCE = 10.0
"""Seconds in which PostgreSQL notices that its client is dead."""


@dataclass(frozen=True, slots=True)
class Row:
    """A run as it is committed."""

    prompt_id: str
    number: float
    seen_running: bool
    has_entry: bool


class Store(Protocol):
    """A store that can be taken away."""

    @property
    def name(self) -> str:
        """What it is."""

    @property
    def url(self) -> str:
        """For --store.url."""

    def take_away(self) -> None:
        """From now on nothing can be written."""

    def give_back(self) -> None:
        """Writing works again."""

    def rows(self) -> list[Row] | None:
        """The runs that are committed; None where nobody can look."""

    def left(self) -> list[Row] | None:
        """The same once the exporter is dead, and all that it had begun is done or undone."""


class Memory:
    """No store: what a kill takes is gone."""

    name = "memory"
    url = "memory"

    def take_away(self) -> None:
        """There is nothing to take."""

    def give_back(self) -> None:
        """Nor to give."""

    def rows(self) -> None:
        """Nor to look at."""

    def left(self) -> None:
        """Nor then."""


class Sqlite:
    """A file, which a stranger locks."""

    name = "SQLite"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "exporter.db"
        self._stranger: sqlite3.Connection | None = None

    @property
    def url(self) -> str:
        """For --store.url."""
        return f"sqlite:///{self._path}"

    def take_away(self) -> None:
        """Lock it for writing."""
        stranger = sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
        stranger.execute("BEGIN EXCLUSIVE")
        self._stranger = stranger

    def give_back(self) -> None:
        """Let go."""
        if self._stranger is not None:
            with closing(self._stranger) as stranger:
                stranger.execute("ROLLBACK")
            self._stranger = None

    def left(self) -> list[Row] | None:
        """SQLite's locks and transactions end with their process."""
        return self.rows()

    def rows(self) -> list[Row] | None:
        """The runs that are committed."""
        if not self._path.exists():
            return []
        try:
            with closing(sqlite3.connect(self._path, timeout=10)) as connection:
                if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'comfyui_runs'").fetchone():
                    return []
                rows = connection.execute(_ROWS).fetchall()
        except sqlite3.OperationalError:
            return None  # even to read, SQLite needs some room
        return [Row(name, number, bool(running), bool(entry)) for name, number, running, entry in rows]


class SqliteOnFullDisk(Sqlite):
    """A file on a small disk of its own, which something else fills; only root may mount one."""

    name = "SQLite on a disk that fills up"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._filler = folder / "filler"

    def take_away(self) -> None:
        """Write until nothing fits any more."""
        with self._filler.open("wb", buffering=0) as filler, suppress(OSError):
            while filler.write(b"x" * 4096):
                pass

    def give_back(self) -> None:
        """Make room."""
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, size: str = "64m") -> Iterator[None]:
    """Mount one there. PermissionError where that is not allowed."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        raise PermissionError(mounted.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


class PostgresDatabase:
    """A database on a server that is stopped in the middle and recovers."""

    name = "PostgreSQL"

    def __init__(self, server: Postgres, url: str) -> None:
        self._server = server
        self.url = url

    def take_away(self) -> None:
        """Stop the server at once."""
        self._server.stop()

    def give_back(self) -> None:
        """Start it again."""
        if not self._server.running:
            self._server.start()

    def left(self) -> list[Row] | None:
        """The same, once the server has noticed that its client is dead and has ended what it was at."""
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        deadline = time.monotonic() + _PATIENCE
        while (found := self._query(others)) != [["0"]]:
            if found is None or time.monotonic() > deadline:
                return None
            time.sleep(0.02)
        return self.rows()

    def rows(self) -> list[Row] | None:
        """The runs that are committed."""
        if self._query("SELECT to_regclass('comfyui_runs') IS NULL") == [["t"]]:
            return []
        rows = self._query(_ROWS)
        if rows is None:
            return None
        return [Row(name, float(number), running == "t", entry == "t") for name, number, running, entry in rows]

    def _query(self, sql: str) -> list[list[str]] | None:
        try:
            return self._server.query(self.url, sql) if self._server.running else None
        except RuntimeError:
            return None  # it went away in between
