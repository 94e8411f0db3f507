"""Brings a server back to where it was when the exporter ended, however it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sqlalchemy import delete, func, insert, select

from comfyui_exporter.jobs.update import ProgressStatus
from comfyui_exporter.metrics.totals import Total, Totals
from comfyui_exporter.store.database import Database
from comfyui_exporter.store.marks import mark_of
from comfyui_exporter.store.rows import REGISTERED, RunRows
from comfyui_exporter.store.schema import ENTRIES, RUNS, SERVERS, TOTALS
from comfyui_exporter.store.totals import total_of, total_row
from comfyui_exporter.tracker.ground import MAX_KNOWN, Identity
from comfyui_exporter.tracker.memory import Memory
from comfyui_exporter.tracker.registration import Registration
from comfyui_exporter.tracker.roster import Key
from comfyui_exporter.tracker.runs import Run, State

MOST_VANISHED = 10_000
FAILURES = 100
FAILURE_AGE = 3600.0
"""Seconds for which failures are shown by name."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What is known of one server."""

    memory: Memory | None = None
    """None: it was never looked at."""
    totals: Totals = field(default_factory=dict)
    failed_runs: tuple[Run, ...] = ()
    """The failures of late, newest first."""


@dataclass(slots=True)
class EndedOfBatch:
    """Jobs of a batch that ended."""

    counts: Counter[ProgressStatus] = field(default_factory=Counter)
    seconds: float = 0.0
    """Their durations together."""
    timed: int = 0
    """How many have one."""


class Restore:
    """Reads what was written. `stamp` turns Unix time into a point in time of the observations."""

    def __init__(self, database: Database, rows: RunRows, stamp: Callable[[float], float]) -> None:
        self._database = database
        self._rows = rows
        self._stamp = stamp

    async def next_seq(self) -> int:
        """Give the number of the next row; those of runs and of history entries are counted up together."""
        highest = [
            (await self._database.rows(select(func.max(table.c.seq).label("seq"))))[0]["seq"] or 0
            for table in (RUNS, ENTRIES)
        ]
        return max(highest) + 1

    async def server(self, server: str, unix: float, keep_finished: float, most_finished: int) -> Restored:
        """Read what is known of a server at this Unix time.

        Raises:
            StoreAwayError: it cannot be read.
        """
        totals: Totals = {}
        for row in await self._database.rows(select(TOTALS).where(TOTALS.c.server == server)):
            totals.setdefault(row["family"], []).append(total_of(row))
        found = await self._database.rows(select(SERVERS).where(SERVERS.c.server == server))
        if not found:
            return Restored(None, totals)
        mark = mark_of(found[0], self._stamp)
        known = await self._known(server)
        return Restored(
            Memory(
                mark,
                known,
                await self._runs(
                    select(RUNS)
                    .where(RUNS.c.server == server, RUNS.c.ended_at.is_(None), RUNS.c.state != REGISTERED)
                    .order_by(RUNS.c.seq)
                ),
                await self._runs(
                    select(RUNS)
                    .where(RUNS.c.server == server, RUNS.c.ended_at > unix - keep_finished)
                    .order_by(RUNS.c.ended_at.desc())
                    .limit(most_finished),
                    newest_first=True,
                ),
                await self._vanished(server, mark.epoch, known),
            ),
            totals,
            await self._runs(
                select(RUNS)
                .where(
                    RUNS.c.server == server,
                    RUNS.c.ended_at > unix - FAILURE_AGE,
                    RUNS.c.state == State.FAILED.value,
                )
                .order_by(RUNS.c.ended_at.desc())
                .limit(FAILURES)
            ),
        )

    async def rewrite_totals(self, server: str, stored: Totals, now: Totals) -> None:
        """Put totals down as they are continued, where label names or buckets are others than before.

        Otherwise the old series would be added to the new ones at the next start.

        Raises:
            StoreAwayError: it could not be done now.
        """
        for family, totals in now.items():
            if not _keys(stored.get(family, ())) <= _keys(totals):
                rows = [dict(total_row(server, family, total)) for total in totals]
                await self._database.run(
                    delete(TOTALS).where(TOTALS.c.server == server, TOTALS.c.family == family),
                    # In parts: how many values one statement takes is bounded.
                    *(insert(TOTALS).values(rows[place : place + 500]) for place in range(0, len(rows), 500)),
                )

    async def registrations(self) -> list[tuple[Registration, float, ProgressStatus]]:
        """Read the jobs that were registered and that no server has shown, and when they were."""
        rows = await self._database.rows(select(RUNS).where(RUNS.c.state == REGISTERED).order_by(RUNS.c.seq))
        return [
            (self._rows.registration(row), self._stamp(row["first_seen"]), ProgressStatus(row["status"]))
            for row in rows
        ]

    async def lessons(self, server: str, most: int) -> tuple[Run, ...]:
        """Read the newest completed runs of a server, oldest first, to learn from."""
        return await self._runs(
            select(RUNS)
            .where(RUNS.c.server == server, RUNS.c.status == ProgressStatus.COMPLETED.value)
            .order_by(RUNS.c.seq.desc())
            .limit(most),
            newest_first=True,
        )

    async def ended_of_batch(self, batch_id: str, wanted: Callable[[str], bool]) -> dict[str | None, EndedOfBatch]:
        """Count the jobs of a batch that ended, by server; of those whose run_id is wanted.

        Raises:
            StoreAwayError: they cannot be read.
        """
        columns = (RUNS.c.run_id, RUNS.c.server, RUNS.c.status, RUNS.c.duration)
        rows = await self._database.rows(
            select(*columns).where(RUNS.c.batch_id == batch_id, RUNS.c.ended_at.is_not(None))
        )
        found: dict[str | None, EndedOfBatch] = {}
        for row in rows:
            if wanted(row["run_id"]):
                ended = found.setdefault(row["server"], EndedOfBatch())
                ended.counts[ProgressStatus(row["status"])] += 1
                if row["duration"] is not None:
                    ended.seconds += row["duration"]
                    ended.timed += 1
        return found

    async def _runs(self, statement: object, *, newest_first: bool = False) -> tuple[Run, ...]:
        rows = await self._database.rows(statement)
        if newest_first:
            rows.reverse()
        return tuple(self._rows.run(row) for row in rows)

    async def _known(self, server: str) -> dict[Identity, bool]:
        rows = await self._database.rows(
            select(ENTRIES).where(ENTRIES.c.server == server).order_by(ENTRIES.c.seq.desc()).limit(MAX_KNOWN)
        )
        return {(row["prompt_id"], row["number"], row["started_ms"]): row["ground"] for row in reversed(rows)}

    async def _vanished(self, server: str, epoch: int, known: Iterable[Identity]) -> Counter[Key]:
        """Count the runs that vanished and did not turn up since: those that did have an entry without a run."""
        rows = await self._database.rows(
            select(RUNS.c.prompt_id, RUNS.c.number)
            .where(
                RUNS.c.server == server,
                RUNS.c.epoch == epoch,
                RUNS.c.state.in_([State.LOST.value, State.CANCELLED.value]),
            )
            .order_by(RUNS.c.seq.desc())
            .limit(MOST_VANISHED)
        )
        vanished = Counter((row["prompt_id"], row["number"]) for row in rows)
        entries = Counter((prompt_id, number) for prompt_id, number, _ in known if (prompt_id, number) in vanished)
        for key, count in entries.items():
            ended = await self._database.rows(
                select(func.count().label("runs")).where(
                    RUNS.c.server == server,
                    RUNS.c.prompt_id == key[0],
                    RUNS.c.number == key[1],
                    RUNS.c.has_entry,
                )
            )
            vanished[key] -= max(0, count - ended[0]["runs"])
        return +vanished


async def retain(database: Database, before: float, servers: Iterable[str], most: int = 2_000) -> int:
    """Delete some rows of runs that ended before this Unix time, and entries that no history can have any more.

    The number of rows deleted; to be called until it is 0. Totals are never touched.

    Raises:
        StoreAwayError: it could not be done now.
    """
    old = select(RUNS.c.run_id).where(RUNS.c.ended_at < before).limit(most)
    stale = select(RUNS.c.run_id).where(RUNS.c.state == REGISTERED, RUNS.c.first_seen < before).limit(most)
    statements = [delete(RUNS).where(RUNS.c.run_id.in_(old)), delete(RUNS).where(RUNS.c.run_id.in_(stale))]
    for server in servers:
        beyond = (
            select(ENTRIES.c.seq)
            .where(ENTRIES.c.server == server)
            .order_by(ENTRIES.c.seq.desc())
            .limit(1)
            .offset(MAX_KNOWN)
            .scalar_subquery()
        )
        statements.append(delete(ENTRIES).where(ENTRIES.c.server == server, ENTRIES.c.seq <= beyond))
    return await database.run(*statements)


def _keys(totals: Iterable[Total]) -> set[object]:
    return {(tuple(sorted(total.labels.items())), total.bounds) for total in totals}
