"""Columns and links that several dashboards have."""

from __future__ import annotations

from comfyui_dashboards.colours import BY_STATUS, CRITICAL, NEUTRAL
from comfyui_dashboards.queries import JOB_ID, of_jobs
from comfyui_dashboards.tables import Column

JOB_PAGE = ("What the exporter knows of this job", "${exporter_url:raw}/api/v1/jobs/${__value.raw:percentencode}")

SERVER = Column("server", "Server", 130)
EXPORTER = Column("instance", "Exporter", 150)
JOB_TYPE = Column("job_type", "Job type", 90)
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


def by_job(metric: str, factor: int = 1) -> str:
    """Give a gauge of jobs in the queue without its name, so that it can be joined with others."""
    times = f" * {factor}" if factor != 1 else ""
    return f"max by ({JOB_ID}) ({of_jobs(metric)}){times}"


PROGRESS = Column(0, "Progress", 200, unit="percentunit", bar=1, steps=((None, BY_STATUS["running"]),), decimals=0)
STALLED = {"0": ("", NEUTRAL), "1": ("stalled", CRITICAL)}
