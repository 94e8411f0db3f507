"""A run as a row of the job log, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from comfyui_exporter.jobs.describe import status_of
from comfyui_exporter.jobs.update import ProgressStatus
from comfyui_exporter.tracker.observations import Details, Failure, Features, HistoryEntry, Media, Outcome, Output
from comfyui_exporter.tracker.progress import NO_PROGRESS, Progress
from comfyui_exporter.tracker.registration import Registration
from comfyui_exporter.tracker.runs import Run, State

Row = Mapping[str, Any]

REGISTERED = "registered"
"""State of a row whose job no server has shown yet."""

_features = msgspec.json.Decoder(Features)
_outputs = msgspec.json.Decoder(tuple[Output, ...])
_counts = msgspec.json.Decoder(dict[Media, int])
_labels = msgspec.json.Decoder(dict[str, str])


class RunRows:
    """Turns runs into rows and back.

    `wall` turns a point in time of the observations into Unix time, `stamp` does the opposite.
    """

    def __init__(
        self, wall: Callable[[float], float], stamp: Callable[[float], float], job_labels: Sequence[str] = ()
    ) -> None:
        self._wall = wall
        self.stamp = stamp
        self._job_labels = tuple(job_labels)

    def row(self, server: str, run: Run, seq: int) -> Row:
        """Give the row of a run."""
        details, entry, failure = run.details, run.entry, run.failure
        features = details.features
        registration = run.registration
        return {
            "run_id": run.run_id,
            "seq": seq,
            "server": server,
            "prompt_id": run.prompt_id,
            "number": run.number,
            "epoch": run.epoch,
            "state": run.state.value,
            "status": status_of(run).value,
            **_job_id(details.job_id),
            "batch_id": details.batch_id,
            "job_type": details.job_type,
            "labels": _json(dict(zip(self._job_labels, details.labels, strict=False))),
            "fingerprint": None if features is None else features.fingerprint,
            "features": None if features is None else _json(features),
            "created_ms": details.created_ms,
            "first_seen": self._wall(run.first_seen),
            "detailed": run.detailed,
            "submission_seen": run.submission_seen,
            "started_at": self._moment(run.started_at),
            "seen_running": run.seen_running,
            "start_seen": run.start_seen,
            "heard_at": self._moment(run.heard_at),
            "percent": run.progress.percent,
            "predicted": run.predicted,
            "registered": run.registered,
            "webhook_url": None if registration is None else registration.webhook_url,
            "timed_out": run.timed_out,
            "ended_at": self._moment(run.ended_at),
            "has_entry": entry is not None,
            "entry_started_ms": None if entry is None else entry.started_ms,
            "entry_ended_ms": None if entry is None else entry.ended_ms,
            "duration": run.duration,
            "pattern": run.pattern,
            "node_id": None if failure is None else failure.node_id,
            "node_type": None if failure is None else failure.node_type,
            "exception_type": None if failure is None else failure.exception_type,
            "message": None if failure is None else failure.message,
            "outputs": None if entry is None else _json(entry.outputs),
            "output_counts": None if entry is None else _json(entry.output_counts),
            "nodes_executed": 0 if entry is None else entry.nodes_executed,
            "nodes_cached": 0 if entry is None else entry.nodes_cached,
        }

    def registered(self, registration: Registration, at: float, status: ProgressStatus, seq: int) -> Row:
        """Give the row of a job that no server has shown yet."""
        run = Run(
            run_id=registration.run_id,
            prompt_id=registration.prompt_id,
            number=0.0,
            state=State.QUEUED,
            details=registration.applied_to(Details()),
            epoch=0,
            first_seen=at,
            detailed=False,
            registration=registration,
        )
        row = dict(self.row("", run, seq))
        row |= {"server": registration.server, "number": None, "state": REGISTERED, "status": status.value}
        return row

    def registration(self, row: Row) -> Registration:
        """Give back what was registered."""
        job_type = row["job_type"]
        return Registration(
            run_id=row["run_id"],
            prompt_id=row["prompt_id"],
            job_id=_job_id_of(row),
            job_type=None if job_type == "unknown" else job_type,
            batch_id=row["batch_id"],
            server=row["server"],
            webhook_url=row["webhook_url"],
        )

    def run(self, row: Row) -> Run:
        """Give back the run; what was heard of its nodes is not kept."""
        state = State(row["state"])
        details = Details(
            job_id=_job_id_of(row),
            job_type=row["job_type"],
            batch_id=row["batch_id"],
            created_ms=row["created_ms"],
            labels=self._labels(row["labels"]),
            features=None if row["features"] is None else _features.decode(row["features"]),
        )
        return Run(
            run_id=row["run_id"],
            prompt_id=row["prompt_id"],
            number=row["number"],
            state=state,
            details=details,
            epoch=row["epoch"],
            first_seen=self.stamp(row["first_seen"]),
            detailed=row["detailed"],
            restored=True,
            submission_seen=row["submission_seen"],
            started_at=self._stamped(row["started_at"]),
            seen_running=row["seen_running"],
            start_seen=row["start_seen"],
            heard_at=self._stamped(row["heard_at"]),
            progress=Progress(row["percent"]) if row["percent"] else NO_PROGRESS,
            predicted=row["predicted"],
            registration=self.registration(row) if row["registered"] else None,
            timed_out=row["timed_out"],
            ended_at=self._stamped(row["ended_at"]),
            entry=_entry(row, state, details),
            pattern=row["pattern"],
        )

    def _labels(self, text: str) -> tuple[str, ...]:
        labels = _labels.decode(text)
        return tuple(labels.get(name, "") for name in self._job_labels)

    def _moment(self, at: float | None) -> float | None:
        return None if at is None else self._wall(at)

    def _stamped(self, at: float | None) -> float | None:
        return None if at is None else self.stamp(at)


def _entry(row: Row, state: State, details: Details) -> HistoryEntry | None:
    if not row["has_entry"]:
        return None
    failure = None
    if row["exception_type"] is not None:
        failure = Failure(row["node_id"], row["node_type"], row["exception_type"], row["message"])
    return HistoryEntry(
        prompt_id=row["prompt_id"],
        number=row["number"],
        outcome=Outcome(state.value),
        details=details,
        started_ms=row["entry_started_ms"],
        ended_ms=row["entry_ended_ms"],
        failure=failure,
        outputs=_outputs.decode(row["outputs"]),
        output_counts=_counts.decode(row["output_counts"]),
        nodes_executed=row["nodes_executed"],
        nodes_cached=row["nodes_cached"],
    )


def _job_id(job_id: int | str | None) -> dict[str, Any]:
    return {"job_id": None if job_id is None else str(job_id), "job_id_is_number": isinstance(job_id, int)}


def _job_id_of(row: Row) -> int | str | None:
    return int(row["job_id"]) if row["job_id_is_number"] else row["job_id"]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
