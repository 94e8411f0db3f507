"""PostgreSQL: one schema, one advisory lock."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from comfyui_exporter.store.errors import StoreRefusedError

_CONNECT_SECONDS = 5.0
_COMMAND_SECONDS = 30.0

_LOCK = text("SELECT pg_try_advisory_lock(1129535557, hashtext(current_schema()))")
"""One for each schema of each database; it goes with the connection that took it."""

_LOCK_TRIES = 40
_LOCK_PAUSE = 0.25
"""A server notices within moments that the connection of a killed exporter is gone, but not always at once."""


class PostgresBackend:
    """A store in a PostgreSQL database."""

    name = "postgresql"

    def __init__(self, url: str) -> None:
        self._url = url

    def prepare(self) -> None:
        """Look for the driver.

        Raises:
            StoreRefusedError: it is not installed.
        """
        try:
            import asyncpg  # type: ignore[import-untyped]  # noqa: F401, PLC0415
        except ImportError:
            message = "the driver is not installed: pip install 'comfyui-exporter[postgres]'"
            raise StoreRefusedError(message) from None

    def engine(self, *, patient: bool = False) -> AsyncEngine:
        """Make the engine; `patient`: for statements that may take however long they take."""
        import asyncpg  # noqa: PLC0415

        async def connect() -> Any:
            # asyncpg reads the URL itself, with sslmode, several hosts and the PG* variables, as libpq does.
            return await asyncpg.connect(
                self._url,
                timeout=_CONNECT_SECONDS,
                command_timeout=None if patient else _COMMAND_SECONDS,
                server_settings=_SETTINGS,
            )

        return create_async_engine("postgresql+asyncpg://", async_creator=connect, pool_size=4, pool_pre_ping=True)

    async def attend(self, connection: AsyncConnection) -> None:
        """Take the lock, on the connection that writes.

        Raises:
            StoreRefusedError: another exporter has it.
        """
        for _ in range(_LOCK_TRIES):
            if (await connection.execute(_LOCK)).scalar():
                await connection.commit()
                return
            await connection.rollback()
            await asyncio.sleep(_LOCK_PAUSE)
        message = "another exporter uses it; one store can have one exporter"
        raise StoreRefusedError(message)

    def close(self) -> None:
        """Nothing is held beside the connections."""


_SETTINGS = {"application_name": "comfyui-exporter"}
