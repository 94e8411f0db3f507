"""What a scrape shows of what watching tells."""

from __future__ import annotations

from dataclasses import replace

from comfyui_exporter.metrics.sink import MetricSink
from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.tracker.observations import (
    Details,
    Device,
    Failure,
    HistoryEntry,
    Media,
    Outcome,
    SystemStats,
)
from comfyui_exporter.tracker.runs import Run, State
from comfyui_exporter.tracker.transitions import Ended, ServerRestarted, Submitted, TimedOut
from comfyui_exporter.tracker.view import ServerView

PATTERNS = ("cuda_oom", "unknown")
DETAILS = Details(job_id="123", job_type="video")
QUEUED = Run("r1", "p1", 4, State.QUEUED, DETAILS, 0, first_seen=100)
RUNNING = replace(
    QUEUED, run_id="r0", prompt_id="p0", number=3, state=State.PROCESSING, started_at=110, seen_running=True
)
ENTRY = HistoryEntry(
    "p0",
    3,
    Outcome.COMPLETED,
    DETAILS,
    started_ms=5000,
    ended_ms=7500,
    output_counts={Media.IMAGES: 2, Media.VIDEO: 1},
    nodes_executed=5,
    nodes_cached=2,
)
VIEW = ServerView(
    up=True,
    event_stream_connected=True,
    last_success=120,
    last_activity=110,
    running=1,
    pending=1,
    open_runs=(RUNNING, QUEUED),
    failed_runs=(),
    stats=None,
)


class Scrape:
    """A store with a sink of one server, and what a scrape of it says."""

    def __init__(self, job_labels: tuple[str, ...] = ()) -> None:
        self.store = MetricStore(job_labels=job_labels)
        self.sink = MetricSink(self.store, lambda at: at + 1000, PATTERNS, ["image"])
        self.sink.add_server("gpu0")

    @property
    def lines(self) -> list[str]:
        return b"".join(self.store.render(False)).decode().splitlines()

    def __getitem__(self, series: str) -> float:
        (line,) = [line for line in self.lines if line.startswith(f"{series} ")]
        return float(line.rsplit(" ", 1)[1])

    def names(self) -> set[str]:
        return {line.split("{")[0] for line in self.lines if not line.startswith("#")}


def test_everything_that_may_be_counted_stands_at_zero_from_the_start() -> None:
    scrape = Scrape()
    for job_type in ("image", "unknown"):
        for status in ("completed", "failed", "interrupted", "cancelled", "lost"):
            assert scrape[f'comfyui_jobs_total{{server="gpu0",job_type="{job_type}",status="{status}"}}'] == 0
        for pattern in PATTERNS:
            assert scrape[f'comfyui_job_failures_total{{server="gpu0",job_type="{job_type}",pattern="{pattern}"}}'] == 0
        assert scrape[f'comfyui_jobs_submitted_total{{server="gpu0",job_type="{job_type}"}}'] == 0
    assert scrape['comfyui_restarts_total{server="gpu0"}'] == 0


def test_a_new_job_type_stands_at_zero_no_later_than_its_submission() -> None:
    scrape = Scrape()
    scrape.sink.transitions("gpu0", [Submitted(100, QUEUED)])
    assert scrape['comfyui_jobs_submitted_total{server="gpu0",job_type="video"}'] == 1
    assert scrape['comfyui_jobs_total{server="gpu0",job_type="video",status="failed"}'] == 0
    assert scrape['comfyui_job_failures_total{server="gpu0",job_type="video",pattern="cuda_oom"}'] == 0


def test_a_completed_job_gives_its_duration_outputs_and_nodes() -> None:
    scrape = Scrape()
    scrape.sink.transitions("gpu0", [Ended(120, replace(RUNNING, state=State.COMPLETED, entry=ENTRY, ended_at=120))])
    assert scrape['comfyui_jobs_total{server="gpu0",job_type="video",status="completed"}'] == 1
    assert scrape['comfyui_job_duration_seconds_sum{server="gpu0",job_type="video",status="completed"}'] == 2.5
    assert scrape['comfyui_job_outputs_total{server="gpu0",job_type="video",media="images"}'] == 2
    assert scrape['comfyui_job_outputs_total{server="gpu0",job_type="video",media="video"}'] == 1
    assert scrape['comfyui_job_nodes_total{server="gpu0",job_type="video",result="executed"}'] == 5
    assert scrape['comfyui_job_nodes_total{server="gpu0",job_type="video",result="cached"}'] == 2


def test_a_failure_counts_under_its_pattern_and_is_shown_by_name_for_an_hour() -> None:
    scrape = Scrape()
    failure = Failure("7", "KSampler", "torch.OutOfMemoryError", "CUDA out of memory")
    entry = replace(ENTRY, outcome=Outcome.FAILED, failure=failure, output_counts={})
    failed = replace(RUNNING, state=State.FAILED, entry=entry, pattern="cuda_oom", ended_at=120)
    scrape.sink.transitions("gpu0", [Ended(120, failed)])
    assert scrape['comfyui_job_failures_total{server="gpu0",job_type="video",pattern="cuda_oom"}'] == 1
    details = 'pattern="cuda_oom",node_type="KSampler",exception_type="torch.OutOfMemoryError"'
    assert scrape[f'comfyui_job_failure_details_total{{server="gpu0",{details}}}'] == 1
    named = (
        'comfyui_job_failed_timestamp_seconds{server="gpu0",prompt_id="p0",job_id="123",job_type="video",'
        'pattern="cuda_oom",node_type="KSampler"}'
    )
    scrape.sink.view("gpu0", replace(VIEW, failed_runs=(failed,)), 130)
    assert scrape[named] == 1120
    scrape.sink.view("gpu0", replace(VIEW, failed_runs=(failed,)), 120 + 3601)
    assert "comfyui_job_failed_timestamp_seconds" not in scrape.names()


def test_lost_and_cancelled_jobs_have_no_duration() -> None:
    scrape = Scrape()
    for state in (State.LOST, State.CANCELLED):
        scrape.sink.transitions("gpu0", [Ended(120, replace(RUNNING, state=state, ended_at=120))])
    assert "comfyui_job_duration_seconds_count" not in scrape.names()
    assert scrape['comfyui_jobs_total{server="gpu0",job_type="video",status="lost"}'] == 1
    assert scrape['comfyui_jobs_total{server="gpu0",job_type="video",status="cancelled"}'] == 1


def test_timeouts_and_restarts_are_counted() -> None:
    scrape = Scrape()
    scrape.sink.transitions("gpu0", [TimedOut(120, RUNNING), ServerRestarted(121)])
    assert scrape['comfyui_job_timeouts_total{server="gpu0",job_type="video"}'] == 1
    assert scrape['comfyui_restarts_total{server="gpu0"}'] == 1


def test_configured_job_labels_are_on_jobs_and_durations() -> None:
    scrape = Scrape(("project",))
    details = replace(DETAILS, labels=("film",))
    scrape.sink.transitions("gpu0", [Submitted(100, replace(QUEUED, details=details))])
    assert scrape['comfyui_jobs_total{server="gpu0",job_type="video",status="failed",project="film"}'] == 0


def test_the_view_becomes_gauges_with_unix_times() -> None:
    scrape = Scrape()
    stats = SystemStats("0.3.64", "3.12", "2.8", "posix", 64, 32, (Device("0", "cuda", 24, 20, 8, 2),))
    scrape.sink.view("gpu0", replace(VIEW, stats=stats), 120)
    assert scrape['comfyui_up{server="gpu0"}'] == 1
    assert scrape['comfyui_queue_jobs{server="gpu0",state="running"}'] == 1
    assert scrape['comfyui_queue_jobs{server="gpu0",state="pending"}'] == 1
    assert scrape['comfyui_queue_oldest_pending_timestamp_seconds{server="gpu0"}'] == 1100
    assert scrape['comfyui_last_activity_timestamp_seconds{server="gpu0"}'] == 1110
    job = 'server="gpu0",prompt_id="p0",job_id="123",job_type="video"'
    assert scrape[f"comfyui_job_start_timestamp_seconds{{{job}}}"] == 1110
    assert scrape['comfyui_vram_free_bytes{server="gpu0",device="0",device_type="cuda"}'] == 20
    assert (
        scrape['comfyui_info{server="gpu0",version="0.3.64",python_version="3.12",pytorch_version="2.8",os="posix"}']
        == 1
    )


def test_while_down_what_comes_from_comfyui_is_absent_and_what_was_counted_stays() -> None:
    scrape = Scrape()
    stats = SystemStats("0.3.64", "3.12", "2.8", "posix", 64, 32, (Device("0", "cuda", 24, 20, 8, 2),))
    scrape.sink.view("gpu0", replace(VIEW, stats=stats), 120)
    scrape.sink.view("gpu0", replace(VIEW, stats=stats, up=False, event_stream_connected=False), 130)
    names = scrape.names()
    assert scrape['comfyui_up{server="gpu0"}'] == 0
    for gone in ("queue_jobs", "queue_oldest_pending_timestamp_seconds", "info", "ram_free_bytes", "vram_free_bytes"):
        assert f"comfyui_{gone}" not in names
    assert "comfyui_job_start_timestamp_seconds" not in names
    assert "comfyui_jobs_total" in names
    assert "comfyui_last_activity_timestamp_seconds" in names


def test_a_stalled_job_is_flagged_and_the_flag_goes_with_it() -> None:
    scrape = Scrape()
    job = 'server="gpu0",prompt_id="p0",job_id="123",job_type="video"'
    scrape.sink.view("gpu0", replace(VIEW, open_runs=(replace(RUNNING, stalled=True),)), 120)
    assert scrape[f"comfyui_job_stalled{{{job}}}"] == 1
    scrape.sink.view("gpu0", replace(VIEW, open_runs=()), 121)
    assert "comfyui_job_stalled" not in scrape.names()


def test_twins_of_one_prompt_id_are_one_series() -> None:
    scrape = Scrape()
    twin = replace(RUNNING, run_id="r9", started_at=115)
    scrape.sink.view("gpu0", replace(VIEW, open_runs=(RUNNING, twin)), 120)
    assert sum(line.startswith("comfyui_job_start_timestamp_seconds{") for line in scrape.lines) == 1


def test_a_removed_server_is_gone_from_the_next_scrape() -> None:
    scrape = Scrape()
    scrape.sink.view("gpu0", VIEW, 120)
    scrape.sink.remove_server("gpu0")
    assert not any('server="gpu0"' in line for line in scrape.lines)
