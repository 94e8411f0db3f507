"""Jobs of now and of the past, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from comfyui_exporter.jobs.board import JobBoard
from comfyui_exporter.jobs.update import BatchUpdate, ProgressStatus, ProgressUpdate


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Which jobs are asked for: those with one of the values in each; None means any."""

    statuses: frozenset[ProgressStatus] | None = None
    servers: frozenset[str] | None = None
    job_types: frozenset[str] | None = None
    batch_ids: frozenset[str] | None = None

    def matches(self, update: ProgressUpdate) -> bool:
        """Whether a job is among them."""
        return all(
            allowed is None or value in allowed
            for allowed, value in (
                (self.statuses, update.status),
                (self.servers, update.server),
                (self.job_types, update.job_type),
                (self.batch_ids, update.batch_id),
            )
        )


class NotNowError(Exception):
    """What was asked for cannot be read at the moment."""


class JobHistory(Protocol):
    """Where jobs are looked up; each raises NotNowError when that is not possible for now."""

    async def page(self, query: JobQuery, limit: int, before: int | None) -> Sequence[tuple[int, ProgressUpdate]]:
        """Give so many jobs with their places, newest first, of those whose place is lower than `before`."""

    async def find(self, *, job_id: str | None = None, prompt_id: str | None = None) -> ProgressUpdate | None:
        """Give the newest run of a job; None if there is none."""

    async def batch(self, batch_id: str) -> BatchUpdate | None:
        """Give a batch; None if there is none."""


class BoardHistory:
    """What is in memory, where nothing else is kept."""

    def __init__(self, board: JobBoard) -> None:
        self._board = board

    async def page(self, query: JobQuery, limit: int, before: int | None) -> Sequence[tuple[int, ProgressUpdate]]:
        """Give so many jobs with their places, newest first, of those whose place is lower than `before`."""
        return self._board.page(query.matches, limit, before)

    async def find(self, *, job_id: str | None = None, prompt_id: str | None = None) -> ProgressUpdate | None:
        """Give the newest run of a job; None if there is none."""
        return self._board.find(job_id=job_id, prompt_id=prompt_id)

    async def batch(self, batch_id: str) -> BatchUpdate | None:
        """Give a batch; None if there is none."""
        return self._board.batch(batch_id)
