"""Jobs as the job log has them, with what is newer in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select

from comfyui_exporter.jobs.board import JobBoard
from comfyui_exporter.jobs.history import JobQuery, NotNowError
from comfyui_exporter.jobs.update import BatchUpdate, ProgressStatus, ProgressUpdate
from comfyui_exporter.store.database import Database
from comfyui_exporter.store.errors import StoreAwayError
from comfyui_exporter.store.log import JobLog
from comfyui_exporter.store.rows import REGISTERED, RunRows
from comfyui_exporter.store.schema import RUNS
from comfyui_exporter.tracker.estimate import Forecast

_WAIT_SECONDS = 1.0
"""How long an answer waits for what was just seen to be in the log."""

_IN_MEMORY = 2**62
"""Added to places in memory, which are others than in the store: nobody can go on from there."""

_TOLD = or_(RUNS.c.detailed, RUNS.c.state == REGISTERED)
"""Runs of which it is not known yet what was submitted are not told of."""


class LogHistory:
    """Looks jobs up in the log; those in memory are given as they are there, which is newer."""

    def __init__(self, database: Database, log: JobLog, rows: RunRows, board: JobBoard) -> None:
        self._database = database
        self._log = log
        self._rows = rows
        self._board = board
        self._describe = board.describe

    async def page(self, query: JobQuery, limit: int, before: int | None) -> Sequence[tuple[int, ProgressUpdate]]:
        """Give so many jobs with their places, newest first, of those whose place is lower than `before`.

        Raises:
            NotNowError: the store is away, and what is wanted lies beyond what is in memory.
        """
        if before is not None and before >= _IN_MEMORY:
            raise NotNowError(_BEGIN_AGAIN)
        conditions: list[ColumnElement[bool]] = [_TOLD]
        for column, values in (
            (RUNS.c.status, query.statuses),
            (RUNS.c.server, query.servers),
            (RUNS.c.job_type, query.job_types),
            (RUNS.c.batch_id, query.batch_ids),
        ):
            if values is not None:
                conditions.append(column.in_(sorted(values)))
        if before is not None:
            conditions.append(RUNS.c.seq < before)
        statement = select(RUNS).where(*conditions).order_by(RUNS.c.seq.desc()).limit(limit)
        try:
            if before is None:
                await self._up_to_date()
            rows = await self._database.rows(statement)
        except (StoreAwayError, TimeoutError) as error:
            if before is not None:
                raise NotNowError(_AWAY) from error
            return [(_IN_MEMORY + place, update) for place, update in self._board.page(query.matches, limit)]
        return [(row["seq"], self._update(row)) for row in rows]

    async def find(self, *, job_id: str | None = None, prompt_id: str | None = None) -> ProgressUpdate | None:
        """Give the newest run of a job; None if there is none.

        Raises:
            NotNowError: the store is away.
        """
        found = self._board.find(job_id=job_id, prompt_id=prompt_id)
        if found is not None:
            return found
        conditions: list[ColumnElement[bool]] = [_TOLD]
        if job_id is not None:
            conditions.append(RUNS.c.job_id == job_id)
        if prompt_id is not None:
            conditions.append(RUNS.c.prompt_id == prompt_id)
        rows = await self._read(select(RUNS).where(*conditions).order_by(RUNS.c.seq.desc()).limit(1))
        return self._update(rows[0]) if rows else None

    async def batch(self, batch_id: str) -> BatchUpdate | None:
        """Give a batch; None if there is none.

        Raises:
            NotNowError: the store is away.
        """
        active = self._board.batch(batch_id)
        if active is not None:
            return active
        rows = await self._read(
            select(RUNS.c.status, func.count().label("jobs"))
            .where(RUNS.c.batch_id == batch_id, _TOLD)
            .group_by(RUNS.c.status)
        )
        counts = Counter({ProgressStatus(row["status"]): row["jobs"] for row in rows})
        return BatchUpdate(batch_id, counts.total(), counts, 100.0) if counts else None

    async def _read(self, statement: object) -> Sequence[Mapping[str, Any]]:
        try:
            return await self._database.rows(statement)
        except StoreAwayError as error:
            raise NotNowError(_AWAY) from error

    async def _up_to_date(self) -> None:
        async with asyncio.timeout(_WAIT_SECONDS):
            await self._log.committed()

    def _update(self, row: Mapping[str, Any]) -> ProgressUpdate:
        known = self._board.get(row["run_id"])
        if known is not None:
            return known
        if row["state"] == REGISTERED:
            at = self._rows.stamp(row["first_seen"])
            return self._describe.registered(self._rows.registration(row), ProgressStatus(row["status"]), at)
        run = self._rows.run(row)
        return self._describe(row["server"], run, Forecast(), run.ended_at or run.started_at or run.first_seen)


_BEGIN_AGAIN = "the store did not answer when this list was begun, and only jobs in memory were given; begin again"
_AWAY = "the store does not answer; only jobs in memory can be given"
