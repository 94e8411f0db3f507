"""What an exporter knows is known to the one that is started after it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfyui_exporter.jobs.update import ProgressStatus
from comfyui_exporter.store.errors import StoreAwayError, StoreRefusedError
from comfyui_exporter.tracker.observations import ExecutionBegan, NodeHeard, NodesHeard, NodeState, Tick
from comfyui_exporter.tracker.progress import Progress
from store.exporter import Exporter, entry, item

KEPT = ("run_id", "prompt_id", "number", "state", "epoch", "detailed", "submission_seen", "seen_running", "start_seen",
        "predicted", "timed_out", "details")  # fmt: skip


def kept(run, exporter):
    wall = exporter.time.wall
    moments = [None if at is None else round(wall(at), 6) for at in (run.first_seen, run.started_at, run.heard_at)]
    # Which servers it was registered for is of no interest once one has it.
    registration = None if run.registration is None else replace(run.registration, server=None, run_id="")
    return [getattr(run, name) for name in KEPT], registration, moments


async def test_open_runs_go_on_as_what_they_were(url, exporters):
    exporter = await exporters(url, job_labels=("project",))
    exporter.look()
    exporter.queue(pending=[item("b", 1, labels=("p2",))])
    exporter.monitor.register(
        job_id=7, prompt_id="b", job_type="video", batch_id="night", webhook_url="https://x/?key=1"
    )
    exporter.time.unix += 5
    exporter.queue(item("a", job_id="7", labels=("p1",)), pending=[item("b", 1, labels=("p2",))])
    at = exporter.time.now()
    exporter.tell(ExecutionBegan(at, "a"), NodesHeard(at, "a", (NodeHeard("1", NodeState.RUNNING, 3, 10),)))
    await exporter.commit()
    before = {name: kept(run, exporter) for name, run in exporter.open_runs().items()}
    updates = {update.run_id: update for update in exporter.board.jobs}
    await exporter.crash()
    again = await exporter.next(url, job_labels=("project",))
    assert {name: kept(run, again) for name, run in again.open_runs().items()} == before
    for update in again.board.jobs:
        then = updates.pop(update.run_id)
        assert update.progress_percent >= then.progress_percent
        assert (update.job_id, update.status, update.labels) == (then.job_id, then.status, then.labels)
        assert (update.submitted_at, update.started_at) == (then.submitted_at, then.started_at)
    assert not updates
    run_ids = {name: run.run_id for name, run in again.open_runs().items()}
    again.queue(item("a", job_id="7", labels=("p1",)), pending=[item("b", 1, labels=("p2",))])
    again.ends(entry("a", labels=("p1",)), entry("b", 1, 5_000, labels=("p2",)))
    assert {change.run.prompt_id: change.run.run_id for change in again.changes if hasattr(change, "run")} == run_ids
    await again.close()


async def test_progress_never_falls_behind_what_was_kept(url, exporters):
    exporter = await exporters(url)
    exporter.look()
    exporter.queue(item("a"))
    run = exporter.open_runs()["a"]
    exporter.tracker()._roster.put(replace(run, progress=Progress(42.0)))
    await exporter.commit()
    await exporter.crash()
    again = await exporter.next(url)
    assert again.board.find(prompt_id="a").progress_percent == 42.0
    again.queue(item("a"))
    again.tell(Tick(again.time.now()))
    assert again.board.find(prompt_id="a").progress_percent >= 42.0
    await again.close()


# The first look


async def test_what_ended_before_the_first_look_is_not_counted_by_any_exporter(url, exporters):
    exporter = await exporters(url)
    exporter.look(entry("old", 0, 1_000))
    await exporter.commit()
    await exporter.crash()
    again = await exporter.next(url)
    assert again.tracker().mark.newest == ("old", 0.0, 1_000)
    again.ends(entry("older", 3, 500), entry("old", 0, 1_000), entry("new", 1, 5_000))
    await again.commit()
    assert again.counted() == {"submitted": 1, "completed": 1}
    await again.close()


async def test_a_first_look_that_was_not_committed_is_looked_anew(url, exporters):
    exporter = await exporters(url)
    exporter.look(entry("old", 0, 1_000))
    exporter.queue(item("a", 1))
    await exporter.crash()
    again = await exporter.next(url)
    assert again.tracker().mark is None
    again.look(entry("a", 1, 3_000))
    again.queue(item("b", 2))
    await again.commit()
    assert again.counted() == {"submitted": 1}
    await again.close()


# Registered jobs


async def test_a_registration_waits_on_and_is_claimed_with_its_run_id(url, exporters):
    exporter = await exporters(url)
    exporter.look()
    made = exporter.monitor.register(job_id=5, prompt_id="p", job_type="video", batch_id="b", webhook_url="https://x/")
    await exporter.commit()
    await exporter.crash()
    again = await exporter.next(url)
    shown = again.board.find(job_id="5")
    assert (shown.run_id, shown.status, shown.job_type) == (made.run_id, ProgressStatus.INITIALIZING, "video")
    assert again.board.webhook_of(made.run_id) == "https://x/"
    again.queue(item("p", job_id="other"))
    run = again.open_runs()["p"]
    assert (run.run_id, run.details.job_id, run.registration) == (made.run_id, 5, made)
    again.ends(entry("p"))
    await again.commit()
    assert [(name, status) for _, name, status in await again.jobs()] == [("p", "completed")]
    await again.crash()
    last = await again.next(url)
    assert (await last.monitor.history.find(job_id="5")).status is ProgressStatus.COMPLETED
    last.queue(item("p", 1))
    assert last.open_runs()["p"].run_id != made.run_id
    await last.close()


async def test_one_that_was_reported_missing_is_not_reported_again(url, exporters):
    exporter = await exporters(url)
    exporter.look()
    made = exporter.monitor.register(job_id=5, prompt_id="p")
    exporter.monitor._show_registered(made, exporter.time.now(), ProgressStatus.TIMEOUT)
    await exporter.commit()
    await exporter.crash()
    again = await exporter.next(url)
    assert again.board.find(job_id="5").status is ProgressStatus.TIMEOUT
    told = []
    for _ in range(40):
        again.time.unix += 50
        told += again.monitor._registrations.seen("gpu0", up=True, at=again.time.now())
    assert told == []
    again.queue(item("p"))
    assert again.open_runs()["p"].run_id == made.run_id
    await again.close()


async def test_one_that_was_replaced_is_gone(url, exporters):
    exporter = await exporters(url)
    exporter.look()
    exporter.monitor.register(job_id=1, prompt_id="p")
    await exporter.commit()
    made = exporter.monitor.register(job_id=2, prompt_id="p")
    await exporter.commit()
    await exporter.crash()
    again = await exporter.next(url)
    assert [update.run_id for update in again.board.jobs] == [made.run_id]
    assert [(name, status) for _, name, status in await again.jobs()] == [("p", "initializing")]
    await again.close()


async def test_what_a_program_registers_anew_before_it_starts_is_the_same_job(url, exporters):
    def register(exporter):
        for prompt_id in ("open", "unseen", "ended"):
            exporter.monitor.register(job_id=prompt_id, prompt_id=prompt_id)

    exporter = await exporters(url)
    exporter.look()
    register(exporter)
    exporter.queue(item("open"))
    exporter.ends(entry("ended", 1))
    await exporter.commit()
    await exporter.crash()
    again = Exporter(url)
    register(again)
    await again.open()
    await again.commit()
    shown = [("ended", "completed"), ("open", "processing"), ("unseen", "initializing")]
    assert sorted((update.comfyui_prompt_id, update.status.value) for update in again.board.jobs) == shown
    assert sorted((name, status) for _, name, status in await again.jobs()) == shown
    await again.close()


# Jobs of the past


async def test_pages_are_complete_and_without_doubles_while_jobs_come_and_over_a_restart(url, exporters):
    exporter = await exporters(url, keep_finished=60.0)
    exporter.look()
    names = [f"job{n}" for n in range(20)]
    for number, name in enumerate(names):
        exporter.ends(entry(name, number, 1_000 * (number + 1)))
        await exporter.commit()
    found, before = [], None
    for page in range(10):
        jobs = await exporter.jobs(limit=3, before=before)
        if not jobs:
            break
        found += [name for _, name, _ in jobs]
        before = jobs[-1][0]
        exporter.ends(entry(f"new{page}", 100 + page, 90_000 + page))
        if page == 2:
            await exporter.commit()
            await exporter.crash()
            exporter = await exporter.next(url, keep_finished=60.0)
    assert found == names[::-1]
    await exporter.close()


async def test_jobs_that_left_memory_are_found_by_both_ids_with_filters_and_in_their_batch(url, exporters):
    exporter = await exporters(url)
    exporter.look()
    exporter.ends(
        entry("one", 0, 1_000, job_id=5, job_type="image", batch_id="b"),
        entry("two", 1, 5_000, job_id="5", job_type="video", outcome="failed", batch_id="b"),
    )
    exporter.queue(item("open", 2, batch_id="c"))
    await exporter.commit()
    await exporter.crash()
    exporter.time.unix += 10_000
    again = await exporter.next(url)
    assert [update.comfyui_prompt_id for update in again.board.jobs] == ["open"]
    find = again.monitor.history.find
    assert (await find(prompt_id="one")).job_id == 5
    assert (await find(job_id="5")).comfyui_prompt_id == "two"
    assert await find(job_id="6") is None
    batch = await again.monitor.history.batch("b")
    assert (batch.total, dict(batch.counts)) == (2, {ProgressStatus.COMPLETED: 1, ProgressStatus.FAILED: 1})
    assert await again.monitor.history.batch("nothing") is None
    for query, names in (
        ({"statuses": frozenset({ProgressStatus.FAILED})}, ["two"]),
        ({"job_types": frozenset({"image", "video"})}, ["two", "one"]),
        ({"servers": frozenset({"elsewhere"})}, []),
        ({"batch_ids": frozenset({"c"})}, ["open"]),
    ):
        assert [name for _, name, _ in await again.jobs(**query)] == names
    await again.close()


async def test_counts_of_one_server_are_nothing_to_another(url, exporters):
    exporter = await exporters(url, servers=("gpu0", "gpu1"))
    exporter.look().look(entry("old"), server="gpu1")
    exporter.queue(item("a"), server="gpu1")
    exporter.ends(entry("a"), server="gpu0")
    await exporter.commit()
    await exporter.crash()
    again = await exporter.next(url)
    assert again.total("comfyui_jobs_total", server="gpu0") == 1
    assert again.total("comfyui_jobs_total", server="gpu1") == 0
    assert (list(again.open_runs("gpu0")), list(again.open_runs("gpu1"))) == ([], ["a"])
    await again.close()


@pytest.mark.parametrize("fails", ["rows", "run"])
async def test_a_store_that_breaks_while_it_is_read_at_the_start_is_refused_and_given_back(
    url, exporters, monkeypatch, fails
):
    exporter = await exporters(url)
    exporter.look()
    exporter.ends(entry("a"))
    await exporter.commit()
    await exporter.close()

    async def broken(_self, *_statements):
        message = "broken"
        raise StoreAwayError(message)

    monkeypatch.setattr(f"comfyui_exporter.store.database.Database.{fails}", broken)
    buckets = {"buckets": {"job_duration": (1.0, 2.0)}}  # so that totals are written anew
    with pytest.raises(StoreRefusedError, match="broken"):
        await exporters(url, **buckets)
    monkeypatch.undo()
    again = await exporters(url)
    assert again.counted() == {"submitted": 1, "completed": 1}
