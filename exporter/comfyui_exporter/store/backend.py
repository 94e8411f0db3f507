"""What differs between the databases, and which of them a URL names."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from comfyui_exporter.store.postgres import PostgresBackend
from comfyui_exporter.store.sqlite import SqliteBackend


class Backend(Protocol):
    """One kind of database."""

    name: str

    def prepare(self) -> None:
        """Whatever is to be done before an engine is made; may touch the disk."""

    def engine(self, *, patient: bool = False) -> AsyncEngine:
        """Make the engine; `patient`: for statements that may take however long they take."""

    async def attend(self, connection: AsyncConnection) -> None:
        """Make sure that we alone write, on the connection that does."""

    def close(self) -> None:
        """Give back what `prepare` took."""


def backend_of(url: str) -> Backend:
    """Choose by URL: `sqlite:///PATH` (a fourth slash begins an absolute path) or `postgresql://...`."""
    if url.startswith("sqlite:///"):
        return SqliteBackend(Path(url.removeprefix("sqlite:///")))
    return PostgresBackend(url)
