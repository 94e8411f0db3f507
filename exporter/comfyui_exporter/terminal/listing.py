"""What `jobs` and `status` print: a table of jobs, and a line for each server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from comfyui_exporter.terminal.messages import Job, Server
from comfyui_exporter.terminal.plain import plain
from comfyui_exporter.terminal.table import Cell, Column, Line, lay_out
from comfyui_exporter.terminal.words import (
    STATUS_TONES,
    ago,
    ahead,
    measured,
    name_of,
    natural,
    node_of,
    percent,
    result_of,
    since,
    state_of,
    status_word,
    until,
)

_JOBS = (
    Column("STATUS", 8),
    Column("JOB", 8, 36),
    Column("SERVER", 6, 24),
    Column("TYPE", 4, 20, show_from=100),
    Column("BATCH", 4, 20, show_from=120),
    Column("TIME", 6),
    Column("WHEN", 6),
    Column("RESULT", 10, 100),
)
_SERVERS = (
    Column("SERVER", 8, 32),
    Column("STATE", 6),
    Column("RUNNING", 7, right=True),
    Column("WAITING", 7, right=True),
    Column("EMPTY", 5),
    Column("JOB", 8, 60),
    Column("VERSION", 7, 20, show_from=100),
)


def job_lines(jobs: Sequence[Job], now: datetime, titles: Mapping[str, str], space: int | None) -> list[Line]:
    """A line for each job, under a head."""
    return lay_out(_JOBS, [_job_row(job, now, titles) for job in jobs], space)


def server_lines(servers: Iterable[Server], jobs: Sequence[Job], now: datetime, space: int | None) -> list[Line]:
    """A line for each server, under a head; `jobs` are those that run."""
    rows = [_server_row(server, jobs, now) for server in sorted(servers, key=lambda each: natural(each.server))]
    return lay_out(_SERVERS, rows, space)


def stalled_servers(jobs: Iterable[Job]) -> set[str | None]:
    """Where a job shows no sign of progress."""
    return {job.server for job in jobs if job.stalled and job.running}


def all_is_well(servers: Sequence[Server], jobs: Iterable[Job]) -> bool:
    """Whether each server is up and no job stalled; of no servers at all it is not."""
    return bool(servers) and all(server.up for server in servers) and not stalled_servers(jobs)


def _job_row(job: Job, now: datetime, titles: Mapping[str, str]) -> list[Cell]:
    tone = "bad" if job.stalled and job.running else STATUS_TONES.get(job.status, "")
    word = f"{status_word(job)} {percent(job)}" if job.running else status_word(job)
    return [
        ((word, tone),),
        name_of(job),
        plain(job.server or "-", 40),
        "-" if job.job_type == "unknown" else plain(job.job_type, 40),
        plain(job.batch_id or "-", 40),
        measured(job.generation_time) if job.ended else since(job.started_at or job.submitted_at, now),
        ago(job.ended_at, now) if job.ended else until(job.estimated_completion, now),
        result_of(job, titles) if job.ended else _doing(job),
    ]


def _doing(job: Job) -> str:
    if job.stalled and job.running:
        return f"stalled {node_of(job)}".strip()
    return f"place {job.queue_position}" if job.queue_position is not None else node_of(job)


def _server_row(server: Server, jobs: Sequence[Job], now: datetime) -> list[Cell]:
    mine = [job for job in jobs if job.server == server.server and job.running]
    word, tone = state_of(server, stalled=any(job.stalled for job in mine))
    shown = next((job for job in mine if job.status != "completing"), None)
    doing = ""
    if shown is not None and server.up:
        doing = f"{name_of(shown)} {percent(shown)}, ready {until(shown.estimated_completion, now)}"
    return [
        plain(server.server, 60),
        ((word, tone),),
        "-" if server.running is None else str(server.running),
        "-" if server.pending is None else str(server.pending),
        "now" if server.idle else ahead(server.drain_seconds),
        doing.removesuffix(", ready -"),
        plain(server.version or "-", 30),
    ]
