"""A private PostgreSQL for tests and benches: in a folder of its own, on a free port, gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_UNPRIVILEGED = "postgres"
"""PostgreSQL refuses to run as root; the package of every distribution makes this user."""

_PATIENCE = 60.0
"""Seconds in which it starts, or the test fails; recovery after an immediate stop is part of it."""


def postgres_programs() -> Path:
    """Where initdb and postgres are; Debian has them off the PATH. LookupError that says what to install."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    # The newest version first.
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    for place in (*places, *versions):
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    msg = "no initdb: install PostgreSQL (Debian: postgresql), its service need not run"
    raise LookupError(msg)


class Postgres:
    """One server with a superuser `postgres` who needs no password, from `with` until its end."""

    def __init__(self) -> None:
        self._programs = postgres_programs()
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._user = {"user": _UNPRIVILEGED, "group": _UNPRIVILEGED, "extra_groups": []}
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._made = 0

    def __enter__(self) -> Self:
        """Make the cluster and start it."""
        # Not below pytest's folder: only its owner may enter that.
        self._folder = Path(tempfile.mkdtemp(prefix="comfyui-exporter-postgres-"))
        try:
            if self._user:
                shutil.chown(self._folder, _UNPRIVILEGED, _UNPRIVILEGED)
            self._run(
                "initdb", "--pgdata", str(self._data), "--username", "postgres", "--auth", "trust", "--no-sync",
                "--encoding", "UTF8", "--locale", "C",
            )  # fmt: skip
            self._port = _free_port()
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it and take everything away."""
        self._remove()

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    def url(self, database: str) -> str:
        """Where a client finds this database."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"

    def new_database(self) -> str:
        """Make an empty database, and give its URL."""
        self._made += 1
        name = f"test{self._made}"
        self._run("createdb", *self._client, name)
        return self.url(name)

    def query(self, url: str, sql: str) -> list[list[str]]:
        """Ask a database of its own accord, past whoever uses it; rows of text."""
        output = self._run("psql", *self._client, "-XAtq", "-F", "\t", "-c", sql, url.rpartition("/")[2])
        return [line.split("\t") for line in output.splitlines()]

    def start(self) -> None:
        """Start it, after a stop too, and wait until it takes connections."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self._port),
                    "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self._folder}",
                    # What a power failure would do to the files is nothing that is tested here.
                    "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=50",
                ],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                **self._user,
            )  # fmt: skip
        deadline = time.monotonic() + _PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                msg = f"PostgreSQL did not start:\n{(self._folder / 'log').read_text()}"
                raise RuntimeError(msg)
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it at once, as a crash would: connections end in the middle, and the next start recovers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _client(self) -> tuple[str, ...]:
        return ("-h", "127.0.0.1", "-p", str(self._port), "-U", "postgres")

    def _answers(self) -> bool:
        command = [str(self._programs / "pg_isready"), "-q", *self._client]
        return subprocess.run(command, check=False).returncode == 0

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._folder,
            **self._user,
        )
        if done.returncode:
            msg = f"{program}: {done.stderr.strip()}"
            raise RuntimeError(msg)
        return str(done.stdout)

    def _remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def database() -> Iterator[tuple[Postgres, str]]:
    """A server and one empty database on it."""
    with Postgres() as postgres:
        yield postgres, postgres.new_database()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
