"""Columns and links that several dashboards have."""

from __future__ import annotations

from grafana_foundation_sdk.builders import table

from comfyui_dashboards.colours import BY_STATUS, CRITICAL, NEUTRAL
from comfyui_dashboards.panels import NO_FAILURES
from comfyui_dashboards.queries import ID, JOB_ID, of_jobs, of_server, over_range
from comfyui_dashboards.tables import Column, bar, ranking

JOB_PAGE = ("What the exporter knows of this job", "${exporter_url:raw}/api/v1/jobs/${__value.raw:percentencode}")

SERVER = Column("server", "Server", 115)
EXPORTER = Column("instance", "Exporter", 150)
JOB_TYPE = Column("job_type", "Job type", 80)
PROMPT = Column("prompt_id", "Prompt", link=JOB_PAGE)
THEIR_ID = Column("job_id", "Job", 70)


def dashboard(uid: str, text: str, *choices: str) -> tuple[str, str]:
    """Lead to another dashboard in the same hours; each of `choices` (var-name=value) narrows it."""
    query = "&".join(["${__url_time_range}", "${datasource:queryparam}", *choices])
    return text, f"/d/{uid}?{query}"


SCRAPE_JOB = Column("job", "job", hidden=True)
THIS_SERVER = (
    "var-job=${__data.fields.job:percentencode}",
    "var-instance=${__data.fields.Exporter:percentencode}",
    "var-server=${__data.fields.Server:percentencode}",
)
"""Of a row that has these three columns."""


def by_job(metric: str, factor: int = 1, *, running: bool = False) -> str:
    """Give a gauge of jobs in the queue without its name, so that it can be joined with others."""
    times = f" * {factor}" if factor != 1 else ""
    begun = f" and on ({ID}, prompt_id) {of_jobs('comfyui_job_start_timestamp_seconds')}" if running else ""
    return f"max by ({JOB_ID}) ({of_jobs(metric)}{begun}){times}"


PROGRESS = Column(0, "Progress", 160, unit="percentunit", bar=1, steps=((None, BY_STATUS["running"]),), decimals=0)
STATES = {"-1": ("idle", NEUTRAL), "0": ("", NEUTRAL), "1": ("stalled", CRITICAL)}


def state(*, running: bool = False) -> str:
    """Tell of each job whether it is stalled, and which servers have none, so that something is always there."""
    jobs = of_jobs("comfyui_job_progress_ratio")
    idle = f"(sum by ({ID}) ({of_server('comfyui_queue_jobs')}) == 0) - 1 unless on ({ID}) {jobs}"
    return f"{by_job('comfyui_job_stalled', running=running)} or on ({ID}) ({idle})"


def most_frequent() -> table.Panel:
    """Rank the reasons of failures."""
    failures = over_range(of_jobs("comfyui_job_failures_total"))
    return ranking(
        "Most frequent failures",
        "Failed jobs in the time range by pattern, which is what their error messages have in common. "
        "docs/how-it-watches.md says what each pattern stands for.",
        f"round(sum by (pattern) ({failures})) > 0",
        [Column("pattern", "Pattern")],
        bar("Failed", "none", BY_STATUS["failed"], width=200),
        no_value=NO_FAILURES,
    )
