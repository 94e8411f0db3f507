"""How long jobs take and wait, and how near the estimates come."""

from __future__ import annotations

from grafana_foundation_sdk.builders import heatmap, prometheus, timeseries

from comfyui_dashboards.colours import NEUTRAL
from comfyui_dashboards.panels import chart, dashed, heat
from comfyui_dashboards.queries import (
    ID,
    buckets,
    each_bar,
    lines,
    of_jobs,
    of_server,
)


def _quantiles(rates: str) -> list[prometheus.Dataquery]:
    """Query what half and nine of ten jobs of each type stayed below; nothing where there were none."""
    by_type = f"sum by (job_type, le) ({of_jobs(rates)})"
    return [
        lines(f"histogram_quantile({share}, {by_type}) >= 0", f"{{{{job_type}}}} {name}")
        for share, name in ((0.5, "half"), (0.9, "9 of 10"))
    ]


def durations() -> heatmap.Panel:
    """Draw how long jobs took."""
    took = of_jobs("comfyui_job_duration_seconds_bucket", 'status="completed"')
    return heat(
        "Duration of completed jobs",
        "How many jobs took how long. A dot is one job: its tooltip leads to what the exporter knows of it.",
        buckets(f"sum by (le) ({each_bar(took)})", exemplars=True),
    )


def waits() -> heatmap.Panel:
    """Draw how long jobs waited."""
    waited = of_jobs("comfyui_job_queue_seconds_bucket")
    return heat(
        "Wait before execution",
        "How many jobs waited how long before they began.",
        buckets(f"sum by (le) ({each_bar(waited)})"),
        scheme="YlOrBr",
    )


def duration_quantiles() -> timeseries.Panel:
    """Draw what half and nine of ten jobs of each type took."""
    return chart(
        "Duration by job type, 1 h",
        "What half and nine of ten completed jobs of each type took at most, over the hour before.",
        "s",
        _quantiles("job_type:comfyui_job_duration_seconds_bucket:rate1h"),
    )


def wait_quantiles() -> timeseries.Panel:
    """Draw how long half and nine of ten jobs of each type waited."""
    return chart(
        "Wait by job type, 1 h",
        "How long half and nine of ten jobs of each type waited at most before they began, over the hour before.",
        "s",
        _quantiles("job_type:comfyui_job_queue_seconds_bucket:rate1h"),
    )


def oldest() -> timeseries.Panel:
    """Draw how long the oldest waiting job has waited."""
    since = of_server("comfyui_queue_oldest_pending_timestamp_seconds")
    return chart(
        "Oldest waiting job",
        "How long the job that waits longest has been waiting, on each server. Nothing is drawn while none waits.",
        "s",
        [lines(f"max by ({ID}) (time() - {since})", "{{server}}")],
        filled=10,
    )


def estimate_error() -> timeseries.Panel:
    """Draw how right estimates were."""
    ratios = _quantiles("job_type:comfyui_job_estimate_ratio_bucket:rate1h")
    panel = chart(
        "Actual by predicted duration, 1 h",
        "How many times as long as predicted at their start half and nine of ten jobs took at most. 1 is "
        "as predicted; above 1.5 ComfyUISlowGeneration begins.",
        "short",
        [*ratios, lines("vector(1)", "as predicted")],
    )
    return dashed(panel, "as predicted", NEUTRAL).decimals(2)


def estimates_near() -> timeseries.Panel:
    """Draw which share of the estimates was near."""
    ratio = "job_type:comfyui_job_estimate_ratio_bucket:rate1h"
    low, high, every = (of_jobs(ratio, f'le="{le}"') for le in ("0.8", "1.25", "+Inf"))
    by = "sum by (job_type)"
    return (
        chart(
            "Estimates within 25 %, 1 h",
            "Share of the jobs that took between 0.8 and 1.25 times as long as predicted at their start.",
            "percentunit",
            [lines(f"({by} ({high}) - {by} ({low})) / ({by} ({every}) > 0)", "{{job_type}}")],
            calcs=("lastNotNull", "min"),
        )
        .max(1)
        .decimals(0)
    )
