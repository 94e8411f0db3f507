"""Turns what watching tells into series of the metric store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.blocks import LabelValues
from comfyui_exporter.metrics.family import Family
from comfyui_exporter.metrics.increments import Increment, increments, standing
from comfyui_exporter.metrics.lasting import Lasting
from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.metrics.totals import Totals
from comfyui_exporter.tracker.estimate import Forecast
from comfyui_exporter.tracker.observations import Details, SystemStats
from comfyui_exporter.tracker.runs import Run, State
from comfyui_exporter.tracker.sink import Sink
from comfyui_exporter.tracker.transitions import Submitted, Transition
from comfyui_exporter.tracker.view import ServerView

UNKNOWN_JOB_TYPE = "unknown"
FAILURE_AGE = 3600.0
"""Seconds for which a failed job is shown by name."""

_NEVER = object()


class MetricSink(Sink):
    """Keeps the series of the servers it is told of.

    `wall` turns a point in time of the observations into Unix time. `job_types` are those that the configuration names.
    `lasting` takes what continues over a restart; without one it is shown at once.
    """

    def __init__(
        self,
        store: MetricStore,
        wall: Callable[[float], float],
        patterns: Sequence[str],
        job_types: Iterable[str] = (),
        *,
        job_series: int = 20,
        failed_series: int = 10,
        lasting: Lasting | None = None,
    ) -> None:
        self._store = store
        self._lasting = lasting or Lasting(store, deferred=False)
        self._wall = wall
        self._patterns = tuple(patterns)
        self._job_types = tuple(dict.fromkeys((*job_types, UNKNOWN_JOB_TYPE)))
        self._job_series = job_series
        self._failed_series = failed_series
        self._queues: dict[str, tuple[int, int] | None] = {}
        self._systems: dict[str, SystemStats | None] = {}
        self._standing: dict[str, set[LabelValues]] = {}
        """By server, the label sets of finished jobs for which everything stands that such a job may count."""
        self._no_labels = ("",) * (len(store.labels(families.JOBS)) - len(families.JOBS.labels))

    def add_server(self, server: str, totals: Totals | None = None) -> None:
        """Begin with a server: it continues from these totals, and what it may count stands at 0 at least."""
        self._forget_shown(server)
        self._store.add_server(server)
        self._lasting.load(server, totals or {})
        self._standing[server] = set()
        for job_type in self._job_types:
            self._add(server, standing(job_type, self._patterns, self._no_labels))
        self._add(server, [Increment(families.RESTARTS, (), 0), Increment(families.BUSY, (), 0)])

    def expect(self, patterns: Sequence[str], job_types: Iterable[str]) -> None:
        """Go by other failure patterns and job types: what is new among them stands at 0."""
        before = self._patterns, self._job_types
        self._patterns = tuple(patterns)
        self._job_types = tuple(dict.fromkeys((*job_types, UNKNOWN_JOB_TYPE)))
        if before == (self._patterns, self._job_types):
            return
        for server in self._store.servers:
            self._standing[server] = set()
            for job_type in self._job_types:
                self._add(server, standing(job_type, self._patterns, self._no_labels))

    def remove_server(self, server: str) -> None:
        """Drop a server with all its series."""
        self._forget_shown(server)
        self._store.remove_server(server)
        self._lasting.forget(server)
        self._standing.pop(server, None)

    def _forget_shown(self, server: str) -> None:
        self._queues.pop(server, None)
        self._systems.pop(server, None)

    def transitions(self, server: str, changes: Sequence[Transition]) -> None:
        """Count what happened."""
        for change in changes:
            stands = isinstance(change, Submitted) and self._stands(server, change.run.details)
            self._add(server, increments(change, self._patterns, stands=stands))

    def _stands(self, server: str, details: Details) -> bool:
        """Whether jobs like this one have all their series, which of a queue of thousands all but the first have."""
        standing_ones = self._standing.get(server)
        if standing_ones is None:
            return False
        labels = details.labels or self._no_labels
        shown = self._store.exposed(families.JOBS, server, (details.job_type, State.COMPLETED.value, *labels))
        if shown in standing_ones:
            return True
        standing_ones.add(shown)
        return False

    def busy(self, server: str, seconds: float) -> None:
        """Count time with a job running."""
        self._store.inc(families.BUSY, server, (), seconds)

    def request(self, server: str, route: str, result: str, seconds: float, received_bytes: int) -> None:
        """Count a request and its cost."""
        self._store.inc(families.REQUESTS, server, (route, result))
        self._store.observe(families.REQUEST_DURATION, server, (route,), seconds)
        self._store.inc(families.RECEIVED_BYTES, server, (route,), received_bytes)

    def event(self, server: str, kind: str, received_bytes: int) -> None:
        """Count an event of the stream and its cost."""
        self._store.inc(families.EVENTS, server, (kind,))
        self._store.inc(families.RECEIVED_BYTES, server, ("/ws",), received_bytes)

    def _add(self, server: str, added: Iterable[Increment]) -> None:
        for told in added:
            increment = self._labelled(told)
            exemplar = increment.exemplar
            if exemplar is not None:
                exemplar = replace(exemplar, timestamp=self._wall(exemplar.timestamp))
            if increment.family.lasting:
                self._lasting.add(server, increment if exemplar is None else replace(increment, exemplar=exemplar))
            elif increment.family.buckets is not None:
                self._store.observe(increment.family, server, increment.labels, increment.amount, exemplar)
            elif increment.amount == 0:
                self._store.touch(increment.family, server, increment.labels)
            else:
                self._store.inc(increment.family, server, increment.labels, increment.amount, exemplar)

    def _labelled(self, increment: Increment) -> Increment:
        """Give it every job label: of a job that was gone before anybody could look into it, none is known."""
        family = increment.family
        missing = len(family.labels) + len(self._no_labels) - len(increment.labels) if family.job_labels else 0
        return replace(increment, labels=increment.labels + self._no_labels[:missing]) if missing > 0 else increment

    # Gauges

    def view(self, server: str, view: ServerView, at: float) -> None:
        """Show a server as it is now; what is not known is not shown.

        Of many servers most are idle and say the same as before: what none of them has to show costs next to nothing.
        """
        show = self._store.show
        down = view.up is False
        show(families.UP, server, None if view.up is None else float(view.up))
        show(families.EVENT_STREAM_CONNECTED, server, float(view.event_stream_connected))
        self._time(families.LAST_SUCCESS, server, view.last_success)
        self._time(families.LAST_ACTIVITY, server, view.last_activity)
        known = view.running is not None and view.pending is not None and not down
        queue = (view.running or 0, view.pending or 0) if known else None
        if self._queues.get(server, _NEVER) != queue:
            self._queues[server] = queue
            states: dict[LabelValues, float] = (
                {} if queue is None else {("running",): float(queue[0]), ("pending",): float(queue[1])}
            )
            self._store.replace(families.QUEUE_JOBS, server, states)
        self._time(families.QUEUE_OLDEST_PENDING, server, view.oldest_pending if known else None)
        show(families.QUEUE_DRAIN, server, None if down or not known else view.forecast.drain_seconds)
        runs = () if down else view.open_runs
        if runs or self._store.shows(families.JOB_PROGRESS, server):
            self._jobs(server, runs, view.forecast)
        if view.failed_runs or self._store.shows(families.JOB_FAILED, server):
            self._failed(server, view.failed_runs, at)
        stats = None if down else view.stats
        if self._systems.get(server, _NEVER) is not stats:
            self._systems[server] = stats
            self._stats(server, stats)

    def _failed(self, server: str, runs: Sequence[Run], at: float) -> None:
        self._store.replace(
            families.JOB_FAILED,
            server,
            {
                (*_job(run), run.pattern, run.failure.node_type if run.failure else ""): self._wall(run.ended_at)
                for run in runs[: self._failed_series]
                if run.ended_at is not None and at - run.ended_at <= FAILURE_AGE
            },
        )

    def _jobs(self, server: str, runs: Iterable[Run], forecast: Forecast) -> None:
        shown: dict[tuple[str, ...], Run] = {}
        for run in runs:
            if run.state in {State.PROCESSING, State.QUEUED} and len(shown) < self._job_series:
                shown.setdefault(_job(run), run)
        running = {job: run for job, run in shown.items() if run.state is State.PROCESSING}
        stepping = {job: run.progress for job, run in running.items() if run.progress.steps}
        self._store.replace(
            families.JOB_PROGRESS, server, {job: round(run.progress.percent / 100, 4) for job, run in shown.items()}
        )
        self._store.replace(
            families.JOB_CURRENT_STEP, server, {job: progress.step for job, progress in stepping.items()}
        )
        self._store.replace(
            families.JOB_TOTAL_STEPS, server, {job: progress.steps for job, progress in stepping.items()}
        )
        starts = {job: self._wall(run.started_at) for job, run in running.items() if run.started_at is not None}
        self._store.replace(families.JOB_START, server, starts)
        ends = {job: forecast.ends.get(run.run_id) for job, run in shown.items()}
        self._store.replace(
            families.JOB_ESTIMATED_END,
            server,
            {job: self._wall(end) for job, end in ends.items() if end is not None},
        )
        self._store.replace(families.JOB_STALLED, server, {job: 1.0 for job, run in shown.items() if run.stalled})

    def _stats(self, server: str, stats: SystemStats | None) -> None:
        if stats is None:
            for family in (families.INFO, families.RAM_TOTAL, families.RAM_FREE, *_OF_DEVICES):
                self._store.clear(family, server)
            return
        versions = (stats.version, stats.python_version, stats.pytorch_version, stats.os)
        self._store.replace(families.INFO, server, {versions: 1})
        self._store.show(families.RAM_TOTAL, server, stats.ram_total)
        self._store.show(families.RAM_FREE, server, stats.ram_free)
        for family, attribute in _OF_DEVICES.items():
            sizes = {(device.name, device.type): getattr(device, attribute) for device in stats.devices}
            self._store.replace(family, server, {key: size for key, size in sizes.items() if size is not None})

    def _time(self, family: Family, server: str, at: float | None) -> None:
        self._store.show(family, server, None if at is None else self._wall(at))


_OF_DEVICES: dict[Family, str] = {
    families.VRAM_TOTAL: "vram_total",
    families.VRAM_FREE: "vram_free",
    families.TORCH_VRAM_TOTAL: "torch_vram_total",
    families.TORCH_VRAM_FREE: "torch_vram_free",
}


def _job(run: Run) -> tuple[str, str, str]:
    job_id = run.details.job_id
    return (run.prompt_id, "" if job_id is None else str(job_id), run.details.job_type)
