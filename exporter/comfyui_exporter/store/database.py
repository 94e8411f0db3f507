"""The store as it is written and read: every statement is here or in `queries`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from sqlalchemy import Column, Table, bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from comfyui_exporter.store.backend import Backend, backend_of
from comfyui_exporter.store.batch import Batch, Row
from comfyui_exporter.store.errors import BadRowsError, StoreAwayError, StoreLostError, StoreRefusedError
from comfyui_exporter.store.migrations import migrate
from comfyui_exporter.store.schema import ALERTS, ENTRIES, RUNS, SERVERS, STORE, TOTALS, WEBHOOKS

_WRITE_SECONDS = 60.0
"""A commit that takes longer than this is given up and tried again; a server that is gone may never say so."""

_PART = 1000
"""Rows that are taken at a time: some milliseconds."""


class Database:
    """A store that was opened and is ours alone."""

    def __init__(self, backend: Backend, engine: AsyncEngine) -> None:
        self._backend = backend
        self._engine = engine
        self._writer = uuid.uuid4().hex
        self._lock = asyncio.Lock()
        self._connection: AsyncConnection | None = None
        """The one that writes; it holds what keeps others away."""

    @property
    def kind(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._backend.name

    @property
    def engine(self) -> AsyncEngine:
        """Connections for reading."""
        return self._engine

    async def open(self) -> None:
        """Connect, make sure that nobody else writes, and bring the tables up to date.

        Raises:
            StoreRefusedError: it cannot be used, and the message says why.
        """
        try:
            await self._connect()
            # On a connection with all the time that it needs: an index of many millions of rows takes minutes.
            engine = self._backend.engine(patient=True)
            try:
                async with engine.begin() as connection:
                    await connection.run_sync(migrate, self._writer)
            finally:
                await engine.dispose()
        except BaseException as error:
            await self.close()
            if isinstance(error, Exception) and not isinstance(error, StoreRefusedError):
                raise StoreRefusedError(_words(error)) from error
            raise

    async def close(self) -> None:
        """Give everything back."""
        await self._disconnect()
        await self._engine.dispose()
        self._backend.close()

    async def write(self, batch: Batch, *, one_by_one: bool = False) -> list[str]:
        """Commit a batch: all of it or nothing. The ids of rows that were refused, which only `one_by_one` allows.

        Raises:
            StoreAwayError: it could not be done now.
            StoreLostError: another exporter writes to this store.
            BadRowsError: some row is refused, and always will be.
        """
        async with self._transaction() as connection:
            return await self._write(connection, batch, one_by_one=one_by_one)

    async def _check_writer(self, connection: AsyncConnection) -> None:
        writer = (await connection.execute(select(STORE.c.writer).where(STORE.c.id == 1))).scalar()
        if writer != self._writer:
            message = "another exporter has taken over the store"
            raise StoreLostError(message)

    async def _write(self, connection: AsyncConnection, batch: Batch, *, one_by_one: bool) -> list[str]:
        refused: list[str] = []
        if batch.gone:
            await self._delete(connection, RUNS.c.run_id, batch.gone)
        if one_by_one:
            for run_id, row in batch.runs.items():
                try:
                    async with connection.begin_nested():
                        await self._upsert(connection, RUNS, [row], keep=("seq",))
                except Exception as error:
                    if not _is_bad_row(error):
                        raise
                    refused.append(run_id)
        else:
            await self._upsert(connection, RUNS, list(batch.runs.values()), keep=("seq",))
        await self._upsert(connection, TOTALS, list(batch.totals.values()))
        await self._upsert(connection, ENTRIES, list(batch.entries.values()), keep=("seq",))
        await self._upsert(connection, SERVERS, list(batch.servers.values()))
        for key, rows in ((WEBHOOKS.c.delivery_id, batch.deliveries), (ALERTS.c.alert_id, batch.alerts)):
            await self._upsert(connection, key.table, [row for row in rows.values() if row is not None])
            done = [value for value, row in rows.items() if row is None]
            if done:
                await self._delete(connection, key, done)
        return refused

    @staticmethod
    async def _delete(connection: AsyncConnection, key: Column[str], values: Iterable[str]) -> None:
        # One by one: how many values one statement takes is bounded, how many may have gathered is not.
        statement = delete(key.table).where(key == bindparam("value"))
        await connection.execute(statement, [{"value": value} for value in values])

    async def _upsert(
        self, connection: AsyncConnection, table: Table, rows: Sequence[Row], keep: Iterable[str] = ()
    ) -> None:
        """Insert rows, or replace all but their key and the columns to keep."""
        if not rows:
            return
        statement = (sqlite_insert if self.kind == "sqlite" else postgres_insert)(table)
        keys = [column.name for column in table.primary_key]
        changed = {
            column.name: statement.excluded[column.name]
            for column in table.columns
            if column.name not in keys and column.name not in keep
        }
        await connection.execute(
            statement.on_conflict_do_update(index_elements=keys, set_=changed), [dict(row) for row in rows]
        )

    async def run(self, *statements: Any) -> int:
        """Execute statements in one transaction as the writer, and give the number of rows that they changed.

        Raises:
            StoreAwayError: it could not be done now.
        """
        async with self._transaction() as connection:
            results = [await connection.execute(statement) for statement in statements]
            return sum(result.rowcount for result in results)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        """Write as the one who may, and find out whose fault it is if that fails."""
        try:
            async with self._lock, asyncio.timeout(_WRITE_SECONDS):
                connection = await self._connect()
                async with connection.begin():
                    await self._check_writer(connection)
                    yield connection
        except (StoreLostError, asyncio.CancelledError):
            # Who lost the store has no business to keep others from it.
            await self._disconnect()
            raise
        except Exception as error:
            await self._disconnect()
            if _is_bad_row(error):
                raise BadRowsError(_words(error)) from error
            raise StoreAwayError(_words(error)) from error

    async def rows(self, statement: Any) -> list[Mapping[str, Any]]:
        """Read.

        Raises:
            StoreAwayError: it could not be read.
        """
        try:
            async with asyncio.timeout(_WRITE_SECONDS), self._engine.connect() as connection:
                return [dict(row) for row in (await connection.execute(statement)).mappings()]
        except Exception as error:
            raise StoreAwayError(_words(error)) from error

    async def read(self, statement: Any, take: Callable[[Sequence[Any]], None]) -> None:
        """Read what may be much: `take` is given some rows at a time, and everybody else goes on in between.

        Raises:
            StoreAwayError: it could not be read.
            ValueError: `take` cannot make anything of it.
        """
        try:
            async with asyncio.timeout(_WRITE_SECONDS), self._engine.connect() as connection:
                result = await connection.stream(statement)
                async for part in result.partitions(_PART):
                    take(part)
        except ValueError:
            raise
        except Exception as error:
            raise StoreAwayError(_words(error)) from error

    async def _connect(self) -> AsyncConnection:
        if self._connection is None:
            self._connection = await self._engine.connect()
            await self._backend.attend(self._connection)
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # What went wrong with it once is not to be handed out again.
            for give_up in (connection.invalidate, connection.close):
                with suppress(Exception):
                    await give_up()


async def open_database(url: str) -> Database:
    """Open a store by URL, see `backend_of`.

    Raises:
        StoreRefusedError: it cannot be used, and the message says why.
    """
    backend = backend_of(url)
    try:
        await asyncio.to_thread(backend.prepare)
        database = Database(backend, backend.engine())
    except BaseException:
        backend.close()
        raise
    await database.open()
    return database


_ROW_STATES = ("22", "23", "42", "54")
"""Classes of SQLSTATE that blame what was written: data, constraints, statements, sizes."""


def _is_bad_row(error: BaseException) -> bool:
    """Whether it is what was written that cannot be, now or ever, and not the store that is away."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, StatementError | ValueError | TypeError | OverflowError)
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_ROW_STATES)
    cause = error.orig.__cause__ if error.orig is not None else None
    return isinstance(error, DataError | IntegrityError | ProgrammingError) or isinstance(cause, ValueError)


def _words(error: BaseException) -> str:
    """Say what went wrong without the statement and its values, which may hold anything."""
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return f"{cause}".strip().splitlines()[0][:300] if f"{cause}".strip() else type(cause).__name__
