"""A run comes back from the store as it was written, whatever submitters put into it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from sqlalchemy import delete, select

from comfyui_exporter.jobs.update import ProgressStatus
from comfyui_exporter.metrics.totals import Total
from comfyui_exporter.store.batch import Batch
from comfyui_exporter.store.database import open_database
from comfyui_exporter.store.marks import entry_row, mark_of, mark_row
from comfyui_exporter.store.restore import Restore
from comfyui_exporter.store.rows import RunRows
from comfyui_exporter.store.schema import RUNS, TOTALS
from comfyui_exporter.store.totals import total_of, total_row
from comfyui_exporter.tracker.memory import Mark
from comfyui_exporter.tracker.observations import Details, Failure, Features, HistoryEntry, Media, Outcome, Output
from comfyui_exporter.tracker.progress import NO_PROGRESS, Progress
from comfyui_exporter.tracker.registration import Registration
from comfyui_exporter.tracker.runs import ENDS, Run, State

AHEAD = 4096.0
"""A power of two: points in time come back to the last bit."""

LABELS = ("project", "tenant")

# What databases and our own escapes may stumble over, and what an index of PostgreSQL has no place for.
LONG = "".join(chr(0x10000 + (place * 7919) % 60_000) for place in range(1_000))
NUL, ESCAPE = "\x00", "\N{REPLACEMENT CHARACTER}\x01"
odd = st.sampled_from(
    ["", "plain", NUL, ESCAPE, f"{ESCAPE}0{NUL}1{ESCAPE}{ESCAPE}", "\N{REPLACEMENT CHARACTER}", "'%s", "\\x"]
)
texts = st.one_of(odd, st.text(st.characters(codec="utf-8"), max_size=3))
prompt_ids = st.one_of(odd, st.just(LONG))
tags = st.one_of(odd, st.just(LONG[:200]))
job_ids = st.one_of(st.none(), st.integers(-(2**53) + 1, 2**53 - 1), tags.filter(bool), st.just("123"))
numbers = st.one_of(st.floats(allow_nan=False), st.integers(-5, 5).map(float))
moments = st.integers(0, 2**33).map(lambda eighths: 1_700_000_000.0 + eighths / 8)
milliseconds = st.one_of(st.none(), st.integers(1, 2**63 - 1))
counts = st.integers(0, 10_000)
features = st.builds(
    Features, fingerprint=st.sampled_from(["", "5d41"]), shape=texts, content=texts, costly=texts, model=texts,
    steps=st.one_of(counts, st.floats(0, 1e12)), pixels=counts, frames=counts, batch=counts,
)  # fmt: skip
details = st.builds(
    Details, job_id=job_ids, job_type=tags, batch_id=st.one_of(st.none(), tags), created_ms=milliseconds,
    labels=st.tuples(tags, tags), features=st.one_of(st.none(), features),
)  # fmt: skip
failures = st.one_of(st.none(), st.builds(Failure, node_id=texts, node_type=texts, exception_type=texts, message=texts))
outputs = st.lists(
    st.builds(Output, node_id=texts, media=st.sampled_from(Media), filename=texts, subfolder=texts, type=texts),
    max_size=3,
).map(tuple)


@st.composite
def runs(draw):
    state = draw(st.sampled_from(State))
    told = draw(details)
    run = Run(
        run_id=draw(st.uuids()).hex,
        prompt_id=draw(prompt_ids),
        number=draw(numbers),
        state=state,
        details=told,
        epoch=draw(st.integers(0, 2**40)),
        first_seen=draw(moments),
        detailed=draw(st.booleans()) or state.ended,
        restored=True,
        submission_seen=draw(st.booleans()),
        started_at=draw(st.one_of(st.none(), moments)),
        seen_running=draw(st.booleans()),
        start_seen=draw(st.booleans()),
        heard_at=draw(st.one_of(st.none(), moments)),
        progress=draw(st.one_of(st.just(NO_PROGRESS), st.floats(0.1, 99.9).map(Progress))),
        predicted=draw(st.one_of(st.none(), st.floats(0, 1e9))),
        timed_out=draw(st.booleans()),
        ended_at=draw(moments) if state.ended else None,
        pattern=draw(st.sampled_from(["cuda_oom", "unknown"])) if state is State.FAILED else "",
    )
    if draw(st.booleans()):
        url = draw(st.one_of(st.none(), texts))
        run = replace(run, registration=Registration(
            run.run_id, run.prompt_id, told.job_id, _registered(told.job_type), told.batch_id, "gpu0", url
        ))  # fmt: skip
    if state in {State.COMPLETED, State.FAILED, State.INTERRUPTED}:
        started, ended = draw(milliseconds), draw(milliseconds)
        run = replace(run, entry=HistoryEntry(
            run.prompt_id, run.number, Outcome(state.value), told, started, ended, draw(failures), draw(outputs),
            draw(st.dictionaries(st.sampled_from(Media), counts)), draw(counts), draw(counts),
        ))  # fmt: skip
    return run


def _registered(job_type):
    return None if job_type == "unknown" else job_type


def rows_of(labels=LABELS):
    return RunRows(lambda at: at - AHEAD, lambda unix: unix + AHEAD, labels)


@pytest.fixture
def opened(url):
    with asyncio.Runner() as runner:
        database = runner.run(open_database(url))
        yield runner.run, database
        runner.run(database.close())


QUICK = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    phases=[
        Phase.explicit,
        Phase.generate,
    ],  # a write that PostgreSQL refuses costs a connection, too slow for hundreds
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@QUICK
@given(written=st.lists(runs(), min_size=1, max_size=3, unique_by=lambda run: run.run_id))
def test_every_run_comes_back_as_it_was_written(opened, written):
    wait, database = opened
    rows = rows_of()
    wait(database.run(delete(RUNS)))
    wait(database.write(Batch({run.run_id: rows.row("gpu0", run, seq) for seq, run in enumerate(written)})))
    read = {row["run_id"]: (row, rows.run(row)) for row in wait(database.rows(select(RUNS)))}
    assert read.keys() == {run.run_id for run in written}
    for run in written:
        row, back = read[run.run_id]
        assert back == run
        assert back.details.features == run.details.features  # which comparing details leaves out
        assert type(back.details.job_id) is type(run.details.job_id)
        assert (back.duration, back.queue_wait, row["duration"]) == (run.duration, run.queue_wait, run.duration)
        assert row["status"] in set(ProgressStatus)
        assert (row["ended_at"] is None) is (run.state not in ENDS)


@QUICK
@given(
    job_id=job_ids.filter(lambda job_id: job_id is not None), prompt_id=prompt_ids,
    job_type=st.one_of(st.none(), tags.filter(bool)), batch_id=st.one_of(st.none(), tags.filter(bool)),
    server=st.sampled_from([None, "gpu0"]), webhook_url=st.one_of(st.none(), texts), at=moments,
    status=st.sampled_from([ProgressStatus.INITIALIZING, ProgressStatus.TIMEOUT]),
)  # fmt: skip
def test_every_registration_comes_back_as_it_was_written(opened, at, status, **fields):
    wait, database = opened
    rows = rows_of()
    registration = Registration("r1", **fields)
    wait(database.run(delete(RUNS)))
    wait(database.write(Batch({"r1": rows.registered(registration, at, status, 1)})))
    assert wait(Restore(database, rows, rows.stamp).registrations()) == [(registration, at, status)]


async def restored(restore):
    return {server: known async for server, known in restore.servers(["gpu0"], 0.0, 900.0, 100)}["gpu0"]


@QUICK
@given(
    newest=st.one_of(st.none(), st.tuples(prompt_ids, numbers, milliseconds)), before_ms=milliseconds,
    dated=st.booleans(), epoch=st.integers(0, 2**40), named=st.lists(prompt_ids, max_size=3).map(tuple),
    last_activity=st.one_of(st.none(), moments),
    known=st.lists(
        st.tuples(st.tuples(prompt_ids, numbers, milliseconds), st.booleans()), max_size=6, unique_by=lambda one: one[0]
    ),
)  # fmt: skip
def test_how_far_a_history_was_read_comes_back(opened, known, **fields):
    wait, database = opened
    mark = Mark(**fields)
    rows = rows_of()
    row = mark_row("gpu0", mark, lambda at: at - AHEAD)
    back = mark_of(row, rows.stamp)
    assert (back, back.last_activity) == (mark, mark.last_activity)
    for table in ("entries", "servers"):
        wait(database.run(delete(RUNS.metadata.tables[f"comfyui_{table}"])))
    entries = {
        ("gpu0", identity): entry_row("gpu0", identity, seq, ground=ground)
        for seq, (identity, ground) in enumerate(known)
    }
    wait(database.write(Batch(entries=entries, servers={"gpu0": row})))
    memory = wait(restored(Restore(database, rows, rows.stamp))).memory
    assert memory.mark == mark
    assert list(memory.known.items()) == known


@QUICK
@given(
    labels=st.dictionaries(st.sampled_from(["job_type", "project"]), tags, min_size=1),
    value=st.floats(0, allow_infinity=False),
    bounds=st.lists(st.floats(0.001, 1e12), max_size=4, unique=True).map(sorted).map(tuple),
)
def test_totals_come_back_as_they_were_written(opened, labels, value, bounds):
    wait, database = opened
    total = Total(labels, value, bounds, tuple(range(len(bounds) + 1)) if bounds else ())
    wait(database.run(delete(TOTALS)))
    wait(database.write(Batch(totals={("gpu0", "f", ()): total_row("gpu0", "f", total)})))
    (row,) = wait(database.rows(select(TOTALS)))
    assert total_of(row["labels"], row["value"], row["bounds"], row["counts"]) == total


def test_labels_follow_their_names_when_others_are_configured():
    run = Run("r", "p", 0.0, State.QUEUED, Details(labels=("a", "b")), 0, 1.0)
    row = rows_of().row("gpu0", run, 1)
    assert rows_of(("tenant", "new")).run(row).details.labels == ("b", "")
    assert rows_of(()).run(row).details.labels == ()


def test_as_many_long_labels_as_anyone_configures_are_kept(opened):
    wait, database = opened
    total = Total({f"label{n}": LONG[:200] for n in range(12)}, 3.0)
    wait(database.write(Batch(totals={("gpu0", "f", ()): total_row("gpu0", "f", total)})))
    (row,) = wait(database.rows(select(TOTALS)))
    assert total_of(row["labels"], row["value"], row["bounds"], row["counts"]) == total
