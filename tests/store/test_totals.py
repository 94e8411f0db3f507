"""Totals under other label names and buckets than before, what retention leaves alone, and versions of the tables."""

from __future__ import annotations

import pytest
from sqlalchemy import func, inspect, select, text

from comfyui_exporter.store.database import open_database
from comfyui_exporter.store.errors import StoreRefusedError
from comfyui_exporter.store.migrations import MIGRATIONS, VERSION, migrate
from comfyui_exporter.store.retention import retain
from comfyui_exporter.store.schema import ENTRIES, RUNS, STORE, TOTALS, metadata
from store.exporter import NOON, entry, item


async def test_a_label_that_is_gone_is_summed_over_and_one_that_is_new_is_empty_and_nothing_doubles(url, exporters):
    exporter = await exporters(url, job_labels=("project",))
    exporter.look()
    exporter.ends(entry("a", 0, 1_000, labels=("x",)), entry("b", 1, 5_000, labels=("y",)))
    await exporter.commit()
    assert exporter.total("comfyui_jobs_total", project="x") == 1
    for job_labels in ((), ("tenant",), ("tenant", "project"), (), ("project",)):
        await exporter.crash()
        exporter = await exporter.next(url, job_labels=job_labels)
        assert exporter.counted() == {"submitted": 2, "completed": 2}
        assert exporter.total("comfyui_job_duration_seconds_count") == 2
    assert exporter.total("comfyui_jobs_total", project="", status="completed") == 2
    exporter.ends(entry("c", 2, 9_000, labels=("x",)))
    await exporter.commit()
    await exporter.crash()
    exporter = await exporter.next(url, job_labels=("project",))
    assert exporter.counted() == {"submitted": 3, "completed": 3}
    await exporter.close()


async def test_other_buckets_begin_anew_and_stay_so_while_counters_go_on(url, exporters):
    exporter = await exporters(url)
    exporter.look()
    exporter.ends(entry("a"))
    await exporter.commit()
    await exporter.crash()
    buckets = {"job_duration": (1.0, 100.0)}
    exporter = await exporter.next(url, buckets=buckets)
    assert exporter.total("comfyui_job_duration_seconds_count") == 0
    exporter.ends(entry("b", 1, 5_000))
    await exporter.commit()
    assert exporter.total("comfyui_job_duration_seconds_bucket", le="100.0") == 1
    await exporter.crash()
    exporter = await exporter.next(url, buckets=buckets)
    assert exporter.total("comfyui_job_duration_seconds_bucket", le="100.0") == 1
    assert exporter.total("comfyui_job_duration_seconds_sum") == 2.0
    assert exporter.counted() == {"submitted": 2, "completed": 2}
    await exporter.close()


async def test_more_series_than_a_statement_takes_values_are_put_under_other_labels(url, exporters):
    wide = {"limits": {"label_values": 10_000, "family_series": 10_000}}
    exporter = await exporters(url, job_labels=("project",), **wide)
    exporter.look()
    exporter.ends(*(entry(f"j{n}", n, 1_000 * (n + 1), labels=(f"p{n}",)) for n in range(1_200)))
    await exporter.commit()
    await exporter.crash()
    exporter = await exporter.next(url, job_labels=("project", "tenant"), **wide)
    assert exporter.counted() == {"submitted": 1_200, "completed": 1_200}
    await exporter.close()


async def test_what_was_folded_into_other_stays_so(url, exporters):
    few = {"limits": {"label_values": 2}}
    exporter = await exporters(url, **few)
    exporter.look()
    exporter.ends(*(entry(f"j{n}", n, 1_000 * (n + 1), job_type=f"type{n}") for n in range(6)))
    await exporter.commit()
    shown = exporter.scrape()
    await exporter.crash()
    exporter = await exporter.next(url, **few)
    again = exporter.scrape()
    assert {key: value for key, value in shown.items() if key[0].startswith("comfyui_jobs_")} == {
        key: value for key, value in again.items() if key[0].startswith("comfyui_jobs_")
    }
    await exporter.close()


# Retention


async def kept(exporter):
    return sorted(row["prompt_id"] for row in await exporter.database.rows(select(RUNS.c.prompt_id)))


async def test_rows_go_when_their_end_is_old_enough_and_open_ones_and_totals_never(url, exporters):
    exporter = await exporters(url)
    exporter.look()
    exporter.queue(item("open", 9))
    exporter.ends(entry("old"))
    exporter.monitor.register(job_id=1, prompt_id="never seen")
    exporter.time.unix += 100
    exporter.ends(entry("young", 1, 5_000))
    exporter.monitor.register(job_id=2, prompt_id="just registered")
    await exporter.commit()
    assert await retain(exporter.database, NOON, ("gpu0",)) == 0
    assert len(await kept(exporter)) == 5
    exporter.ends(entry("meanwhile", 2, 9_000))
    assert await retain(exporter.database, NOON + 50, ("gpu0",)) == 2
    assert await retain(exporter.database, NOON + 50, ("gpu0",)) == 0
    await exporter.commit()
    assert await kept(exporter) == ["just registered", "meanwhile", "open", "young"]
    await exporter.crash()
    exporter = await exporter.next(url)
    assert exporter.counted() == {"submitted": 4, "completed": 3}
    exporter.ends(entry("old"))  # still in the history, and known although its row is gone
    await exporter.commit()
    assert exporter.counted() == {"submitted": 4, "completed": 3}
    await exporter.close()


async def test_rows_go_a_part_at_a_time(url, exporters):
    exporter = await exporters(url)
    exporter.look()
    exporter.ends(*(entry(f"j{n}", n, 1_000 * (n + 1)) for n in range(10)))
    await exporter.commit()
    assert [await retain(exporter.database, NOON + 1, (), most=4) for _ in range(4)] == [4, 4, 2, 0]


async def test_entries_that_no_history_can_have_any_more_go(url, exporters, monkeypatch):
    monkeypatch.setattr("comfyui_exporter.store.retention.MAX_KNOWN", 3)
    exporter = await exporters(url, servers=("gpu0", "gpu1"))
    exporter.look().look(server="gpu1")
    exporter.ends(*(entry(f"j{n}", n, 1_000 * (n + 1)) for n in range(8)))
    exporter.ends(entry("other"), server="gpu1")
    await exporter.commit()
    assert await retain(exporter.database, 0.0, ("gpu0", "gpu1")) == 5
    assert await retain(exporter.database, 0.0, ("gpu0", "gpu1")) == 0
    rows = await exporter.database.rows(select(ENTRIES.c.prompt_id).order_by(ENTRIES.c.seq))
    assert [row["prompt_id"] for row in rows] == ["j5", "j6", "j7", "other"]


# Versions


def _tables(connection):
    found = inspect(connection)
    return {
        table: ([(column["name"], str(column["type"]), column["nullable"]) for column in found.get_columns(table)],
                sorted(str(index["name"]) for index in found.get_indexes(table)))
        for table in sorted(found.get_table_names())
    }  # fmt: skip


async def tables(url):
    """As they are, read by nobody in particular."""
    database = await open_database(url)
    async with database.engine.connect() as connection:
        found = await connection.run_sync(_tables)
    version = (await database.rows(select(STORE.c.version)))[0]["version"]
    await database.close()
    return version, found


def _add_column(connection):
    connection.execute(text("ALTER TABLE comfyui_runs ADD COLUMN extra INTEGER"))


def _fail(connection):
    connection.execute(text("CREATE TABLE comfyui_extra (id INTEGER)"))
    message = "this migration fails"
    raise RuntimeError(message)


def newer(monkeypatch, *steps):
    def migrate_further(connection, writer):
        migrations = MIGRATIONS | dict(enumerate(steps, start=VERSION))
        migrate(connection, writer, VERSION + len(steps), migrations)

    monkeypatch.setattr("comfyui_exporter.store.database.migrate", migrate_further)


async def test_a_store_becomes_one_of_the_next_version_with_all_that_it_holds(url, exporters, monkeypatch):
    exporter = await exporters(url)
    exporter.look()
    exporter.ends(entry("a"))
    await exporter.commit()
    await exporter.crash()
    with monkeypatch.context() as patch:
        newer(patch, _add_column)
        for _ in range(2):
            version, found = await tables(url)
            assert version == VERSION + 1
            assert "extra" in [name for name, _, _ in found["comfyui_runs"][0]]
        exporter = await exporter.next(url)
        assert exporter.counted() == {"submitted": 1, "completed": 1}
        await exporter.close()
    with pytest.raises(StoreRefusedError, match=f"its version is {VERSION + 1}, of a newer exporter"):
        await open_database(url)


OF_VERSION_2 = ("comfyui_runs_server", "comfyui_totals_server")


async def test_a_store_of_version_1_is_given_the_indexes_of_version_2_and_keeps_all_that_it_holds(url, exporters):
    exporter = await exporters(url)
    exporter.look()
    exporter.queue(item("open", 1))
    exporter.ends(entry("a"))
    await exporter.commit()
    await exporter.database.run(*(text(f"DROP INDEX {name}") for name in OF_VERSION_2))
    await exporter.database.run(text("UPDATE comfyui_store SET version = 1"))
    await exporter.crash()
    again = await exporter.next(url)
    assert again.counted() == {"submitted": 2, "completed": 1}
    assert list(again.open_runs()) == ["open"]
    await again.close()
    version, found = await tables(url)
    assert version == VERSION
    assert set(OF_VERSION_2) <= {name for _, indexes in found.values() for name in indexes}


async def test_a_migration_that_fails_leaves_the_store_as_it_was(url, exporters, monkeypatch):
    exporter = await exporters(url)
    exporter.look()
    exporter.ends(entry("a"))
    await exporter.commit()
    await exporter.crash()
    before = await tables(url)
    with monkeypatch.context() as patch:
        newer(patch, _add_column, _fail)
        with pytest.raises(StoreRefusedError, match="this migration fails"):
            await open_database(url)
    assert await tables(url) == before
    exporter = await exporter.next(url)
    assert exporter.counted() == {"submitted": 1, "completed": 1}
    await exporter.close()


async def test_a_new_store_has_the_tables_that_the_schema_says(url):
    version, found = await tables(url)
    assert version == VERSION
    assert {name: [column for column, _, _ in columns] for name, (columns, _) in found.items()} == {
        name: [column.name for column in table.columns] for name, table in metadata.tables.items()
    }
    for name, table in metadata.tables.items():
        assert {str(index.name) for index in table.indexes} <= set(found[name][1])


async def test_nothing_is_kept_twice_for_one_series(url, exporters):
    exporter = await exporters(url)
    exporter.look()
    for number in range(3):
        exporter.ends(entry(f"j{number}", number, 1_000 * (number + 1)))
        await exporter.commit()
    rows = await exporter.database.rows(
        select(func.count().label("rows"))
        .select_from(TOTALS)
        .group_by(TOTALS.c.server, TOTALS.c.family, TOTALS.c.labels)
    )
    assert {row["rows"] for row in rows} == {1}
