"""What the store lets go: rows of runs that ended long ago, and entries that no history has any more."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Delete, delete, select

from comfyui_exporter.store.database import Database
from comfyui_exporter.store.of_servers import IS_REGISTERED, batched
from comfyui_exporter.store.schema import ENTRIES, RUNS
from comfyui_exporter.tracker.ground import MAX_KNOWN

_TOGETHER = 20
"""Servers whose old entries are deleted in one transaction."""


async def retain(database: Database, before: float, servers: Iterable[str], most: int = 2_000) -> int:
    """Delete some rows of runs that ended before this Unix time, and entries that no history can have any more.

    The number of rows deleted; to be called until it is 0. Totals are never touched.

    Raises:
        StoreAwayError: it could not be done now.
    """
    old = select(RUNS.c.run_id).where(RUNS.c.ended_at < before).limit(most)
    stale = select(RUNS.c.run_id).where(IS_REGISTERED, RUNS.c.first_seen < before).limit(most)
    deleted = await database.run(
        delete(RUNS).where(RUNS.c.run_id.in_(old)), delete(RUNS).where(RUNS.c.run_id.in_(stale))
    )
    for some in batched(list(servers), _TOGETHER):
        # In parts: what happens meanwhile waits to be written.
        deleted += await database.run(*(_beyond_reach(server) for server in some))
    return deleted


def _beyond_reach(server: str) -> Delete:
    """Entries that no history can have any more."""
    beyond = (
        select(ENTRIES.c.seq)
        .where(ENTRIES.c.server == server)
        .order_by(ENTRIES.c.seq.desc())
        .limit(1)
        .offset(MAX_KNOWN)
        .scalar_subquery()
    )
    return delete(ENTRIES).where(ENTRIES.c.server == server, ENTRIES.c.seq <= beyond)
