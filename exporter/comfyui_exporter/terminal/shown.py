"""What `top` shows of what is known: all, or what belongs to some servers, in the order in which it is shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from comfyui_exporter.terminal.messages import Batch, Job, Server
from comfyui_exporter.terminal.state import KnownAlert, State, expected_starts, newest
from comfyui_exporter.terminal.words import natural


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of what is known: all, or what belongs to some servers."""

    now: datetime
    servers: list[Server]
    running: list[Job]
    waiting: list[Job]
    results: list[Job]
    batches: list[Batch]
    alerts: list[KnownAlert]
    starts: dict[str, datetime | None]
    down: set[str | None] = field(default_factory=set)
    stalled: set[str | None] = field(default_factory=set)

    @classmethod
    def of(cls, state: State, words: str, now: datetime) -> Shown:
        """Choose by a part of the server's name."""

        def wanted(server: str | None) -> bool:
            return words.lower() in (server or "").lower()

        opened = [job for job in state.open.values() if wanted(job.server)]
        running = [job for job in opened if job.running]
        return cls(
            now=now,
            servers=[server for server in state.servers.values() if wanted(server.server)],
            running=sorted(running, key=lambda job: (natural(job.server), job.run_id)),
            waiting=sorted((job for job in opened if not job.running), key=_queue_place),
            results=newest(job for job in state.results.values() if wanted(job.server)),
            batches=[] if words else [batch for batch in state.batches.values() if batch.active],
            alerts=[known for known in state.alerts.values() if wanted(known.alert.labels.get("server"))],
            starts=expected_starts(opened),
            down={server.server for server in state.servers.values() if server.up is False},
            stalled={job.server for job in running if job.stalled},
        )


def _queue_place(job: Job) -> tuple[float, object, str]:
    return float("inf") if job.queue_position is None else job.queue_position, natural(job.server), job.run_id
