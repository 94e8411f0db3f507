"""Counters follow commits, and what is counted once is never counted again."""

from __future__ import annotations

import pytest

from comfyui_exporter.store.errors import BadRowsError, StoreAwayError
from comfyui_exporter.tracker.observations import Restarted, Tick
from store.exporter import ended, entry, item, listed, submitted


async def with_one_job_done(exporters, url):
    exporter = await exporters(url)
    exporter.look()
    exporter.queue(item("a"))
    exporter.ends(entry("a"))
    return exporter


def refuse(exporter, error, times=1, after=False):
    """Let writes fail, before or after they are done."""
    plain, left = exporter.database.write, [times]

    async def write(batch, **options):
        if left[0]:
            left[0] -= 1
            if after:
                await plain(batch, **options)
            raise error
        return await plain(batch, **options)

    exporter.database.write = write


async def test_counters_show_nothing_before_the_commit_and_everything_after_it(url, exporters):
    exporter = await with_one_job_done(exporters, url)
    assert exporter.total("comfyui_jobs_total") is None
    assert await exporter.commit()
    assert exporter.counted() == {"submitted": 1, "completed": 1}
    assert exporter.total("comfyui_job_duration_seconds_count") == 1
    assert exporter.total("comfyui_job_duration_seconds_sum") == 2.0


async def test_a_failing_commit_shows_nothing_and_the_next_one_everything_once(url, exporters):
    exporter = await with_one_job_done(exporters, url)
    refuse(exporter, StoreAwayError("away"), times=2)
    assert not await exporter.commit()
    exporter.ends(entry("b", 1, 5_000))
    assert not await exporter.commit()
    assert exporter.total("comfyui_jobs_total") is None
    assert exporter.degraded() == 1
    assert exporter.total("comfyui_exporter_store_errors_total") == 2
    assert exporter.total("comfyui_exporter_store_buffered_jobs") == 2
    assert await exporter.commit()
    assert exporter.counted() == {"submitted": 2, "completed": 2}
    assert exporter.degraded() == 0
    assert exporter.total("comfyui_exporter_store_buffered_jobs") == 0


async def test_a_commit_of_which_nobody_knows_whether_it_was_done_is_done_again_without_doubling(url, exporters):
    exporter = await with_one_job_done(exporters, url)
    refuse(exporter, StoreAwayError("the connection broke"), times=2, after=True)
    for _ in range(2):
        assert not await exporter.commit()
        assert exporter.total("comfyui_jobs_total") is None
    assert await exporter.commit()
    assert exporter.counted() == {"submitted": 1, "completed": 1}
    await exporter.crash()
    again = await exporter.next(url)
    assert again.counted() == {"submitted": 1, "completed": 1}
    assert [prompt_id for _, prompt_id, _ in await again.jobs()] == ["a"]
    await again.close()


async def test_an_exporter_that_dies_before_it_knows_that_its_commit_was_done_doubles_nothing(url, exporters):
    exporter = await with_one_job_done(exporters, url)
    refuse(exporter, StoreAwayError("the connection broke"), after=True)
    await exporter.commit()
    await exporter.crash()
    again = await exporter.next(url)
    again.ends(entry("a"))
    await again.commit()
    assert again.counted() == {"submitted": 1, "completed": 1}
    await again.close()


async def test_what_was_not_committed_is_counted_by_the_next_exporter(url, exporters):
    exporter = await exporters(url)
    exporter.look()
    exporter.queue(item("a"), pending=[item("b", 1)])
    await exporter.commit()
    exporter.ends(entry("a"), entry("c", 2, 9_000))
    await exporter.crash()
    again = await exporter.next(url)
    assert again.counted() == {"submitted": 2}
    again.ends(entry("a"), entry("c", 2, 9_000))
    again.queue(item("b", 1))
    await again.commit()
    assert again.counted() == {"submitted": 3, "completed": 2}
    await again.close()


async def test_values_never_fall_whatever_fails_and_whoever_dies(url, exporters):
    exporter, shown = await exporters(url), 0
    exporter.look()
    for number in range(12):
        exporter.ends(entry(f"job{number}", number, 1_000 + number))
        if number % 3 == 1:
            refuse(exporter, StoreAwayError("away"), after=number % 2 == 1)
        await exporter.commit()
        now = exporter.total("comfyui_jobs_total") or 0
        assert shown <= now <= number + 1
        shown = now
        if number % 4 == 3:
            await exporter.crash()
            exporter = await exporter.next(url)
            assert exporter.total("comfyui_jobs_total") >= shown
            exporter.ends(*(entry(f"job{n}", n, 1_000 + n) for n in range(number + 1)))
    await exporter.commit()
    assert exporter.counted() == {"submitted": 12, "completed": 12}
    await exporter.close()


async def test_ends_while_nobody_watched_are_counted_once(url, exporters):
    exporter = await exporters(url)
    exporter.look(entry("before", 0, 500))
    exporter.queue(item("a", 1))
    await exporter.commit()
    await exporter.crash()
    for _ in range(3):
        exporter = await exporter.next(url)
        exporter.ends(entry("before", 0, 500), entry("a", 1), entry("quick", 2, 4_000))
        await exporter.commit()
        assert exporter.counted() == {"submitted": 2, "completed": 2}
        await exporter.crash()


async def test_an_id_that_is_used_again_is_a_second_run_before_and_after_a_restart(url, exporters):
    exporter = await exporters(url)
    exporter.look()
    exporter.ends(entry("same", 0, 1_000), entry("same", 1, 5_000))
    await exporter.commit()
    await exporter.crash()
    exporter = await exporter.next(url)
    exporter.ends(entry("same", 0, 1_000), entry("same", 1, 5_000), entry("same", 2, 9_000), entry("same", 2, 11_000))
    await exporter.commit()
    assert exporter.counted() == {"submitted": 4, "completed": 4}
    await exporter.close()


async def test_a_restart_of_comfyui_while_nobody_watched_is_one_and_loses_what_was_open(url, exporters):
    exporter = await exporters(url)
    exporter.look(entry("before", 0, 500))
    exporter.queue(item("runs", 1), pending=[item("waits", 2)])
    await exporter.commit()
    await exporter.crash()
    exporter = await exporter.next(url)
    exporter.tell(Restarted(exporter.time.now()))
    exporter.queue(item("runs", 1))  # numbers begin anew: another job
    exporter.misses("waits")
    exporter.misses("runs")
    await exporter.commit()
    assert exporter.counted() == {"submitted": 3, "lost": 2}
    assert exporter.total("comfyui_restarts_total") == 1
    await exporter.crash()
    exporter = await exporter.next(url)
    assert exporter.total("comfyui_restarts_total") == 1
    assert list(exporter.open_runs()) == ["runs"]
    assert ended(exporter.ends(entry("runs", 1, 7_000))) == [("runs", "completed")]
    await exporter.close()


@pytest.mark.parametrize(("running", "state"), [(True, "lost"), (False, "cancelled")])
async def test_a_job_that_vanished_and_turns_up_after_all_is_not_counted_again(url, exporters, running, state):
    exporter = await exporters(url)
    exporter.look()
    exporter.queue(*([item("a")] if running else [item("b", 1)]), pending=[] if running else [item("a")])
    exporter.queue(*([] if running else [item("b", 1)]))
    assert ended(exporter.misses("a")) == [("a", state)]
    await exporter.commit()
    counted = exporter.counted()
    await exporter.crash()
    exporter = await exporter.next(url)
    assert submitted(exporter.ends(entry("a"))) == []
    await exporter.commit()
    await exporter.crash()
    exporter = await exporter.next(url)
    exporter.ends(entry("a"))
    await exporter.commit()
    assert exporter.counted() == counted
    # What comes under its name once more is another job.
    assert submitted(exporter.ends(entry("a", 0, 9_000))) == ["a"]
    await exporter.close()


async def test_a_job_of_which_only_the_name_is_known_is_counted_when_more_is_whoever_looks(url, exporters):
    exporter = await exporters(url)
    exporter.look()
    assert submitted(exporter.queue(listed("a"), pending=[listed("b", 1)])) == []
    await exporter.commit()
    run_ids = {prompt_id: run.run_id for prompt_id, run in exporter.open_runs().items()}
    assert exporter.counted() == {"submitted": 0}
    assert await exporter.jobs() == []
    await exporter.crash()
    exporter = await exporter.next(url)
    assert {prompt_id: run.run_id for prompt_id, run in exporter.open_runs().items()} == run_ids
    assert submitted(exporter.queue(item("a", job_type="image"), pending=[listed("b", 1)])) == ["a"]
    exporter.ends(entry("a", job_type="image"), entry("b", 1, 5_000))
    await exporter.commit()
    assert exporter.counted() == {"submitted": 2, "completed": 2}
    assert exporter.total("comfyui_jobs_submitted_total", job_type="image") == 1
    await exporter.close()


async def test_twins_are_continued_by_number(url, exporters):
    exporter = await exporters(url)
    exporter.look()
    exporter.queue(item("same"), pending=[item("same"), item("same")])
    await exporter.commit()
    await exporter.crash()
    exporter = await exporter.next(url)
    assert submitted(exporter.queue(item("same"), pending=[item("same"), item("same"), item("same")])) == ["same"]
    exporter.ends(*(entry("same", 0, 1_000 * n) for n in range(1, 5)))
    await exporter.commit()
    assert exporter.counted() == {"submitted": 4, "completed": 4}
    await exporter.close()


async def test_one_row_that_is_refused_costs_neither_other_rows_nor_any_count(url, exporters):
    exporter = await exporters(url)
    exporter.look()
    exporter.queue(item("good"), pending=[item("bad", 1), item("fine", 2)])
    plain = exporter.log._rows.row

    def row(server, run, seq):
        made = dict(plain(server, run, seq))
        return made | {"status": None} if run.prompt_id == "bad" else made

    exporter.log._rows.row = row
    assert await exporter.commit()
    assert exporter.counted() == {"submitted": 3}
    assert exporter.total("comfyui_exporter_store_errors_total") == 1
    assert [prompt_id for _, prompt_id, _ in await exporter.jobs()] == ["fine", "good"]
    await exporter.crash()
    exporter = await exporter.next(url)
    assert exporter.counted() == {"submitted": 3}
    await exporter.close()


async def test_rows_that_are_tried_one_by_one_are_still_written_all_or_none(url, exporters):
    exporter = await with_one_job_done(exporters, url)
    refuse(exporter, BadRowsError("no"))
    plain = exporter.database._upsert

    async def upsert(connection, table, rows, keep=()):
        if table.name == "comfyui_totals":
            raise StoreAwayError("away")
        await plain(connection, table, rows, keep)

    exporter.database._upsert = upsert
    assert not await exporter.commit()
    await exporter.crash()
    exporter = await exporter.next(url)
    assert await exporter.jobs() == []
    await exporter.close()


async def test_an_open_run_whose_end_was_dropped_while_the_store_was_away_does_not_end_again(
    url, exporters, monkeypatch
):
    monkeypatch.setattr("comfyui_exporter.store.log.MOST_ROWS", 2)
    exporter = await exporters(url)
    exporter.look()
    exporter.queue(item("a"), pending=[item("waits", 99)])
    await exporter.commit()
    exporter.ends(entry("a"))
    exporter.ends(*(entry(f"job{n}", n, 10_000 * n) for n in range(1, 6)))
    refuse(exporter, StoreAwayError("away"))
    assert not await exporter.commit()
    assert exporter.total("comfyui_exporter_store_buffered_jobs") == 2
    assert await exporter.commit()
    counted = exporter.counted()
    assert counted == {"submitted": 7, "completed": 6}
    assert [prompt_id for _, prompt_id, _ in await exporter.jobs()] == ["job5", "waits"]
    await exporter.crash()
    exporter = await exporter.next(url)
    assert list(exporter.open_runs()) == ["waits"]
    exporter.queue(item("waits", 99))
    exporter.misses("a")
    exporter.tell(Tick(exporter.time.now()))
    await exporter.commit()
    assert exporter.counted() == counted
    await exporter.close()
