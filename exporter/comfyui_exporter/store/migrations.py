"""From whatever version a store has to the newest one, or a clear refusal."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Connection, inspect, select, update

from comfyui_exporter.store.errors import StoreRefusedError
from comfyui_exporter.store.schema import STORE, metadata

VERSION = 1

Migration = Callable[[Connection], None]

MIGRATIONS: Mapping[int, Migration] = {}
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
