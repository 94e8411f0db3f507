"""A store that goes away, fills up, is locked or taken over: what happened waits, and is written once."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing

import pytest
from sqlalchemy import text

from comfyui_exporter.jobs.history import NotNowError
from comfyui_exporter.jobs.update import ProgressStatus
from comfyui_exporter.store.errors import StoreAwayError, StoreRefusedError
from store.exporter import entry, item

PATIENCE = 20.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Nobody waits for long for what a test does not give."""
    monkeypatch.setattr("comfyui_exporter.store.sqlite._BUSY_SECONDS", 0.05)
    monkeypatch.setattr("comfyui_exporter.store.postgres._LOCK_TRIES", 2)
    monkeypatch.setattr("comfyui_exporter.store.postgres._LOCK_PAUSE", 0.05)


@pytest.fixture
def away(url, request, tmp_path):
    """Takes the store away and gives it back."""
    return _Locked(tmp_path / "jobs.db") if url.startswith("sqlite") else _Stopped(request.getfixturevalue("postgres"))


class _Locked:
    def __init__(self, path):
        self._path = path

    def begin(self):
        self._stranger = sqlite3.connect(self._path, isolation_level=None)
        self._stranger.execute("BEGIN EXCLUSIVE")

    def end(self):
        self._stranger.close()


class _Stopped:
    def __init__(self, server):
        self.begin, self.end = server.stop, server.start


async def one_committed_job(exporters, url):
    exporter = await exporters(url)
    exporter.look()
    exporter.queue(item("a"))
    exporter.ends(entry("a"))
    assert await exporter.commit()
    return exporter


async def test_job_counters_stand_still_while_the_store_is_away_and_catch_up_once_it_is_back(url, exporters, away):
    exporter = await one_committed_job(exporters, url)
    away.begin()
    exporter.ends(entry("b", 1, 5_000))
    for tries in (1, 2):
        assert not await exporter.commit()
        assert exporter.counted() == {"submitted": 1, "completed": 1}
        assert exporter.degraded() == 1
        assert exporter.total("comfyui_exporter_store_errors_total") == tries
        assert exporter.total("comfyui_exporter_store_buffered_jobs") == 1
    exporter.ends(entry("c", 2, 9_000))
    assert not await exporter.commit()
    assert exporter.total("comfyui_exporter_store_buffered_jobs") == 2
    away.end()
    assert await exporter.commit()
    assert exporter.counted() == {"submitted": 3, "completed": 3}
    assert exporter.degraded() == exporter.total("comfyui_exporter_store_buffered_jobs") == 0
    await exporter.crash()
    exporter = await exporter.next(url)
    assert exporter.counted() == {"submitted": 3, "completed": 3}
    assert [name for _, name, _ in await exporter.jobs()] == ["c", "b", "a"]
    await exporter.close()


async def test_the_board_helps_out_with_what_it_has_while_the_store_is_away(url, exporters, away, monkeypatch):
    exporter = await one_committed_job(exporters, url)
    exporter.ends(*(entry(f"job{n}", n, 5_000 * n) for n in range(1, 4)))
    await exporter.commit()
    if url.startswith("sqlite"):  # readers don't mind a writer
        monkeypatch.setattr(exporter.database, "rows", _nothing)
    away.begin()
    exporter.ends(entry("new", 9, 90_000))
    page = await exporter.jobs(limit=2)
    assert [name for _, name, _ in page] == ["new", "job3"]
    done = frozenset({ProgressStatus.QUEUED})
    assert await exporter.jobs(statuses=done) == []
    history = exporter.monitor.history
    for elsewhere in (
        exporter.jobs(before=page[-1][0]),
        exporter.jobs(before=3),
        history.find(prompt_id="unknown"),
        history.batch("b"),
    ):
        with pytest.raises(NotNowError):
            await elsewhere
    assert (await history.find(prompt_id="new")).comfyui_prompt_id == "new"
    away.end()
    monkeypatch.undo()
    with pytest.raises(NotNowError, match="begin again"):
        await exporter.jobs(before=page[-1][0])
    assert len(await exporter.jobs()) == 5


async def _nothing(_statement):
    message = "away"
    raise StoreAwayError(message)


async def test_closing_with_the_store_away_ends_within_its_patience(url, exporters, away):
    exporter = await one_committed_job(exporters, url)
    exporter.ends(entry("b", 1, 5_000))
    away.begin()
    began = time.monotonic()
    async with asyncio.timeout(PATIENCE):
        await exporter.close()
    assert time.monotonic() - began < PATIENCE / 2
    away.end()
    exporter = await exporters(url)
    exporter.ends(entry("a"), entry("b", 1, 5_000))
    await exporter.commit()
    assert exporter.counted() == {"submitted": 2, "completed": 2}


async def test_closing_commits_what_waits(url, exporters):
    exporter = await one_committed_job(exporters, url)
    exporter.ends(entry("b", 1, 5_000))
    await exporter.close()
    exporter = await exporters(url)
    assert exporter.counted() == {"submitted": 2, "completed": 2}


async def test_who_waits_for_a_commit_is_told_of_it_however_often_it_fails(url, exporters, away):
    exporter = await one_committed_job(exporters, url)
    del exporter.log.committed
    away.begin()
    exporter.ends(entry("b", 1, 5_000))
    waiting = asyncio.create_task(exporter.log.committed())
    await asyncio.sleep(0)
    assert not await exporter.commit()
    assert not waiting.done()
    away.end()
    await exporter.database._connect()
    cut_off = asyncio.create_task(exporter.commit())
    await asyncio.sleep(0)
    cut_off.cancel()  # as by a stop, in the middle of a commit
    await asyncio.gather(cut_off, return_exceptions=True)
    assert not waiting.done()
    assert await exporter.commit()
    await waiting


# One exporter


async def test_a_second_exporter_is_refused_until_the_first_is_closed(url, exporters):
    first = await one_committed_job(exporters, url)
    with pytest.raises(StoreRefusedError, match="uses it; one store can have one exporter"):
        await exporters(url)
    first.ends(entry("b", 1, 5_000))
    assert await first.commit()
    await first.close()
    second = await exporters(url)
    assert second.counted() == {"submitted": 2, "completed": 2}


async def test_an_exporter_whose_store_was_taken_over_writes_and_counts_nothing_more(url, exporters, request):
    first = await one_committed_job(exporters, url)
    if url.startswith("sqlite"):
        first.database._backend.close()  # somebody removed the lock file
    else:
        request.getfixturevalue("postgres").query(
            url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND datname = current_database()"
        )  # fmt: skip
    second = await exporters(url)
    first.ends(entry("b", 1, 5_000))
    assert not await first.commit()
    second.ends(entry("b", 1, 5_000))
    assert await second.commit()
    await second.crash()
    for _ in range(2):
        first.ends(entry("c", 2, 9_000))
        assert not await first.commit()
    assert first.degraded() == 1
    assert first.counted() == {"submitted": 1, "completed": 1}
    third = await exporters(url)
    assert third.counted() == {"submitted": 2, "completed": 2}
    assert [name for _, name, _ in await third.jobs()] == ["b", "a"]


# SQLite alone


async def test_a_full_disk_is_a_store_that_is_away(tmp_path, exporters):
    exporter = await one_committed_job(exporters, f"sqlite:///{tmp_path / 'jobs.db'}")

    async def bound(pages):
        connection = await exporter.database._connect()
        await connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        await connection.rollback()

    used = (await exporter.database.rows(_pragma("page_count")))[0]["page_count"]
    await bound(used)
    exporter.ends(*(entry(f"job{n}", n, 5_000 * n, outputs=()) for n in range(1, 200)))
    assert not await exporter.commit()
    assert exporter.degraded() == 1
    assert exporter.total("comfyui_exporter_store_buffered_jobs") == 199
    assert exporter.counted() == {"submitted": 1, "completed": 1}
    await bound(1_000_000)
    assert await exporter.commit()
    assert exporter.counted() == {"submitted": 200, "completed": 200}
    assert exporter.degraded() == 0


def _pragma(name):
    return text(f"PRAGMA {name}")


async def test_a_lock_that_is_given_back_in_time_is_no_failure(tmp_path, exporters, monkeypatch):
    monkeypatch.setattr("comfyui_exporter.store.sqlite._BUSY_SECONDS", PATIENCE)
    exporter = await one_committed_job(exporters, f"sqlite:///{tmp_path / 'jobs.db'}")
    exporter.ends(entry("b", 1, 5_000))
    with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as stranger:
        stranger.execute("BEGIN EXCLUSIVE")
        committing = asyncio.create_task(exporter.commit())
        await asyncio.sleep(0)
        stranger.execute("ROLLBACK")
        assert await committing
    assert exporter.total("comfyui_exporter_store_errors_total") == 0
