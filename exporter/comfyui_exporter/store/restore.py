"""Brings a server back to where it was when the exporter ended, however it ended."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sqlalchemy import delete, func, insert, select

from comfyui_exporter.jobs.update import ProgressStatus
from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.metrics.totals import Total, Totals
from comfyui_exporter.store.database import Database
from comfyui_exporter.store.marks import mark_of
from comfyui_exporter.store.of_servers import (
    IS_REGISTERED,
    batched,
    completed_of,
    entries_of,
    entries_of_all,
    newest_of,
    open_of,
    totals_of,
    vanished_of,
)
from comfyui_exporter.store.rows import RunRows
from comfyui_exporter.store.schema import ENTRIES, RUNS, SERVERS, TOTALS
from comfyui_exporter.store.totals import go_on_as_they_are, total_of, total_row
from comfyui_exporter.tracker.ground import MAX_KNOWN, Identity
from comfyui_exporter.tracker.memory import Memory
from comfyui_exporter.tracker.registration import Registration
from comfyui_exporter.tracker.roster import Key
from comfyui_exporter.tracker.runs import ENDS, Run, State

MOST_VANISHED = 10_000
LESSONS = 300
"""Completed jobs of each server from which estimates are learned."""
FAILURES = 100
FAILURE_AGE = 3600.0
"""Seconds for which failures are shown by name."""


_FEW = 100
"""Servers up to which their entries are looked up in any case."""
_TOGETHER = 32
"""Servers that one statement asks for."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What is known of one server."""

    memory: Memory | None = None
    """None: it was never looked at."""
    totals: Totals = field(default_factory=dict)
    failed_runs: tuple[Run, ...] = ()
    """The failures of late, newest first."""
    lessons: int = 0
    """How many runs `lessons` will give."""


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

    async def servers(
        self, servers: Sequence[str], unix: float, keep_finished: float, most_finished: int
    ) -> AsyncGenerator[tuple[str, Restored], None]:
        """Read what is known of each of these servers at this Unix time.

        Raises:
            StoreAwayError: it cannot be read.
            ValueError: it makes no sense.
        """
        known = await self._known_of_all(servers) if await self._are_most(servers) else {}
        for some in batched(servers, _TOGETHER):
            totals = await self._totals(some)
            rows = await self._database.rows(select(SERVERS).where(SERVERS.c.server.in_(some)))
            marks = {row["server"]: mark_of(row, self._stamp) for row in rows}
            names = list(marks)
            known |= await self._known([name for name in names if name not in known])
            vanished = await self._vanished(names, known)
            open_runs = await self._runs(open_of(names))
            finished = await self._runs(newest_of(names, ENDS, most_finished, unix - keep_finished), most_finished)
            failed = await self._runs(newest_of(names, (State.FAILED,), FAILURES, unix - FAILURE_AGE), FAILURES)
            lessons = await self._lessons_of(names)
            for server in some:
                memory = None
                if server in marks:
                    runs = open_runs.get(server, ()), finished.get(server, ())
                    memory = Memory(marks[server], known.pop(server), *runs, vanished[server])
                failures = failed.get(server, ())[::-1]
                yield server, Restored(memory, totals.get(server, {}), failures, lessons.get(server, 0))

    async def rewrite_totals(self, server: str, stored: Totals, metrics: MetricStore) -> None:
        """Put totals down as they are continued, where label names or buckets are others than before.

        Otherwise the old series would be added to the new ones at the next start.

        Raises:
            StoreAwayError: it could not be done now.
        """
        if go_on_as_they_are(stored, metrics):
            return
        for family, totals in metrics.export_lasting(server).items():
            if not _keys(stored.get(family, ())) <= _keys(totals):
                rows = [dict(total_row(server, family, total)) for total in totals]
                await self._database.run(
                    delete(TOTALS).where(TOTALS.c.server == server, TOTALS.c.family == family),
                    # In parts: how many values one statement takes is bounded.
                    *(insert(TOTALS).values(rows[place : place + 500]) for place in range(0, len(rows), 500)),
                )

    async def registrations(self) -> list[tuple[Registration, float, ProgressStatus]]:
        """Read the jobs that were registered and that no server has shown, and when they were."""
        rows = await self._database.rows(select(RUNS).where(IS_REGISTERED).order_by(RUNS.c.seq))
        return [
            (self._rows.registration(row), self._stamp(row["first_seen"]), ProgressStatus(row["status"]))
            for row in rows
        ]

    async def lessons(self, servers: Sequence[str]) -> Mapping[str, tuple[Run, ...]]:
        """Read the newest completed runs of each of these servers, in the order of their ends, to learn from.

        Raises:
            StoreAwayError: they cannot be read.
            ValueError: they make no sense.
        """
        return await self._runs(newest_of(servers, (State.COMPLETED,), LESSONS), LESSONS)

    async def ended_of_batches(
        self, batch_ids: Sequence[str], servers: Sequence[str] | None, wanted: Callable[[str], bool]
    ) -> dict[tuple[str, str | None], EndedOfBatch]:
        """Count the jobs of batches that ended, by batch and server; of those whose run_id is wanted.

        Raises:
            StoreAwayError: they cannot be read.
        """
        found: dict[tuple[str, str | None], EndedOfBatch] = {}

        def take(part: Sequence[Any]) -> None:
            for batch_id, server, run_id, status, duration in part:
                if wanted(run_id):
                    ended = found.setdefault((batch_id, server), EndedOfBatch())
                    ended.counts[ProgressStatus(status)] += 1
                    if duration is not None:
                        ended.seconds += duration
                        ended.timed += 1

        columns = (RUNS.c.batch_id, RUNS.c.server, RUNS.c.run_id, RUNS.c.status, RUNS.c.duration)
        for some in batched(batch_ids):
            statement = select(*columns).where(RUNS.c.batch_id.in_(some), RUNS.c.ended_at.is_not(None))
            if servers is not None:
                statement = statement.where(RUNS.c.server.in_(servers))
            await self._database.read(statement, take)
        return found

    async def _are_most(self, servers: Sequence[str]) -> bool:
        """Whether it is quicker to read the entries of all servers than to look up those of these."""
        if len(servers) <= _FEW:
            return False
        (row,) = await self._database.rows(select(func.count().label("servers")).select_from(SERVERS))
        return bool(len(servers) > row["servers"] / 2)

    async def _totals(self, servers: Sequence[str]) -> dict[str, Totals]:
        found: dict[str, Totals] = {}

        def take(part: Sequence[Any]) -> None:
            for server, family, *columns in part:
                found.setdefault(server, {}).setdefault(family, []).append(total_of(*columns))

        await self._database.read(totals_of(servers), take)
        return found

    async def _runs(self, statement: object, most: int | None = None) -> dict[str, tuple[Run, ...]]:
        """The runs of each server, of which the last so many; a server without any has an empty tuple."""
        found: defaultdict[str, deque[Run]] = defaultdict(lambda: deque(maxlen=most))

        def take(part: Sequence[Any]) -> None:
            for row in part:
                found[row.server].append(self._rows.run(row._mapping))  # noqa: SLF001  the documented name

        await self._database.read(statement, take)
        return defaultdict(tuple, {server: tuple(runs) for server, runs in found.items()})

    async def _known(self, servers: Sequence[str]) -> dict[str, dict[Identity, bool]]:
        """The entries of these servers, oldest first."""
        found: dict[str, dict[Identity, bool]] = {server: {} for server in servers}

        def take(part: Sequence[Any]) -> None:
            for server, _, prompt_id, number, started_ms, ground in part:
                found[server][prompt_id, number, started_ms] = ground

        if servers:
            await self._database.read(entries_of(servers), take)
        for known in found.values():
            for identity in tuple(islice(known, max(0, len(known) - MAX_KNOWN))):
                del known[identity]
        return found

    async def _known_of_all(self, servers: Iterable[str]) -> dict[str, dict[Identity, bool]]:
        """The same of many servers, but for those that have too many and those whose entries lie there in disorder."""
        found: dict[str, dict[Identity, bool]] = {server: {} for server in servers}
        newest = dict.fromkeys(found, 0)

        def take(part: Sequence[Any]) -> None:
            for server, seq, prompt_id, number, started_ms, ground in part:
                known = found.get(server)
                if known is None:
                    continue
                if seq < newest[server] or len(known) == MAX_KNOWN:
                    del found[server]
                    continue
                newest[server] = seq
                known[prompt_id, number, started_ms] = ground

        await self._database.read(entries_of_all(), take)
        return found

    async def _lessons_of(self, servers: Sequence[str]) -> dict[str, int]:
        """How many runs of each server there are to learn from."""
        found: dict[str, int] = {}

        def take(part: Sequence[Any]) -> None:
            found.update((server, count) for server, count in part)

        await self._database.read(completed_of(servers, LESSONS), take)
        return found

    async def _vanished(
        self, servers: Sequence[str], known: Mapping[str, Iterable[Identity]]
    ) -> dict[str, Counter[Key]]:
        """Count the runs that vanished and did not turn up since: those that did have an entry without a run."""
        keys: dict[str, deque[Key]] = {server: deque(maxlen=MOST_VANISHED) for server in servers}

        def take(part: Sequence[Any]) -> None:
            for server, prompt_id, number in part:
                keys[server].append((prompt_id, number))

        await self._database.read(vanished_of(servers), take)
        found = {server: Counter(several) for server, several in keys.items()}
        for server, vanished in found.items():
            if not vanished:
                continue
            prompt_ids = {prompt_id for prompt_id, _ in vanished}
            entries = Counter(identity[:2] for identity in known[server] if identity[0] in prompt_ids)
            entries = Counter({key: count for key, count in entries.items() if key in vanished})
            for some in batched(list(entries)):
                ended = await self._with_entry(server, {prompt_id for prompt_id, _ in some})
                for key in some:
                    vanished[key] -= max(0, entries[key] - ended[key])
            found[server] = +vanished
        return found

    async def _with_entry(self, server: str, prompt_ids: Iterable[str]) -> Counter[Key]:
        """Count the runs of these jobs that ended with a history entry."""
        rows = await self._database.rows(
            select(RUNS.c.prompt_id, RUNS.c.number, func.count().label("runs"))
            .where(RUNS.c.server == server, RUNS.c.prompt_id.in_(sorted(prompt_ids)), RUNS.c.has_entry)
            .group_by(RUNS.c.prompt_id, RUNS.c.number)
        )
        return Counter({(row["prompt_id"], row["number"]): row["runs"] for row in rows})


def _keys(totals: Iterable[Total]) -> set[object]:
    return {(tuple(sorted(total.labels.items())), total.bounds) for total in totals}
