"""A store as an exporter of many servers leaves it, for bench/restore.py: real rows, put in at once.

Each server has the same jobs at other times, in turn as they would have been written. Which jobs, and what they are
made of, was recorded by bench/eta.py.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import Table

from comfyui_exporter.metrics.increments import increments
from comfyui_exporter.metrics.lasting import Lasting
from comfyui_exporter.metrics.sink import MetricSink
from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.store.database import open_database
from comfyui_exporter.store.marks import entry_row, mark_row
from comfyui_exporter.store.rows import RunRows
from comfyui_exporter.store.schema import ENTRIES, RUNS, SERVERS, TOTALS
from comfyui_exporter.store.totals import total_row
from comfyui_exporter.tracker.ground import Identity
from comfyui_exporter.tracker.memory import Mark
from comfyui_exporter.tracker.observations import Details, Failure, Features, HistoryEntry, Media, Outcome, Output
from comfyui_exporter.tracker.runs import Run, State
from comfyui_exporter.tracker.transitions import Ended, Submitted

RECORDED = Path(__file__).parent / "results" / "eta_jobs.jsonl"

DAYS = 10.0
"""Over which the jobs of each server are spread, up to now."""

MIX = ((State.COMPLETED, 90), (State.FAILED, 5), (State.INTERRUPTED, 3), (State.CANCELLED, 1), (State.LOST, 1))
"""How jobs end, in percent."""

TEMPLATES = 400
OPEN = 2
"""Jobs of each server that wait or run."""

Row = dict[str, Any]


def name_of(number: int) -> str:
    return f"gpu{number:04}"


async def fill(path: Path, servers: int, runs: int, unix: float) -> None:
    """Make a store of so many servers with so many runs each, at this Unix time."""
    await (await open_database(f"sqlite:///{path}")).close()
    templates = list(islice(cycle(_templates(unix)), TEMPLATES))
    totals = _totals(templates)
    rows = RunRows(float, float)
    made = [dict(rows.row("", run, 0)) for run in templates]
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-400000")
        indexes = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql > ''").fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        _insert(connection, RUNS, _rows(made, servers, runs, unix))
        _insert(connection, ENTRIES, _entries(servers, runs, unix, made))
        newest = connection.execute(
            "SELECT server, prompt_id, number, started_ms, max(seq) FROM comfyui_entries GROUP BY server"
        ).fetchall()
        _insert(connection, SERVERS, [_mark(server, tuple(identity), unix) for server, *identity, _ in newest])
        _insert(
            connection,
            TOTALS,
            (
                dict(total_row(name_of(number), family, total))
                for number in range(servers)
                for family, several in totals.items()
                for total in several
            ),
        )
        for _, statement in indexes:
            connection.execute(statement)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _templates(unix: float) -> Iterator[Run]:
    rng = Random(1)
    recorded = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    states = [state for state, percent in MIX for _ in range(percent)]
    for job in recorded:
        state = rng.choice(states)
        features = Features(**job["features"]) if job["features"] else None
        details = Details(job["started_ms"], job["job_type"], features=features)
        entry = None
        if state not in {State.CANCELLED, State.LOST}:
            failure = Failure("3", "KSampler", "torch.OutOfMemoryError", "Allocation on device 0 would exceed memory")
            entry = HistoryEntry(
                "", 0.0, Outcome(state.value), details, job["started_ms"], job["ended_ms"],
                failure if state is State.FAILED else None,
                (Output("9", Media.IMAGES, f"ComfyUI_{job['started_ms'] % 10**5:05}_.png"),), {Media.IMAGES: 1},
                job["nodes_executed"], job["nodes_cached"],
            )  # fmt: skip
        yield Run(
            "", "", 0.0, state, details, 0, unix, submission_seen=True, started_at=unix, seen_running=True,
            start_seen=True, ended_at=unix, entry=entry, pattern="oom" if state is State.FAILED else "",
        )  # fmt: skip


def _totals(templates: list[Run]) -> dict[str, Any]:
    """The series that such jobs leave, counted as the exporter counts."""
    store = MetricStore()
    lasting = Lasting(store, deferred=False)
    MetricSink(store, float, ("oom", "other"), lasting=lasting).add_server("x")
    for run in templates:
        for change in (Submitted(0.0, run), Ended(0.0, run)):
            for increment in increments(change, ("oom", "other")):
                if increment.family.lasting:
                    lasting.add("x", increment)
    return store.export_lasting("x")


def _when(run: int, runs: int, unix: float, server: int) -> float:
    """When a job ends, or would if it were not open: the newest ones just did."""
    return unix - DAYS * 86_400 * (runs - OPEN - run) / runs + server % 60 - 60


def _rows(made: list[Row], servers: int, runs: int, unix: float) -> Iterator[Row]:
    rng = Random(2)
    for run in range(runs):
        for server in range(servers):
            at = _when(run, runs, unix, server)
            row = made[(run + server) % TEMPLATES] | {
                "run_id": f"{rng.getrandbits(128):032x}",
                "seq": run * servers + server + 1,
                "server": name_of(server),
                "prompt_id": _prompt_id(run, server),
                "number": float(run),
                "first_seen": at - 60,
                "started_at": at - 30,
                "ended_at": at,
            }
            if run >= runs - OPEN:
                row |= {"state": "queued", "status": "queued", "ended_at": None, "has_entry": False, "outputs": None,
                        "output_counts": None, "exception_type": None, "pattern": "", "started_at": None}  # fmt: skip
            elif row["has_entry"]:
                took = row["entry_ended_ms"] - row["entry_started_ms"]
                row |= {"entry_started_ms": int(at * 1000) - took, "entry_ended_ms": int(at * 1000)}
            yield row


def _entries(servers: int, runs: int, unix: float, made: list[Row]) -> Iterator[Row]:
    for run in range(runs - OPEN):
        for server in range(servers):
            template = made[(run + server) % TEMPLATES]
            if template["has_entry"]:
                took = template["entry_ended_ms"] - template["entry_started_ms"]
                started = int(_when(run, runs, unix, server) * 1000) - took
                identity = (_prompt_id(run, server), float(run), started)
                yield dict(entry_row(name_of(server), identity, run * servers + server + 1, ground=True))


def _mark(server: str, newest: Identity, unix: float) -> Row:
    mark = Mark(0, newest, int((unix - 2 * DAYS * 86_400) * 1000))
    return dict(mark_row(server, mark, float))


def _prompt_id(run: int, server: int) -> str:
    return f"{server:08x}-{run:04x}-4aaa-8bbb-{server * 7919 + run:012x}"


def _insert(connection: sqlite3.Connection, table: Table, rows: Iterable[Row]) -> None:
    names = [column.name for column in table.columns]
    places = ", ".join(f":{name}" for name in names)
    connection.executemany(f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({places})", rows)
