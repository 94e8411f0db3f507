"""How good estimates are: a job log is replayed in time order, each job predicted from those that ended before it.

    python bench/eta.py                              the recorded and a simulated log
    python bench/eta.py --log FILE                   a log of one's own
    python bench/eta.py --url URL --jobs N --save FILE   drive a running ComfyUI, then keep and replay its log

The comparison is what simple monitors do: the median of all jobs of that job_type so far. A log has one JSON object a
line: started_ms, ended_ms, job_type, epoch, nodes_executed, nodes_cached, features. A ComfyUI that is driven needs
bench/comfyui_nodes/probe_nodes.py in its custom_nodes, and no models; it should have nothing else to do. Also measured:
the CPU that it takes to estimate 500 pending jobs anew. Nothing is asserted. Writes bench/results/eta.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import msgspec
from eta_workloads import REAL, REAL_LATER, SIMULATED, SIMULATED_LATER, submissions

from comfyui_exporter.comfyui.client import ComfyUIClient
from comfyui_exporter.comfyui.history import read_history
from comfyui_exporter.comfyui.submission import SubmissionReader
from comfyui_exporter.eta.forecast import Forecaster
from comfyui_exporter.eta.predictor import LearningPredictor
from comfyui_exporter.simulator.comfy import ComfyUI
from comfyui_exporter.simulator.worker import work_on
from comfyui_exporter.tracker.estimate import Estimate
from comfyui_exporter.tracker.observations import Details, Features, HistoryEntry, Outcome
from comfyui_exporter.tracker.runs import Run, State

HERE = Path(__file__).parent
RECORDED = HERE / "results" / "eta_jobs.jsonl"
RESULTS = HERE / "results" / "eta.json"

PENDING = 500
WARM_UP = 20
"""Jobs that only teach: nobody can say anything before."""


@dataclass(frozen=True, slots=True)
class Job:
    """One line of a log."""

    started_ms: int
    ended_ms: int
    job_type: str
    features: Features | None
    nodes_executed: int
    nodes_cached: int
    epoch: int = 0

    @property
    def seconds(self) -> float:
        return (self.ended_ms - self.started_ms) / 1000

    def run(self, state: State) -> Run:
        details = Details(job_type=self.job_type, features=self.features)
        entry = HistoryEntry(
            "p",
            0,
            Outcome.COMPLETED,
            started_ms=self.started_ms,
            ended_ms=self.ended_ms,
            nodes_executed=self.nodes_executed,
            nodes_cached=self.nodes_cached,
        )
        return Run("r", "p", 0, state, details, self.epoch, 0.0, entry=entry if state is State.COMPLETED else None)


_job = msgspec.json.Decoder(Job)


def read_log(path: Path) -> list[Job]:
    return [_job.decode(line) for line in path.read_bytes().splitlines() if line]


def write_log(path: Path, jobs: Iterable[Job]) -> None:
    path.write_bytes(b"".join(msgspec.json.encode(job) + b"\n" for job in jobs))


def as_job(entry: HistoryEntry, epoch: int = 0) -> Job | None:
    if entry.outcome is not Outcome.COMPLETED or entry.started_ms is None or entry.ended_ms is None:
        return None
    return Job(
        entry.started_ms,
        entry.ended_ms,
        entry.details.job_type,
        entry.details.features,
        entry.nodes_executed,
        entry.nodes_cached,
        epoch,
    )


# Making logs


def simulate(count: int, seed: int) -> list[Job]:
    """Run jobs on a simulated ComfyUI whose speed drifts, and which restarts now and then."""
    rng = Random(f"{seed} users")
    clock = 1_760_000_000_000.0
    comfy = ComfyUI(lambda: clock, Random(f"{seed} machine"))
    submissions_reader = SubmissionReader()
    jobs: list[Job] = []
    epoch = 0
    made = submissions(SIMULATED, SIMULATED_LATER, count // 2, rng)
    for number in range(count):
        if rng.random() < 0.01:
            comfy.restart()
            epoch += 1
        # A GPU that gets warm is slower by up to a fifth; later a driver makes everything a third faster.
        speed = (1 - 0.1 * (1 - math.cos(number / 40))) * (1.33 if number > 0.7 * count else 1.0)
        kind, graph = next(made)
        comfy.submit({"prompt": graph, "extra_data": {"job_type": kind}})
        execution = comfy.start_next()
        assert execution is not None
        for ms in work_on(comfy, execution, None):
            clock += ms / speed
        body = json.dumps(comfy.history(1).delivered()).encode()
        jobs += [job for entry in read_history(body, submissions_reader).entries if (job := as_job(entry, epoch))]
        clock += 200
    return jobs


async def drive(url: str, count: int, seed: int) -> list[Job]:
    """Have a real ComfyUI run jobs, and read from its history what it says of them."""
    made = submissions(REAL, REAL_LATER, count // 2, Random(seed))
    ours: list[str] = []
    async with aiohttp.ClientSession() as http, ComfyUIClient(url) as client:
        while len(ours) < count or await client.queue_remaining():
            if len(ours) == count or await client.queue_remaining() >= 3:
                await asyncio.sleep(0.1)
                continue
            kind, graph = next(made)
            async with http.post(f"{url}/prompt", json={"prompt": graph, "extra_data": {"job_type": kind}}) as response:
                ours.append((await response.json())["prompt_id"])
        entries = [entry for name in ours for entry in (await client.history_entry(name, lambda _: False)).entries]
    jobs = [job for entry in entries if (job := as_job(entry))]
    return sorted(jobs, key=lambda job: job.ended_ms)


# Replaying


@dataclass(slots=True)
class Score:
    """Errors of one way to estimate."""

    name: str
    jobs: int
    median_error: float
    """Seconds."""
    mean_error: float
    median_relative: float
    bias: float
    """Median of actual / estimated, less 1."""
    covered: float | None = None
    """Share of the jobs within the band, which is meant to hold 0.8 of them."""


def score(name: str, told: list[tuple[Job, Estimate]], *, band: bool) -> Score:
    errors = [abs(job.seconds - estimate.median) for job, estimate in told]
    relative = [error / max(job.seconds, 1e-3) for error, (job, _) in zip(errors, told, strict=True)]
    ratios = [job.seconds / estimate.median for job, estimate in told]
    covered = sum(estimate.low <= job.seconds <= estimate.high for job, estimate in told) / len(told) if band else None
    return Score(
        name,
        len(told),
        statistics.median(errors),
        statistics.fmean(errors),
        statistics.median(relative),
        statistics.median(ratios) - 1,
        covered,
    )


def replay(jobs: list[Job]) -> Iterator[tuple[Job, Estimate | None, Estimate | None]]:
    """Predict each job before it is learned from: with the predictor, and the naive way."""
    predictor = LearningPredictor()
    by_type: dict[str, list[float]] = {}
    for job in jobs:
        before = by_type.setdefault(job.job_type, [])
        usual = statistics.median(before) if before else None
        naive = None if usual is None else Estimate(usual, max(usual, 1e-3), usual)
        yield job, predictor.predict(job.run(State.QUEUED)), naive
        predictor.learn(job.run(State.COMPLETED))
        if job.nodes_executed:
            before.append(job.seconds)


def report(title: str, jobs: list[Job]) -> dict[str, Any]:
    told = [(job, ours, naive) for job, ours, naive in replay(jobs)][WARM_UP:]
    both = [
        (job, ours, naive)
        for job, ours, naive in told
        # Jobs that come whole from the cache take no time: to foresee that would look too good.
        if ours is not None and naive is not None and job.nodes_executed
    ]
    scores = [
        score("median per job_type", [(job, naive) for job, _, naive in both], band=False),
        score("comfyui-exporter", [(job, ours) for job, ours, _ in both], band=True),
    ]
    print(f"\n{title}: {len(jobs)} jobs, {len({job.job_type for job in jobs})} job types, {len(both)} compared")
    print(f"{'':24}{'median error':>14}{'mean error':>12}{'relative':>10}{'bias':>8}{'in band':>9}")
    for one in scores:
        band = "" if one.covered is None else f"{one.covered:.0%}"
        print(
            f"{one.name:24}{one.median_error:12.3f} s{one.mean_error:10.2f} s{one.median_relative:10.1%}"
            f"{one.bias:8.1%}{band:>9}"
        )
    for job_type in sorted({job.job_type for job in jobs}):
        ours = [(job, mine) for job, mine, _ in both if job.job_type == job_type]
        theirs = [(job, naive) for job, _, naive in both if job.job_type == job_type]
        if ours:
            mine, base = score("", ours, band=True), score("", theirs, band=False)
            print(
                f"  {job_type:12} {len(ours):5} jobs  {base.median_error:8.3f} s -> {mine.median_error:7.3f} s"
                f"  ({base.median_relative:6.1%} -> {mine.median_relative:6.1%})  in band {mine.covered:.0%}"
            )
    return {"title": title, "jobs": len(jobs), "scores": [asdict(one) for one in scores]}


# Speed


def measure(jobs: list[Job]) -> dict[str, float]:
    """Measure what the forecast of a deep queue costs: anew after each end, and when nothing happened."""
    predictor = LearningPredictor()
    for job in jobs:
        predictor.learn(job.run(State.COMPLETED))
    rng = Random(1)
    with_features = [job for job in jobs if job.features is not None]

    def pending(number: int) -> Run:
        job = rng.choice(with_features)
        assert job.features is not None
        # The worst case: no two of them have the same settings.
        features = replace(job.features, fingerprint=f"f{number}", content=f"c{number}", costly=f"s{number}")
        run = replace(job, features=features).run(State.QUEUED)
        return replace(run, run_id=f"r{number}", number=float(number))

    runs = [pending(number) for number in range(PENDING)]
    forecaster = Forecaster(predictor)
    anew, unchanged, learning = [], [], []
    for job in jobs[-50:]:
        began = time.thread_time()
        predictor.learn(job.run(State.COMPLETED))
        learning.append(time.thread_time() - began)
        began = time.thread_time()
        forecaster.forecast(runs, 0.0)
        anew.append(time.thread_time() - began)
        began = time.thread_time()
        forecaster.forecast(runs, 1.0)
        unchanged.append(time.thread_time() - began)
    times = {
        "learn_ms": 1000 * statistics.median(learning),
        "anew_ms": 1000 * statistics.median(anew),
        "unchanged_ms": 1000 * statistics.median(unchanged),
    }
    print(
        f"\n{PENDING} pending jobs, all different: {times['anew_ms']:.1f} ms of CPU after a job ended, "
        f"{times['unchanged_ms']:.2f} ms when nothing did; to learn from one: {times['learn_ms']:.2f} ms"
    )
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, help="replay this log alone")
    parser.add_argument("--url", help="drive this ComfyUI and replay what it did")
    parser.add_argument("--jobs", type=int, default=1000, help="how many to simulate or to submit")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=Path, help="where to keep the log of --url, or the simulated one")
    arguments = parser.parse_args()
    if arguments.url:
        logs = {"real ComfyUI": asyncio.run(drive(arguments.url.rstrip("/"), arguments.jobs, arguments.seed))}
    elif arguments.log:
        logs = {str(arguments.log): read_log(arguments.log)}
    else:
        logs = {"real ComfyUI": read_log(RECORDED)} if RECORDED.exists() else {}
        logs["simulator"] = simulate(arguments.jobs, arguments.seed)
    if arguments.save:
        write_log(arguments.save, next(reversed(logs.values())))
    reports = [report(title, jobs) for title, jobs in logs.items()]
    times = measure(next(reversed(logs.values())))
    if not (arguments.url or arguments.log):
        RESULTS.write_text(json.dumps({"logs": reports, "times": times}, indent=1) + "\n")


if __name__ == "__main__":
    main()
