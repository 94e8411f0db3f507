"""What watching one ComfyUI costs: bytes, CPU and memory, and what the naive way would cost.

    python bench/watching.py [--minutes M] [--quick]

Real processes: `comfyui-exporter simulate` with 2,000 entries in history and 500 pending jobs of 30 kB, of which about
10 finish in a minute, and `comfyui-exporter run`. Bytes are those of the exporter's own /metrics; CPU and memory are
from /proc. What ComfyUI pushes over /ws (progress, previews) comes whether it is read or not, so it has a column of its
own and does not count into the goals, which are of reads. Nothing is asserted. Writes bench/results/watching.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from naive import fetch
from processes import cpu_seconds, free_port, memory_mb, running
from prometheus_client.parser import text_string_to_metric_families

from comfyui_exporter.simulator.workflows import BrowserData, image

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "watching.json"

HISTORY = 2000
PENDING = 500
ITEM_BYTES = 30_000
SPEED = 0.95
"""At which about 10 of our jobs finish in a minute."""

PER_MINUTE = 10
SCRAPE_INTERVAL = 15.0
NAIVE_INTERVAL = 2.0
WS = "/ws"


class Jobs:
    """Submits jobs that differ in nothing but the seed, each of ITEM_BYTES in the queue.

    Every other one has no client_id: its progress and previews are pushed to all sockets, ours too.

    Not the simulator's own traffic: only half of that has a browser's workflow, and so its size is all over the place.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._rng = Random(3)
        self._submitted = 0
        workflow = image(self._rng)
        self._graph = workflow.graph
        self._graph["5"]["inputs"]["batch_size"] = 1
        self._graph["3"]["inputs"]["steps"] = 30
        # What the simulator's padding leaves for the rest of an item turns out smaller than it thinks.
        self._extra = BrowserData(ITEM_BYTES + 1300, self._rng).of(workflow)

    def submit(self) -> None:
        self._graph["3"]["inputs"]["seed"] = self._rng.getrandbits(60)
        self._submitted += 1
        body: dict[str, Any] = {"prompt": self._graph, "extra_data": self._extra}
        if self._submitted % 2:
            body["client_id"] = "browser-1"
        data = json.dumps(body).encode()
        request = urllib.request.Request(self._url + "/prompt", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            response.read()


@dataclass
class Reading:
    """The counters of the exporter and of both processes at one moment."""

    at: float
    received: Counter[str]
    requests: Counter[str]
    submitted: float
    ended: float
    exporter_cpu: float
    simulator_cpu: float


@dataclass
class Situation:
    """What was measured in one situation, per minute unless said otherwise."""

    name: str
    profile: str
    seconds: float
    submitted: float
    ended: float
    received: dict[str, float]
    requests: dict[str, float]
    reads_bytes: float
    """All routes but /ws."""
    ws_bytes: float
    exporter_cpu_percent: float
    exporter_rss_mb: float
    exporter_peak_rss_mb: float
    simulator_rss_mb: float
    simulator_cpu_percent: float
    simulator_cpu_extra_percent: float
    """More than it used unwatched."""


@dataclass
class Naive:
    """What reading everything cost, against the same state."""

    bytes_per_read: float
    seconds_per_read: float
    """Its own pace; above NAIVE_INTERVAL it could not keep up."""
    bytes_per_minute: float
    bytes_per_minute_every_10s: float
    """Computed."""
    simulator_cpu_extra_percent: float
    simulator_cpu_extra_percent_every_10s: float
    """Computed."""
    own_cpu_percent: float


@dataclass
class State:
    """One simulated ComfyUI: what it was before it was watched, and what watching it cost."""

    profile: str
    queue_bytes: int
    queue_item_bytes: float
    history_bytes: int
    history_entry_bytes: float
    graph_bytes: int
    baseline_cpu_percent: float
    naive: Naive
    first_metric_seconds: float = 0.0
    first_look_bytes: float = 0.0
    situations: list[Situation] = field(default_factory=list)


def wait_for(url: str, needle: bytes = b"", *, seconds: float = 60.0) -> bytes:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            body = fetch(url)
        except (urllib.error.URLError, ConnectionError):
            body = None
        if body is not None and needle in body:
            return body
        time.sleep(0.01)
    msg = f"no answer that has {needle!r} within {seconds:.0f} s"
    raise TimeoutError(msg)


class Exporter:
    """A running exporter, and the simulator that it watches."""

    def __init__(self, url: str, pid: int, simulator_pid: int) -> None:
        self._metrics = url + "/metrics"
        self.pid = pid
        self.simulator_pid = simulator_pid

    def read(self) -> Reading:
        received, requests, totals = Counter[str](), Counter[str](), Counter[str]()
        for family in text_string_to_metric_families(fetch(self._metrics).decode()):
            for sample in family.samples:
                match sample.name:
                    case "comfyui_exporter_received_bytes_total":
                        received[sample.labels["route"]] += int(sample.value)
                    case "comfyui_exporter_requests_total":
                        requests[sample.labels["route"]] += int(sample.value)
                    case "comfyui_jobs_submitted_total" | "comfyui_jobs_total":
                        totals[sample.name] += int(sample.value)
        return Reading(
            time.monotonic(),
            received,
            requests,
            totals["comfyui_jobs_submitted_total"],
            totals["comfyui_jobs_total"],
            cpu_seconds(self.pid),
            cpu_seconds(self.simulator_pid),
        )

    def settle(self, pending: int) -> None:
        """Wait until it knows the queue."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.read().submitted < pending * 0.9:
            time.sleep(0.5)
        time.sleep(4)


class Pace:
    """Lets time pass, with submissions at an even pace and scrapes as Prometheus would make them."""

    def __init__(self, exporter: Exporter, jobs: Jobs | None) -> None:
        self._exporter = exporter
        self._jobs = jobs
        now = time.monotonic()
        self._next_job = now + 30 / PER_MINUTE if jobs else float("inf")
        self._next_scrape = now + SCRAPE_INTERVAL

    def step(self, until: float) -> None:
        """Sleep until something is due, and do it."""
        time.sleep(max(0.0, min(until, self._next_job, self._next_scrape) - time.monotonic()))
        now = time.monotonic()
        if self._jobs and now >= self._next_job:
            self._jobs.submit()
            self._next_job += 60 / PER_MINUTE
        if now >= self._next_scrape:
            self._exporter.read()
            self._next_scrape += SCRAPE_INTERVAL

    def run(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.step(until)

    def until_read_of(self, route: str, longest: float = 100.0) -> None:
        """Run until the exporter has just read a route."""
        until = time.monotonic() + longest
        first = self._exporter.read().requests[route]
        while time.monotonic() < until and self._exporter.read().requests[route] == first:
            self.step(time.monotonic() + 0.5)


def measure(exporter: Exporter, state: State, name: str, minutes: float, pace: Pace, *, period_of: str = "") -> None:
    """Measure one situation; `period_of` a route that is read seldom: a whole number of the periods between."""
    if period_of:
        pace.until_read_of(period_of)
    before = exporter.read()
    pace.run(minutes * 60)
    if period_of:
        pace.until_read_of(period_of)
    after = exporter.read()
    seconds = after.at - before.at
    scale = 60 / seconds
    received = {route: count * scale for route, count in sorted((after.received - before.received).items())}
    simulator_cpu = (after.simulator_cpu - before.simulator_cpu) / seconds * 100
    situation = Situation(
        name=name,
        profile=state.profile,
        seconds=seconds,
        submitted=(after.submitted - before.submitted) * scale,
        ended=(after.ended - before.ended) * scale,
        received=received,
        requests={route: count * scale for route, count in sorted((after.requests - before.requests).items())},
        reads_bytes=sum(count for route, count in received.items() if route != WS),
        ws_bytes=received.get(WS, 0.0),
        exporter_cpu_percent=(after.exporter_cpu - before.exporter_cpu) / seconds * 100,
        exporter_rss_mb=memory_mb(exporter.pid),
        exporter_peak_rss_mb=memory_mb(exporter.pid, "VmHWM"),
        simulator_rss_mb=memory_mb(exporter.simulator_pid),
        simulator_cpu_percent=simulator_cpu,
        simulator_cpu_extra_percent=simulator_cpu - state.baseline_cpu_percent,
    )
    state.situations.append(situation)
    note(f"  ({name}) {per_route(situation)}")


def per_route(situation: Situation) -> str:
    return ", ".join(
        f"{route} {situation.requests.get(route, 0):.1f}x {count / 1e3:.1f} kB"
        for route, count in situation.received.items()
    )


def busy_percent(pid: int, seconds: float) -> float:
    before, at = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - at) * 100


def measure_naive(url: str, pid: int, seconds: float, baseline: float) -> Naive:
    before = cpu_seconds(pid)
    command = [sys.executable, str(HERE / "naive.py"), url, str(seconds), str(NAIVE_INTERVAL)]
    shown = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    took, reads = shown["seconds"], shown["reads"]
    received = sum(shown["received"].values())
    extra = (cpu_seconds(pid) - before) - baseline / 100 * took
    return Naive(
        bytes_per_read=received / reads,
        seconds_per_read=took / reads,
        bytes_per_minute=received / took * 60,
        bytes_per_minute_every_10s=received / reads * 6,
        simulator_cpu_extra_percent=extra / took * 100,
        simulator_cpu_extra_percent_every_10s=extra / reads * 10,
        own_cpu_percent=shown["cpu"] / took * 100,
    )


@contextmanager
def simulator(profile: str, graph_bytes: int) -> Iterator[tuple[str, int]]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    arguments = ("--port", str(port), "--profile", profile, "--speed", str(SPEED), "--history", str(HISTORY))
    with running("simulate", *arguments, "--failure-rate", "0", "--graph-bytes", str(graph_bytes)) as pid:
        wait_for(url + "/prompt")
        yield url, pid


def graph_bytes_for_items() -> int:
    """The --graph-bytes that gives entries of ITEM_BYTES on average: not every submission has a browser's workflow."""
    with simulator("0.3.64", ITEM_BYTES) as (url, _):
        padded = len(fetch(url + "/history")) / HISTORY
    with simulator("0.3.64", 0) as (url, _):
        bare = len(fetch(url + "/history")) / HISTORY
    share = (padded - bare) / ITEM_BYTES
    return round((ITEM_BYTES - bare) / share)


@contextmanager
def watched(
    profile: str, graph_bytes: int, pending: int, naive_seconds: float
) -> Iterator[tuple[Exporter, State, Jobs]]:
    """A simulator, measured unwatched and watched naively, then an exporter that knows all of it."""
    note(f"ComfyUI {profile}, {pending} pending")
    with simulator(profile, graph_bytes) as (url, pid):
        jobs = Jobs(url)
        for _ in range(pending):
            jobs.submit()
        queue, history = fetch(url + "/queue"), fetch(url + "/history")
        items = json.loads(queue)
        baseline = busy_percent(pid, naive_seconds)
        state = State(
            profile=profile,
            queue_bytes=len(queue),
            queue_item_bytes=len(queue) / max(1, len(items["queue_pending"]) + len(items["queue_running"])),
            history_bytes=len(history),
            history_entry_bytes=len(history) / len(json.loads(history)),
            graph_bytes=graph_bytes,
            baseline_cpu_percent=baseline,
            naive=measure_naive(url, pid, naive_seconds, baseline),
        )
        port = free_port()
        began = time.monotonic()
        with running(
            "run", "--push.listen-address", "", "--web.listen-address", f"127.0.0.1:{port}", "--comfyui.url", url,
            "--store.url", "memory",
        ) as exporter_pid:  # fmt: skip
            own = f"http://127.0.0.1:{port}"
            wait_for(own + "/metrics", b"comfyui_up{")
            state.first_metric_seconds = time.monotonic() - began
            exporter = Exporter(own, exporter_pid, pid)
            exporter.settle(pending)
            received = exporter.read().received
            state.first_look_bytes = sum(received.values()) - received[WS]
            yield exporter, state, jobs


def run_all(minutes: float, naive_seconds: float, *, quick: bool) -> list[State]:
    graph_bytes = graph_bytes_for_items()
    states = []
    with watched("0.3.64", graph_bytes, PENDING, naive_seconds) as (exporter, state, jobs):
        measure(exporter, state, "a", minutes, Pace(exporter, None))
        measure(exporter, state, "b", minutes, Pace(exporter, jobs), period_of="" if quick else "/queue")
        states.append(state)
    with watched("0.38", graph_bytes, PENDING, naive_seconds) as (exporter, state, jobs):
        measure(exporter, state, "c", minutes, Pace(exporter, jobs), period_of="" if quick else "/api/jobs")
        states.append(state)
    with watched("0.3.64", graph_bytes, 0, naive_seconds) as (exporter, state, _):
        measure(exporter, state, "d", minutes, Pace(exporter, None))
        states.append(state)
    return states


CLAIMS = {
    "a": ("nothing submitted, 10 ends a minute", 0.35e6),
    "b": ("10 submissions a minute, 0.3.64", 16e6),
    "c": ("10 submissions a minute, 0.38", 16e6),
    "d": ("idle, socket open", 10e3),
}


def judged_bytes(situation: Situation) -> float:
    """The bytes a minute that the goal is about: in (a), the history's scaled to 10 ends."""
    if situation.name != "a" or not situation.ended:
        return situation.reads_bytes
    of_ends = sum(count for route, count in situation.received.items() if route.startswith("/history"))
    return situation.reads_bytes - of_ends + of_ends * PER_MINUTE / situation.ended


def ratio(naive: float, ours: float) -> float | None:
    return naive / ours if ours > 0 else None


def in_units(count: float) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def times(value: float | None) -> str:
    return "n/a" if value is None else f"{value:,.0f}x"


def rows_of(states: list[State]) -> list[dict[str, Any]]:
    rows = []
    for state in states:
        for situation in state.situations:
            claim, goal = CLAIMS[situation.name]
            ours, naive = judged_bytes(situation), state.naive
            extra = situation.simulator_cpu_extra_percent
            rows.append(
                {
                    "situation": situation.name,
                    "claim": claim,
                    "goal_bytes_per_minute": goal,
                    "read_bytes_per_minute": ours,
                    "ws_bytes_per_minute": situation.ws_bytes,
                    "naive_bytes_per_minute": naive.bytes_per_minute,
                    "bytes_ratio": ratio(naive.bytes_per_minute, ours),
                    "bytes_ratio_every_10s": ratio(naive.bytes_per_minute_every_10s, ours),
                    "simulator_cpu_extra_percent": extra,
                    "naive_simulator_cpu_extra_percent": naive.simulator_cpu_extra_percent,
                    "simulator_cpu_ratio": ratio(naive.simulator_cpu_extra_percent, extra),
                    "simulator_cpu_ratio_every_10s": ratio(naive.simulator_cpu_extra_percent_every_10s, extra),
                }
            )
    return rows


def print_table(header: list[str], lines: list[list[str]]) -> None:
    widths = [max(len(line[place]) for line in [header, *lines]) for place in range(len(header))]
    for line in [header, *lines]:
        first, *others = zip(line, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        print("  ".join(cells))


def show(states: list[State], rows: list[dict[str, Any]]) -> None:
    print()
    print_table(
        ["Reads a minute", "goal <=", "measured", "naive 2 s", "ratio", "10 s", "/ws, not counted"],
        [
            [
                f"({row['situation']}) {row['claim']}",
                in_units(row["goal_bytes_per_minute"]),
                in_units(row["read_bytes_per_minute"]),
                in_units(row["naive_bytes_per_minute"]),
                times(row["bytes_ratio"]),
                times(row["bytes_ratio_every_10s"]),
                in_units(row["ws_bytes_per_minute"]),
            ]
            for row in rows
        ],
    )
    print("/ws is pushed (progress, previews) whether read or not; the goals are of reads. (a) is scaled to 10 ends.\n")
    print_table(
        ["ComfyUI's CPU, % of a core, beyond unwatched", "unwatched", "ours", "naive 2 s", "ratio", "10 s"],
        [
            [
                f"({row['situation']})",
                f"{state.baseline_cpu_percent:.2f}",
                f"{row['simulator_cpu_extra_percent']:.2f}",
                f"{row['naive_simulator_cpu_extra_percent']:.1f}",
                times(row["simulator_cpu_ratio"]),
                times(row["simulator_cpu_ratio_every_10s"]),
            ]
            for row, state in zip(rows, [state for state in states for _ in state.situations], strict=True)
        ],
    )
    print("Ours includes pushing /ws to us, and in (b), (c) taking the submissions in.\n")
    print_table(
        ["The exporter", "CPU %", "RSS MB", "peak MB", "ends/min", "submitted/min", "seconds", "to first metric"],
        [
            [
                f"({situation.name})",
                f"{situation.exporter_cpu_percent:.2f}",
                f"{situation.exporter_rss_mb:.0f}",
                f"{situation.exporter_peak_rss_mb:.0f}",
                f"{situation.ended:.1f}",
                f"{situation.submitted:.1f}",
                f"{situation.seconds:.0f}",
                f"{state.first_metric_seconds:.2f} s",
            ]
            for state in states
            for situation in state.situations
        ],
    )
    print("\nBy route, a minute:")
    for state in states:
        for situation in state.situations:
            print(f"({situation.name}) {per_route(situation)}")
    for state in states:
        print(
            f"ComfyUI {state.profile}: /queue {in_units(state.queue_bytes)} (item {in_units(state.queue_item_bytes)}), "
            f"/history {in_units(state.history_bytes)} (entry {in_units(state.history_entry_bytes)}), "
            f"first look {in_units(state.first_look_bytes)}; naive: one read in {state.naive.seconds_per_read:.1f} s, "
            f"its own CPU {state.naive.own_cpu_percent:.0f} %"
        )


def note(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what watching one ComfyUI costs.")
    parser.add_argument(
        "--minutes",
        type=float,
        default=3.0,
        help="per situation, and up to the next read of the queue in (b) (default: 3)",
    )
    parser.add_argument("--quick", action="store_true", help="20 s per situation: a look, not a measurement")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    minutes = 1 / 3 if arguments.quick else arguments.minutes
    naive_seconds = 10.0 if arguments.quick else 24.0
    states = run_all(minutes, naive_seconds, quick=arguments.quick)
    rows = rows_of(states)
    show(states, rows)
    RESULTS.parent.mkdir(exist_ok=True)
    results = {
        "python": platform.python_version(),
        "quick": arguments.quick,
        "minutes": minutes,
        "claims": rows,
        "states": [asdict(state) for state in states],
    }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
