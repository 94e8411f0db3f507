"""From a run to the update that its user sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from comfyui_exporter.jobs.update import FailureReport, OutputFile, ProgressStatus, ProgressUpdate, RunningNode
from comfyui_exporter.tracker.estimate import Forecast
from comfyui_exporter.tracker.registration import Registration
from comfyui_exporter.tracker.runs import Run, State

_STATUSES = {
    State.QUEUED: ProgressStatus.QUEUED,
    State.PROCESSING: ProgressStatus.PROCESSING,
    State.COMPLETING: ProgressStatus.COMPLETING,
    State.COMPLETED: ProgressStatus.COMPLETED,
    State.FAILED: ProgressStatus.FAILED,
    State.INTERRUPTED: ProgressStatus.CANCELLED,
    State.CANCELLED: ProgressStatus.CANCELLED,
    State.LOST: ProgressStatus.TIMEOUT,
}

_MESSAGES = {
    State.INTERRUPTED: "interrupted",
    State.CANCELLED: "removed from the queue before it ran",
    State.LOST: "disappeared: it is in neither queue nor history of ComfyUI",
}


def status_of(run: Run) -> ProgressStatus:
    """Give the status that users see of a run."""
    if run.timed_out and not run.state.ended:
        return ProgressStatus.TIMEOUT
    return _STATUSES[run.state]


class Describe:
    """Makes updates. `wall` turns a point in time of the observations into Unix time."""

    def __init__(self, wall: Callable[[float], float], job_labels: Sequence[str]) -> None:
        self._wall = wall
        self._job_labels = tuple(job_labels)

    def __call__(self, server: str, run: Run, forecast: Forecast, at: float) -> ProgressUpdate:
        """Describe a run at a moment."""
        ended = run.state.ended
        progress = run.progress
        node = progress.node if run.state is State.PROCESSING else None
        return ProgressUpdate(
            job_id=run.details.job_id,
            comfyui_prompt_id=run.prompt_id,
            status=status_of(run),
            progress_percent=100.0 if run.state is State.COMPLETED else progress.percent,
            current_step=progress.step,
            total_steps=progress.steps,
            estimated_completion=None if ended else self._moment(forecast.ends.get(run.run_id)),
            generation_time=run.duration,
            error_message=_message(run),
            server=server,
            run_id=run.run_id,
            job_type=run.details.job_type,
            batch_id=run.details.batch_id,
            queue_position=forecast.positions.get(run.run_id) if run.state is State.QUEUED else None,
            node=None if node is None else RunningNode(node.node_id, node.node_type, node.value, node.max),
            stalled=run.stalled,
            progress_estimated=progress.estimated and run.state is State.PROCESSING,
            submitted_at=self._moment(run.first_seen),
            started_at=self._moment(run.started_at),
            ended_at=self._moment(run.ended_at),
            updated_at=self._moment(at),
            outputs=_outputs(run) if ended else None,
            failure=_failure(run),
            labels=dict(zip(self._job_labels, run.details.labels, strict=False)),
        )

    def registered(self, registration: Registration, status: ProgressStatus, at: float) -> ProgressUpdate:
        """Describe a job that no server has shown yet."""
        message = "no server has shown this job since it was registered" if status is ProgressStatus.TIMEOUT else None
        return ProgressUpdate(
            registration.job_id,
            registration.prompt_id,
            status,
            error_message=message,
            server=registration.server,
            run_id=registration.run_id,
            job_type=registration.job_type or "unknown",
            batch_id=registration.batch_id,
            updated_at=self._moment(at),
        )

    def _moment(self, at: float | None) -> datetime | None:
        """Give a date; None for what is none, such as an end after jobs that are said to take a thousand years."""
        if at is None:
            return None
        try:
            return datetime.fromtimestamp(round(self._wall(at), 3), UTC)
        except (ValueError, OverflowError, OSError):
            return None


def _message(run: Run) -> str | None:
    if run.state is State.FAILED:
        failure = run.failure
        return (failure.message or failure.exception_type if failure else "") or "failed without saying why"
    if run.timed_out and not run.state.ended:
        return "has been running for longer than job_timeout"
    return _MESSAGES.get(run.state)


def _outputs(run: Run) -> tuple[OutputFile, ...]:
    return tuple(
        OutputFile(output.node_id, output.filename, output.subfolder, output.type, output.media.value)
        for output in (run.entry.outputs if run.entry is not None else ())
    )


def _failure(run: Run) -> FailureReport | None:
    if run.state is not State.FAILED:
        return None
    failure = run.failure
    if failure is None:
        return FailureReport(run.pattern, None, None, None)
    return FailureReport(
        run.pattern, failure.node_id or None, failure.node_type or None, failure.exception_type or None
    )
