"""Statements about several servers at once, which cost each of them the same however many others there are.

They begin at the few rows of `comfyui_servers` and follow the index on server, state and end. One that asks for the
newest of each server first finds where these begin: no window over all rows that a server ever had.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TypeVar

from sqlalchemy import Select, and_, func, select

from comfyui_exporter.jobs.update import ProgressStatus
from comfyui_exporter.store.rows import REGISTERED
from comfyui_exporter.store.schema import ENTRIES, RUNS, SERVERS, TOTALS
from comfyui_exporter.tracker.runs import ENDS, State

_Value = TypeVar("_Value")

_OPEN = tuple(state for state in State if state not in ENDS)

_VALUES = 500
"""Values that one statement takes, far below what any database allows."""


IS_REGISTERED = and_(
    # By status there is an index.
    RUNS.c.status.in_([ProgressStatus.INITIALIZING.value, ProgressStatus.TIMEOUT.value]),
    RUNS.c.state == REGISTERED,
)
"""Whether a row is of a job that no server has shown yet."""


def batched(values: Sequence[_Value], most: int = _VALUES) -> Iterator[Sequence[_Value]]:
    """Give so many at a time."""
    return (values[place : place + most] for place in range(0, len(values), most))


def newest_of(
    servers: Sequence[str], states: Collection[State], most: int, after: float = 0.0
) -> Select[tuple[object, ...]]:
    """The newest runs of each server that ended so, after this Unix time, in the order of their ends.

    A few more than the most where several ended at one moment.
    """
    values = sorted(states)
    other = RUNS.alias("other")
    first = (
        select(other.c.ended_at)
        .where(other.c.server == SERVERS.c.server, other.c.state.in_(values), other.c.ended_at > after)
        .order_by(other.c.ended_at.desc())
        .limit(1)
        .offset(max(0, most - 1))
        .correlate(SERVERS)
        .scalar_subquery()
    )
    # The whole bound in one expression, or a database may take the wrong one of two for its way into the index.
    bound = func.coalesce(first, after)
    return (
        select(RUNS)
        .join_from(SERVERS, RUNS, RUNS.c.server == SERVERS.c.server)
        .where(SERVERS.c.server.in_(servers), RUNS.c.state.in_(values), RUNS.c.ended_at >= bound)
        .order_by(RUNS.c.server, RUNS.c.ended_at, RUNS.c.seq)
    )


def open_of(servers: Sequence[str]) -> Select[tuple[object, ...]]:
    """The runs of each server that have not ended, in the order in which they were first seen."""
    return select(RUNS).where(RUNS.c.server.in_(servers), RUNS.c.state.in_(_OPEN)).order_by(RUNS.c.server, RUNS.c.seq)


def vanished_of(servers: Sequence[str]) -> Select[tuple[str | None, str, float | None]]:
    """Server, prompt_id and number of the runs that vanished since ComfyUI was last started, by first sight."""
    return (
        select(RUNS.c.server, RUNS.c.prompt_id, RUNS.c.number)
        .join_from(SERVERS, RUNS, (RUNS.c.server == SERVERS.c.server) & (RUNS.c.epoch == SERVERS.c.epoch))
        .where(SERVERS.c.server.in_(servers), RUNS.c.state.in_((State.LOST, State.CANCELLED)))
        .order_by(RUNS.c.server, RUNS.c.seq)
    )


def entries_of(servers: Sequence[str]) -> Select[tuple[str, int, str, float, int | None, bool]]:
    """Server, seq, prompt_id, number, started_ms and ground of the history entries of each server, oldest first."""
    return entries_of_all().where(ENTRIES.c.server.in_(servers)).order_by(ENTRIES.c.server, ENTRIES.c.seq)


def entries_of_all() -> Select[tuple[str, int, str, float, int | None, bool]]:
    """The same of all servers, in the order in which they lie there, which reads each page of the table once."""
    entries = ENTRIES.c
    return select(entries.server, entries.seq, entries.prompt_id, entries.number, entries.started_ms, entries.ground)


def completed_of(servers: Sequence[str], most: int) -> Select[tuple[str, int]]:
    """Server, and how many completed runs there are of it; `most` are counted."""
    some = (
        select(RUNS.c.run_id)
        .where(RUNS.c.server == SERVERS.c.server, RUNS.c.state == State.COMPLETED)
        .limit(most)
        .correlate(SERVERS)
        .subquery()
    )
    count = select(func.count()).select_from(some).scalar_subquery()
    return select(SERVERS.c.server, count).where(SERVERS.c.server.in_(servers))


def totals_of(servers: Sequence[str]) -> Select[tuple[str, str, str, float, str, str]]:
    """Server and family of each series, and then what `total_of` takes."""
    totals = TOTALS.c
    return select(totals.server, totals.family, totals.labels, totals.value, totals.bounds, totals.counts).where(
        totals.server.in_(servers)
    )
