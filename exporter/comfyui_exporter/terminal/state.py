"""All that a terminal knows, as the messages of the push socket make it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from comfyui_exporter.terminal.messages import Alert, Batch, Job, Message, Removed, Server, read

RESOLVED_STAYS = timedelta(minutes=5)
"""For which an alert that is over is shown."""

MOST_RESULTS = 300
RESULTS_READ = 100
"""From the history, at the start."""

AlertKey = tuple[tuple[str, str], ...]
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class KnownAlert:
    """An alert, and when we heard that it is over."""

    alert: Alert
    resolved_at: datetime | None = None


@dataclass(slots=True)
class _Told:
    """What a snapshot told of so far."""

    servers: set[str] = field(default_factory=set)
    jobs: set[str] = field(default_factory=set)
    batches: set[str] = field(default_factory=set)
    alerts: set[AlertKey] = field(default_factory=set)


class State:
    """Kept true over reconnects: what a new snapshot does not tell of went while we were away."""

    def __init__(self) -> None:
        self.servers: dict[str, Server] = {}
        self.details: dict[str, Server] = {}
        """Versions and memory of servers, which only the API tells."""
        self.open: dict[str, Job] = {}
        """By run, as results."""
        self.results: dict[str, Job] = {}
        self.batches: dict[str, Batch] = {}
        self.alerts: dict[AlertKey, KnownAlert] = {}
        self.titles: dict[str, str] = {}
        """Failure patterns in words."""
        self.complete = False
        """Whether a snapshot was ever complete."""
        self._told: _Told | None = None
        """None when the present snapshot is over."""
        self._doubtful: set[str] = set()
        """Results that only an earlier connection told of."""

    def connected(self) -> None:
        """Expect a snapshot. What is known stays until that says otherwise."""
        self._told = _Told()

    def hear(self, message: Message, now: datetime) -> bool:
        """Take in a message; whether it ended the snapshot. Types that are not known are passed over.

        Raises:
            ValueError: its data is not what an exporter says.

        """
        match message.type:
            case "progress_update":
                self._job(read(message.data, Job))
            case "server_update":
                server = read(message.data, Server)
                self.servers[server.server] = server
                if self._told is not None:
                    self._told.servers.add(server.server)
            case "batch_update":
                batch = read(message.data, Batch)
                self.batches[batch.batch_id] = batch
                if self._told is not None:
                    self._told.batches.add(batch.batch_id)
            case "alert":
                self._alert(read(message.data, Alert), now)
            case "job_removed":
                # A result stays: that it ended goes on to be true.
                self.open.pop(read(message.data, Removed).run_id, None)
            case "server_removed":
                self.servers.pop(read(message.data, Removed).server, None)
            case "snapshot_end":
                return self._snapshot_ended()
        return False

    def remember(self, jobs: Iterable[Job]) -> None:
        """Take in a page of the history, and drop what the exporter of before told of and this one does not know."""
        for job in jobs:
            self._doubtful.discard(job.run_id)
            if job.ended:
                self.results.setdefault(job.run_id, job)
        for run_id in self._doubtful:
            self.results.pop(run_id, None)
        self._doubtful.clear()

    def learn(self, servers: Iterable[Server]) -> None:
        """Take in what the API says of servers."""
        self.details = {server.server: server for server in servers}

    def tidy(self, now: datetime) -> None:
        """Let go of what is too old to be shown."""
        self.alerts = {
            key: known
            for key, known in self.alerts.items()
            if known.resolved_at is None or now - known.resolved_at <= RESOLVED_STAYS
        }
        if len(self.results) > MOST_RESULTS:
            self.results = {job.run_id: job for job in newest(self.results.values())[:MOST_RESULTS]}

    def _job(self, job: Job) -> None:
        if self._told is not None:
            self._told.jobs.add(job.run_id)
        if not job.ended:
            self.open[job.run_id] = job
            return
        self.open.pop(job.run_id, None)
        self.results[job.run_id] = job
        self._doubtful.discard(job.run_id)

    def _alert(self, alert: Alert, now: datetime) -> None:
        if self._told is not None:
            self._told.alerts.add(alert.key)
        before = self.alerts.get(alert.key)
        if alert.status != "resolved":
            self.alerts[alert.key] = KnownAlert(alert)
        elif before is not None:
            self.alerts[alert.key] = replace(before, alert=alert, resolved_at=before.resolved_at or now)

    def _snapshot_ended(self) -> bool:
        told, self._told = self._told, None
        if told is None:
            return False
        _keep(self.servers, told.servers)
        _keep(self.open, told.jobs)
        _keep(self.batches, told.batches)
        _keep(self.alerts, told.alerts)
        self._doubtful = self.results.keys() - told.jobs
        self.complete = True
        return True


def newest(jobs: Iterable[Job]) -> list[Job]:
    """Jobs that ended, the last first."""
    ended = [(job.ended_at, job.run_id, job) for job in jobs if job.ended_at is not None]
    return [job for _, _, job in sorted(ended, key=lambda each: each[:2], reverse=True)]


def expected_starts(jobs: Iterable[Job]) -> dict[str, datetime | None]:
    """When each waiting job should start, by its run: when the one before it should be done."""
    by_server: dict[str | None, list[Job]] = {}
    for job in jobs:
        by_server.setdefault(job.server, []).append(job)
    starts: dict[str, datetime | None] = {}
    for mine in by_server.values():
        ends = [job.estimated_completion for job in mine if job.running]
        known = [end for end in ends if end is not None]
        free = max(known) if known and len(known) == len(ends) else None
        waiting = [(job.queue_position, job) for job in mine if job.queue_position is not None]
        for _, job in sorted(waiting, key=lambda each: each[0]):
            starts[job.run_id] = free
            free = job.estimated_completion
    return starts


def _keep(known: dict[K, V], told: set[K]) -> None:
    for key in known.keys() - told:
        del known[key]
