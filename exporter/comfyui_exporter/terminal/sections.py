"""The parts of `top`'s screen: which rows each has, in which order, and which are folded away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from comfyui_exporter.terminal.messages import Batch, Job, Server
from comfyui_exporter.terminal.plain import plain, width
from comfyui_exporter.terminal.shown import Shown
from comfyui_exporter.terminal.state import KnownAlert, State
from comfyui_exporter.terminal.table import Bar, Cell, Column, bar
from comfyui_exporter.terminal.words import (
    STATUS_TONES,
    STATUS_WORDS,
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

FEW_SERVERS = 12
"""Up to so many are listed by name; of more, those come first that need somebody, and idle ones are folded away."""

_NARROW, _WIDE, _WIDER = 80, 104, 136
"""Cells: all parts fit into the first; from the others on there are more columns."""
_NODE = 18
_SEVERITIES = {"critical": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the screen. A row is only made into cells if it is shown."""

    name: str
    title: str
    heads: tuple[Column, ...]
    rows: Sequence[Callable[[], Sequence[Cell]]]
    least: int
    """Rows that it gets before others get more."""
    total: int = 0
    empty: str = ""
    """What is said when there is nothing; empty: then it is not shown."""
    folded: int = 0
    folded_as: str = "more"
    urgent: Sequence[Callable[[], Sequence[Cell]]] = ()
    """The rows as they are if not all fit; empty: as they are."""

    def columns(self, title: str) -> list[Column]:
        """Its columns, the first under the section's own title."""
        first, *others = self.heads
        return [replace(first, title=title, least=max(first.least, width(title))), *others]


def sections(shown: Shown, state: State, space: int) -> list[Section]:
    """Give all parts, in the order of the screen."""
    return [
        _alerts(shown),
        _servers(shown, state),
        _running(shown, space),
        _batches(shown),
        _waiting(shown, space),
        _results(shown, state, space),
    ]


def _alerts(shown: Shown) -> Section:
    alerts = sorted(shown.alerts, key=_urgency)
    firing = sum(known.resolved_at is None for known in alerts)
    heads = (Column("", 10), Column("", 30, 120), Column("SERVER", 12, 24), Column("SINCE", 10))
    return Section("alerts", "ALERTS", heads, [partial(_alert_row, each, shown.now) for each in alerts], 2, firing)


def _alert_row(known: KnownAlert, now: datetime) -> list[Cell]:
    alert, over = known.alert, known.resolved_at is not None
    severity = plain(alert.labels.get("severity", "info"), 10)
    tone = "quiet" if over else {"critical": "bad", "warning": "warn"}.get(severity, "run")
    summary = alert.annotations.get("summary") or alert.labels.get("alertname", "alert")
    return [
        (("resolved" if over else severity, tone),),
        ((plain(summary, 200), "quiet" if over else ""),),
        plain(alert.labels.get("server", "-"), 40),
        ago(alert.ends_at or known.resolved_at if over else alert.starts_at, now),
    ]


def _urgency(known: KnownAlert) -> tuple[bool, int, float]:
    began = known.alert.starts_at
    severity = _SEVERITIES.get(known.alert.labels.get("severity", ""), 3)
    return known.resolved_at is not None, severity, 0.0 if began is None else -began.timestamp()


def _servers(shown: Shown, state: State) -> Section:
    heads = (
        Column("", 16, 32),
        Column("STATE", 12),
        Column("WAITING", 7, right=True),
        Column("EMPTY", 13),
        Column("JOB", 20, 40),
        Column("GPU MEMORY", 21, 42, show_from=_WIDE),
        Column("VERSION", 8, 16, show_from=_WIDER),
    )
    by_name = sorted(shown.servers, key=lambda server: natural(server.server))
    by_need = sorted(by_name, key=lambda server: _need(server, shown))
    folded = 0
    if len(by_name) > FEW_SERVERS:
        by_name = by_need = [server for server in by_need if not server.idle]
        folded = len(shown.servers) - len(by_need)
    current = {job.server: job for job in shown.running if job.status != "completing"}

    def rows(servers: Sequence[Server]) -> list[Callable[[], Sequence[Cell]]]:
        named = [(server, server.server) for server in servers]
        return [partial(_server_row, each, current.get(name), state.details.get(name), shown) for each, name in named]

    empty = "no server is watched" if not state.servers else "no server has such a name"
    total = len(shown.servers)
    return Section("servers", "SERVERS", heads, rows(by_name), 3, total, empty, folded, "idle", rows(by_need))


def _need(server: Server, shown: Shown) -> tuple[int, int]:
    """Those first that are down, then those that stall, then those with most to do."""
    if not server.up:
        return (0 if server.up is False else 1), 0
    return (2 if server.server in shown.stalled else 3), -((server.running or 0) + (server.pending or 0))


def _server_row(server: Server, job: Job | None, details: Server | None, shown: Shown) -> list[Cell]:
    state, tone = state_of(server, stalled=server.server in shown.stalled)
    return [
        plain(server.server, 60),
        ((state, tone),),
        "-" if server.pending is None else str(server.pending),
        "now" if server.idle else ("-" if server.up is False else ahead(server.drain_seconds)),
        "" if job is None or server.up is False else f"{name_of(job, 30)} {percent(job)}",
        _memory(details),
        plain((details.version if details else None) or "-", 30),
    ]


def _memory(details: Server | None) -> Cell:
    spans: list[tuple[str, str]] = []
    for device in details.devices if details else ():
        if device.vram_total:
            used = device.vram_total - min(device.vram_free or 0, device.vram_total)
            full = used / device.vram_total
            spans += bar(100 * full, 6, "bad" if full > 0.95 else "run")
            spans.append((f" {used / 2**30:.1f}/{device.vram_total / 2**30:.0f} GiB ", ""))
    return tuple(spans) or "-"


def _running(shown: Shown, space: int) -> Section:
    heads = (
        *_job_and_server(space),
        Column("PROGRESS", 12, 40),
        Column("", 4, right=True),
        Column("NODE", _NODE, 40),
        Column("TYPE", 8, 16, show_from=_WIDER),
        Column("FOR", 12, show_from=_WIDE),
        Column("READY", 12),
    )
    node = _NODE + max(0, space - _WIDE) // 10
    rows = [partial(_running_row, job, node, shown) for job in shown.running]
    return Section("running", "RUNNING", heads, rows, 3, len(rows), "no running job")


def _job_and_server(space: int) -> tuple[Column, Column]:
    """The first columns of each list of jobs: of the same width, so that they stand below each other."""
    extra = max(0, space - _NARROW)
    return Column("", min(36, 12 + extra // 5)), Column("SERVER", min(24, 12 + extra // 8))


def _running_row(job: Job, node: int, shown: Shown) -> list[Cell]:
    flag, tone = _flag(job, shown)
    return [
        name_of(job),
        plain(job.server or "-", 40),
        Bar(job.progress_percent, tone or "run"),
        percent(job),
        node_of(job, node),
        "" if job.job_type == "unknown" else plain(job.job_type, 30),
        since(job.started_at or job.submitted_at, shown.now),
        ((flag, tone),) if flag else until(job.estimated_completion, shown.now),
    ]


def _flag(job: Job, shown: Shown) -> tuple[str, str]:
    """What is unusual about a job that runs, in place of when it should be ready."""
    if job.server in shown.down:
        return "server down", "bad"
    if job.stalled:
        return "stalled", "bad"
    if job.status == "timeout":
        return "over time", "warn"
    return ("finishing", "quiet") if job.status == "completing" else ("", "")


def _batches(shown: Shown) -> Section:
    heads = (
        Column("", 16, 32),
        Column("PROGRESS", 12, 40),
        Column("", 4, right=True),
        Column("JOBS", 24, 60),
        Column("READY", 12),
    )
    batches = sorted(shown.batches, key=lambda batch: natural(batch.batch_id))
    rows = [partial(_batch_row, batch, shown.now) for batch in batches]
    return Section("batches", "BATCHES", heads, rows, 1, len(rows))


def _batch_row(batch: Batch, now: datetime) -> list[Cell]:
    counts = [f"{count} {STATUS_WORDS.get(status) or plain(status, 12)}" for status, count in batch.counts.items()]
    return [
        plain(batch.batch_id, 60),
        Bar(batch.progress_percent),
        f"{int(batch.progress_percent)}%",
        ", ".join(counts),
        until(batch.estimated_completion, now),
    ]


def _waiting(shown: Shown, space: int) -> Section:
    heads = (
        *_job_and_server(space),
        Column("PLACE", 10, right=True),
        Column("TYPE", 8, 16, show_from=_WIDE),
        Column("BATCH", 8, 24, show_from=_WIDER),
        Column("FOR", 10, 12),
        Column("STARTS", 13),
        Column("READY", 13),
    )
    rows = [partial(_waiting_row, job, shown) for job in shown.waiting]
    return Section("waiting", "WAITING", heads, rows, 2, len(rows), "no waiting job")


def _waiting_row(job: Job, shown: Shown) -> list[Cell]:
    away = job.server in shown.down
    place = status_word(job) if job.queue_position is None else str(job.queue_position)
    return [
        name_of(job),
        plain(job.server or "-", 40),
        place,
        "" if job.job_type == "unknown" else plain(job.job_type, 30),
        plain(job.batch_id or "", 40),
        since(job.submitted_at, shown.now),
        "-" if away else until(shown.starts.get(job.run_id), shown.now),
        "-" if away else until(job.estimated_completion, shown.now),
    ]


def _results(shown: Shown, state: State, space: int) -> Section:
    heads = (
        *_job_and_server(space),
        Column("STATUS", 11),
        Column("TYPE", 8, 16, show_from=_WIDER),
        Column("TOOK", 11, show_from=_WIDE),
        Column("ENDED", 10),
        Column("RESULT", 25, 120),
    )
    rows = [partial(_result_row, job, state, shown.now) for job in shown.results]
    return Section("results", "RESULTS", heads, rows, 3, len(rows), "no result yet")


def _result_row(job: Job, state: State, now: datetime) -> list[Cell]:
    return [
        name_of(job),
        plain(job.server or "-", 40),
        ((status_word(job), STATUS_TONES.get(job.status, "quiet")),),
        "" if job.job_type == "unknown" else plain(job.job_type, 30),
        measured(job.generation_time),
        ago(job.ended_at, now),
        result_of(job, state.titles),
    ]
