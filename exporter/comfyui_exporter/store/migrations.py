"""From whatever version a store has to the newest one, or a clear refusal."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Connection, inspect, select, text, update

from comfyui_exporter.store.errors import StoreRefusedError
from comfyui_exporter.store.schema import STORE, metadata

VERSION = 2

Migration = Callable[[Connection], None]


def _find_servers(connection: Connection) -> None:
    """Version 2: what is kept of one server is found without looking at that of all others."""
    # As they were named then, whatever the tables of today are called.
    connection.execute(text("CREATE INDEX comfyui_runs_server ON comfyui_runs (server, state, ended_at)"))
    connection.execute(text("CREATE INDEX comfyui_totals_server ON comfyui_totals (server)"))


MIGRATIONS: Mapping[int, Migration] = {1: _find_servers}
"""By the version that they lead away from. Each runs in the transaction that also raises the version."""


def migrate(
    connection: Connection, writer: str, version: int = VERSION, migrations: Mapping[int, Migration] = MIGRATIONS
) -> None:
    """Make the tables, or bring them to this version, and put our name down as the writer.

    Raises:
        StoreRefusedError: the tables are of a newer exporter, or not ours.
    """
    ours = set(inspect(connection).get_table_names()) & set(metadata.tables)
    if not ours:
        metadata.create_all(connection)
        connection.execute(STORE.insert().values(id=1, version=version, writer=writer))
        return
    found = connection.execute(select(STORE.c.version).where(STORE.c.id == 1)).scalar() if STORE.name in ours else None
    if found is None:
        message = f"it has tables named {', '.join(sorted(ours))}, but no version: they are not this exporter's"
        raise StoreRefusedError(message)
    if found > version:
        message = f"its version is {found}, of a newer exporter; this one knows versions up to {version}"
        raise StoreRefusedError(message)
    while found < version:
        migrations[found](connection)
        found += 1
    connection.execute(update(STORE).where(STORE.c.id == 1).values(version=version, writer=writer))
