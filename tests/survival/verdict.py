"""Is each job counted once: /metrics, the job log and the samples of Prometheus, held against the ledger."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from comfyui_exporter.simulator.expectation import ENDS, Expectation, expect
from comfyui_exporter.simulator.ledger import Run
from ledger import Journal, Reported, counted_runs, differences
from prometheus_server import PrometheusServer, Series

LASTING = "comfyui_jobs?_.*|comfyui_restarts_total"
_GAUGES = ("_timestamp_seconds", "_ratio", "_step", "_steps", "_stalled")

_AS_STATUS = {
    "completed": frozenset({"completed"}),
    "failed": frozenset({"failed"}),
    "cancelled": frozenset({"cancelled", "interrupted"}),
    "timeout": frozenset({"lost"}),
}
"""How the API tells of each end."""


@dataclass(slots=True)
class Verdict:
    """What is told wrong by whom; nothing if all is true."""

    series: Sequence[Series]
    reported: Reported
    sampled: Reported
    rows: Counter[str]
    """Jobs of the log by status."""
    least: Counter[str]
    most: Counter[str]
    """By end, and `submitted`: what must be counted and what may be."""
    metrics: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)
    lost: int = 0
    """Jobs that must be in the log and are not."""
    double: int = 0
    """Jobs in the log that are none, or ended otherwise."""
    runs: list[Run] = field(default_factory=list)
    """All that are not older than the first look."""
    unknowable: list[Run] = field(default_factory=list)
    """What no answered read showed before it was gone."""
    doubtful: list[Run] = field(default_factory=list)
    """What only an exporter was shown that was killed right after."""
    hidden: list[Run] = field(default_factory=list)
    offenders: list[str] = field(default_factory=list)
    """Prompt ids."""

    @property
    def true(self) -> bool:
        """Whether there is nothing to say."""
        return not (self.metrics or self.log or self.samples)

    def table(self) -> str:
        """Both sides, by end."""
        gone = Counter(run.removal for run in self.unknowable)
        lines = [f"{'':12}{'ledger':>14}{'/metrics':>10}{'Prometheus':>12}"]
        for what in ("submitted", *ENDS):
            least, most = self.least[what], self.most[what]
            true = str(least) if least == most else f"{least}..{most}"
            lines.append(f"{what:12}{true:>14}{_count(self.reported, what):>10}{_count(self.sampled, what):>12}")
        lines.append(f"{'job log':12}{'':>14}{self.rows.total():>10}")
        lines.append(
            f"lost {self.lost}, double {self.double}; by name: {len(self.unknowable)} that no answered read showed "
            f"({', '.join(f'{count} {why}' for why, count in gone.most_common())}), "
            f"{len(self.doubtful)} that only an exporter was shown that was killed right after, "
            f"{len(self.hidden)} in the old place of their id"
        )
        return "\n".join(lines)

    def names(self) -> Iterator[str]:
        """Every run that is an exception, and why."""
        for why, runs in (("unknowable", self.unknowable), ("doubtful", self.doubtful), ("hidden", self.hidden)):
            for run in runs:
                yield f"{why}: {run.prompt_id}/{run.number:g} {run.truth}, {run.removal or run.place}"

    def problems(self) -> list[str]:
        """All of them, with who told it wrong."""
        return [
            *(f"/metrics: {line}" for line in self.metrics),
            *(f"job log: {line}" for line in self.log),
            *(f"Prometheus: {line}" for line in self.samples),
        ]


def judge(journal: Journal, reported: Reported, rows: Sequence[Mapping[str, Any]], series: Sequence[Series]) -> Verdict:
    """Compare /metrics, the job log and all samples with the ledger, and with each other."""
    sampled = _increases(series)
    verdict = Verdict(series, reported, sampled, Counter(str(row["status"]) for row in rows), *_bounds(journal))
    verdict.metrics = differences(journal, reported)
    verdict.samples = list(_of_samples(journal, reported, sampled, series))
    _judge_log(journal, rows, verdict)
    for run in journal.ledger.runs:
        expectation = expect(run, journal.ledger)
        if run.before_first_history:
            continue
        verdict.runs.append(run)
        if expectation.unknowable:
            verdict.unknowable.append(run)
        elif expectation.doubtful:
            verdict.doubtful.append(run)
        elif expectation.hidden:
            verdict.hidden.append(run)
    return verdict


def lasting_series(prometheus: PrometheusServer) -> list[Series]:
    """What continues over a restart of the exporter, as Prometheus has it."""
    return [
        series
        for series in prometheus.series(f'{{__name__=~"{LASTING}"}}')
        if not series.name.endswith(_GAUGES) or "_seconds_" in series.name
    ]


def _increases(series: Sequence[Series]) -> Reported:
    submitted: Counter[str] = Counter()
    ended: Counter[tuple[str, str]] = Counter()
    restarts = 0
    for one in series:
        match one.name:
            case "comfyui_jobs_submitted_total":
                submitted[one.labels["job_type"]] += round(one.increase)
            case "comfyui_jobs_total":
                ended[one.labels["job_type"], one.labels["status"]] += round(one.increase)
            case "comfyui_restarts_total":
                restarts += round(one.increase)
            case _:
                pass
    return Reported(submitted, ended, restarts)


def _of_samples(journal: Journal, reported: Reported, sampled: Reported, series: Sequence[Series]) -> Iterator[str]:
    for one in series:
        for at, before, value in one.falls:
            yield f"{one} fell from {before:g} to {value:g} at {at:.3f}"
        if one.name in {"comfyui_jobs_total", "comfyui_jobs_submitted_total", "comfyui_restarts_total"} and one.first:
            yield f"{one} was first met at {one.first:g}, which increase() does not see"
    if (sampled.submitted, sampled.ended) != (reported.submitted, reported.ended):
        yield f"{sampled} was sampled, {reported} is served"
    yield from differences(journal, sampled)
    yield from _inside(series)


def _inside(series: Sequence[Series]) -> Iterator[str]:
    """Counters that must agree with each other: they are of the same ends."""
    ends, durations = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
    failed, failures = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
    for one in series:
        job_type, status = one.labels.get("job_type", ""), one.labels.get("status", "")
        match one.name:
            case "comfyui_jobs_total" if status in {"completed", "failed", "interrupted"}:
                ends[job_type, status] += round(one.last)
                if status == "failed":
                    failed[(job_type,)] += round(one.last)
            case "comfyui_job_duration_seconds_count":
                durations[job_type, status] += round(one.last)
            case "comfyui_job_failures_total":
                failures[(job_type,)] += round(one.last)
            case _:
                pass
    for what, mine, theirs in (("durations", durations, ends), ("failures", failures, failed)):
        for key in sorted(set(mine) | set(theirs)):
            if mine[key] != theirs[key]:
                yield f"{mine[key]} {what} of {' '.join(key)}, {theirs[key]} ends"


def _bounds(journal: Journal) -> tuple[Counter[str], Counter[str]]:
    least, most = Counter[str](), Counter[str]()
    for _, expectation in counted_runs(journal.ledger):
        most["submitted"] += 1
        least["submitted"] += not expectation.optional
        for end in expectation.accepts:
            most[end] += 1
        if len(expectation.accepts) == 1 and not expectation.optional:
            least[expectation.accepts[0]] += 1
    return least, most


def _judge_log(journal: Journal, rows: Sequence[Mapping[str, Any]], verdict: Verdict) -> None:
    seen = Counter(row["run_id"] for row in rows)
    verdict.log += [f"run {run_id} is listed {count} times" for run_id, count in seen.items() if count > 1]
    counts = Counter(end for (_, end), count in verdict.reported.ended.items() for _ in range(count))
    for status, ends in _AS_STATUS.items():
        counted = sum(counts[end] for end in ends)
        if verdict.rows[status] != counted:
            verdict.log.append(f"{verdict.rows[status]} jobs are {status}, {counted} were counted so")
    by_id: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_id[row["comfyui_prompt_id"]].append(row)
    expected: dict[str, list[tuple[Run, Expectation]]] = defaultdict(list)
    for run, expectation in counted_runs(journal.ledger):
        expected[run.prompt_id].append((run, expectation))
    for prompt_id in dict.fromkeys((*expected, *by_id)):
        told, true = by_id[prompt_id], expected[prompt_id]
        certain = [(run, e) for run, e in true if not e.optional]
        lost = len(certain) - _matched(certain, told)
        double = len(told) - _matched(true, told)
        if lost or double:
            verdict.lost += lost
            verdict.double += double
            verdict.offenders.append(prompt_id)
            verdict.log.append(
                f"{prompt_id}: told as {[(row['status'], row['job_type']) for row in told]}, "
                f"true {[(run.truth, e.accepts, run.job_type, e.optional) for run, e in true]}"
            )


def _matched(runs: Sequence[tuple[Run, Expectation]], rows: Sequence[Mapping[str, Any]]) -> int:
    """How many of the runs can have a row of their own, in the best of all assignments."""
    owner: dict[int, int] = {}

    def place(index: int, tried: set[int]) -> bool:
        run, expectation = runs[index]
        for number, row in enumerate(rows):
            if number in tried or not _tells(row, run, expectation):
                continue
            tried.add(number)
            if number not in owner or place(owner[number], tried):
                owner[number] = index
                return True
        return False

    return sum(place(index, set()) for index in range(len(runs)))


def _tells(row: Mapping[str, Any], run: Run, expectation: Expectation) -> bool:
    if row["job_type"] != run.job_type:
        return False
    ends = _AS_STATUS.get(row["status"])
    if ends is None:
        return not expectation.accepts
    return not ends.isdisjoint(expectation.accepts)


def _count(reported: Reported, what: str) -> int:
    if what == "submitted":
        return reported.submitted.total()
    return sum(count for (_, status), count in reported.ended.items() if status == what)
