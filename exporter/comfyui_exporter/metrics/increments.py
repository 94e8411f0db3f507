"""What a transition adds to the counters and histograms: a pure function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.family import Family
from comfyui_exporter.metrics.series import Exemplar
from comfyui_exporter.tracker.observations import Media
from comfyui_exporter.tracker.runs import Run, State
from comfyui_exporter.tracker.transitions import Ended, NodeTimed, ServerRestarted, Submitted, TimedOut, Transition

STATUSES = (State.COMPLETED, State.FAILED, State.INTERRUPTED, State.CANCELLED, State.LOST)

_MOST_STEPS = 100
"""Steps that one event can stand for; ComfyUI tells each, so more at once are no measurement."""

_RAN = frozenset({State.COMPLETED, State.FAILED, State.INTERRUPTED})


@dataclass(frozen=True, slots=True)
class Increment:
    """A counter goes up by `amount` (0: it stands from now on), or a histogram observes it."""

    family: Family
    labels: tuple[str, ...]
    amount: float = 1.0
    exemplar: Exemplar | None = None


def increments(transition: Transition, patterns: Sequence[str], *, stands: bool = False) -> Iterator[Increment]:
    """Say what a transition adds. Everything a new job type may ever count stands at 0 from its submission on.

    `stands`: it does so already.
    """
    match transition:
        case Submitted(run=run):
            if not stands:
                yield from standing(run.details.job_type, patterns, run.details.labels)
            yield Increment(families.JOBS_SUBMITTED, (run.details.job_type,))
        case TimedOut(run=run):
            yield Increment(families.JOB_TIMEOUTS, (run.details.job_type,))
        case Ended(run=run):
            yield from _of_end(run)
        case NodeTimed(timed=timed):
            if timed.steps:
                for _ in range(min(timed.steps, _MOST_STEPS)):
                    yield Increment(families.STEP_DURATION, (timed.node_type,), timed.seconds)
            else:
                yield Increment(families.NODE_DURATION, (timed.node_type,), timed.seconds)
        case ServerRestarted():
            yield Increment(families.RESTARTS, ())
        case _:
            pass


def standing(job_type: str, patterns: Sequence[str], labels: tuple[str, ...]) -> Iterator[Increment]:
    """Let everything that a job of this type may count stand at 0, so that a first failure is an increase."""
    yield Increment(families.JOBS_SUBMITTED, (job_type,), 0)
    for status in STATUSES:
        yield Increment(families.JOBS, (job_type, status.value, *labels), 0)
    yield Increment(families.JOB_TIMEOUTS, (job_type,), 0)
    for pattern in patterns:
        yield Increment(families.JOB_FAILURES, (job_type, pattern), 0)
    for media in Media:
        yield Increment(families.JOB_OUTPUTS, (job_type, media.value), 0)
    for result in ("executed", "cached"):
        yield Increment(families.JOB_NODES, (job_type, result), 0)


def _of_end(run: Run) -> Iterator[Increment]:
    job_type, labels = run.details.job_type, run.details.labels
    ended_at = run.ended_at or 0.0
    yield Increment(families.JOBS, (job_type, run.state.value, *labels))
    if run.state in _RAN and run.duration is not None:
        exemplar = Exemplar({"prompt_id": run.prompt_id}, run.duration, ended_at)
        yield Increment(families.JOB_DURATION, (job_type, run.state.value, *labels), run.duration, exemplar)
    if run.state in _RAN and run.queue_wait is not None:
        yield Increment(families.JOB_QUEUE, (job_type,), run.queue_wait)
    if run.state is State.COMPLETED and run.duration is not None and run.predicted:
        yield Increment(families.JOB_ESTIMATE_RATIO, (job_type,), run.duration / run.predicted)
    if run.state is State.FAILED:
        exemplar = Exemplar({"prompt_id": run.prompt_id}, 1.0, ended_at)
        yield Increment(families.JOB_FAILURES, (job_type, run.pattern), 1.0, exemplar)
        failure = run.failure
        node_type, exception_type = (failure.node_type, failure.exception_type) if failure else ("", "")
        yield Increment(families.JOB_FAILURE_DETAILS, (run.pattern, node_type, exception_type))
    if run.entry is not None:
        for media, count in run.entry.output_counts.items():
            yield Increment(families.JOB_OUTPUTS, (job_type, media.value), count)
        for result, nodes in (("executed", run.entry.nodes_executed), ("cached", run.entry.nodes_cached)):
            yield Increment(families.JOB_NODES, (job_type, result), nodes)
