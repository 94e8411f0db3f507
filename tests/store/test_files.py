"""What the exporter opens as a SQLite store, and what it leaves exactly as it was."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from comfyui_exporter.store.database import open_database
from comfyui_exporter.store.errors import StoreRefusedError
from store.exporter import Exporter, entry, item


async def refusal(path):
    with pytest.raises(StoreRefusedError) as caught:
        await open_database(f"sqlite:///{path}")
    return str(caught.value)


async def made(path):
    exporter = await Exporter(f"sqlite:///{path}").open()
    exporter.look()
    exporter.queue(item("a"))
    exporter.ends(entry("a"))
    await exporter.commit()
    await exporter.close()


def change(path, *statements):
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def test_a_missing_folder_and_an_empty_file_are_fine(tmp_path):
    await made(tmp_path / "not" / "yet" / "jobs.db")
    (tmp_path / "empty.db").touch()
    await made(tmp_path / "empty.db")


@pytest.mark.parametrize("name", ["a ?mode=x#y%20.db", "ü :memory:.db"])
async def test_a_path_may_have_any_characters(tmp_path, name):
    await made(tmp_path / name)
    assert (tmp_path / name).stat().st_size
    again = await Exporter(f"sqlite:///{tmp_path / name}").open()
    assert again.counted() == {"submitted": 1, "completed": 1}
    await again.close()


async def test_a_new_file_is_for_its_owner_alone(tmp_path):
    await made(tmp_path / "jobs.db")
    assert (tmp_path / "jobs.db").stat().st_mode & 0o077 == 0


async def test_a_new_folder_is_for_its_owner_alone(tmp_path):
    await made(tmp_path / "state/jobs.db")
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("content", [b"dear diary\n" * 500, b"SQLite format 3\0" + b"\xff" * 5_000, b"x"])
async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "jobs.db"
    path.write_bytes(content)
    assert "it is damaged, or no SQLite database" in await refusal(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("journal", ["delete", "wal"])
async def test_a_database_of_another_program_is_refused_and_left_as_it_is(tmp_path, journal):
    path = tmp_path / "photos.db"
    change(path, f"PRAGMA journal_mode={journal}", "PRAGMA application_id=7", "CREATE TABLE photos (name)")
    before = path.read_bytes()
    assert await refusal(path) == "it is a database of another program; nothing was changed"
    assert path.read_bytes() == before


async def test_a_folder_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    assert await refusal(tmp_path / "folder") == "Is a directory"


async def test_a_place_where_nothing_can_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    assert await refusal(tmp_path / "file" / "jobs.db") == "Not a directory"
    assert await refusal("/proc/jobs.db") in {"No such file or directory", "Permission denied"}


async def test_a_store_of_a_newer_exporter_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "jobs.db"
    await made(path)
    change(path, "UPDATE comfyui_store SET version = 99")
    before = path.read_bytes()
    assert await refusal(path) == "its version is 99, of a newer exporter; this one knows versions up to 2"
    assert path.read_bytes() == before


async def test_tables_of_our_names_without_a_version_are_refused_and_left_as_they_are(tmp_path):
    path = tmp_path / "jobs.db"
    await made(path)
    change(path, "DELETE FROM comfyui_store")
    before = path.read_bytes()
    assert "but no version: they are not this exporter's" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_file_that_was_damaged_in_the_middle_is_refused_at_the_start(tmp_path):
    path = tmp_path / "jobs.db"
    await made(path)
    content = bytearray(path.read_bytes())
    content[4_096:] = b"\x5a" * (len(content) - 4_096)
    path.write_bytes(content)
    assert "it is damaged" in await refusal(path)
    assert path.read_bytes() == content


async def test_damage_that_is_found_while_reading_is_a_refusal_too_and_gives_the_file_back(tmp_path, monkeypatch):
    monkeypatch.setattr("comfyui_exporter.store.sqlite._CHECKED_WHOLE", 0)
    path = tmp_path / "jobs.db"
    await made(path)
    change(path, "UPDATE comfyui_totals SET bounds = 'nonsense'")
    with pytest.raises(StoreRefusedError, match="what it holds cannot be read"):
        await Exporter(f"sqlite:///{path}").open()
    change(path, "DELETE FROM comfyui_totals")
    exporter = await Exporter(f"sqlite:///{path}").open()
    assert exporter.degraded() == 0
    await exporter.close()


async def test_a_start_that_was_cut_off_while_the_tables_were_made_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "jobs.db"

    def cut_off(connection, writer):
        connection.exec_driver_sql("CREATE TABLE comfyui_runs (run_id TEXT)")
        message = "killed"
        raise RuntimeError(message)

    monkeypatch.setattr("comfyui_exporter.store.database.migrate", cut_off)
    assert await refusal(path) == "killed"
    monkeypatch.undo()
    await made(path)


_HOLDER = """
import asyncio, sys
from comfyui_exporter.store.database import open_database
async def hold():
    database = await open_database(sys.argv[1])
    print("held", flush=True)
    sys.stdin.read()
asyncio.run(hold())
"""


async def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path):
    path = tmp_path / "jobs.db"
    with subprocess.Popen(  # noqa: ASYNC220 - it holds on to the store and nothing waits for it
        [sys.executable, "-c", _HOLDER, f"sqlite:///{path}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert await asyncio.to_thread(holder.stdout.readline) == "held\n"
        said = await refusal(path)
        holder.kill()
        await asyncio.to_thread(holder.wait)
    assert said == f"another exporter (process {holder.pid}) uses it; one store can have one exporter"
    await made(path)


_MEMORY = """
import asyncio, sys
from comfyui_exporter.config.model import Config
from comfyui_exporter.monitor import Monitor
async def run():
    monitor = Monitor(Config())
    await monitor.open()
    monitor.start()
    await monitor.stop()
asyncio.run(run())
print([name for name in sys.modules if name.partition(".")[0] in {"sqlalchemy", "aiosqlite", "asyncpg", "sqlite3"}])
"""


def test_who_keeps_nothing_loads_nothing_of_databases():
    done = subprocess.run([sys.executable, "-c", _MEMORY], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
