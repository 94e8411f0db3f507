"""Where is my job, do more come than go, and what is produced? durations.py has how long jobs take and wait."""

from __future__ import annotations

from grafana_foundation_sdk.builders import stat, table, timeseries
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, DynamicConfigValue

from comfyui_dashboards.board import Board
from comfyui_dashboards.colours import BLUE, CRITICAL, GOOD, WARNING, YELLOW
from comfyui_dashboards.durations import (
    duration_quantiles,
    durations,
    estimate_error,
    estimates_near,
    oldest,
    wait_quantiles,
    waits,
)
from comfyui_dashboards.layout import Shelf
from comfyui_dashboards.panels import bars, chart, in_colours, number
from comfyui_dashboards.parts import JOB_TYPE, PROGRESS, PROMPT, SERVER, STATES, THEIR_ID, by_job, state
from comfyui_dashboards.queries import (
    bars_by,
    lines,
    now,
    of_jobs,
    of_server,
    over_range,
    per_minute,
)
from comfyui_dashboards.tables import Column, joined


def submitted() -> stat.Panel:
    """Count what came in."""
    jobs = over_range(of_jobs("comfyui_jobs_submitted_total"))
    return number(
        "Submitted",
        "Jobs that were submitted in the time range.",
        "short",
        [now(f"round(sum({jobs}))")],
        ((None, BLUE),),
    )


def completed() -> stat.Panel:
    """Count what was done."""
    jobs = over_range(of_jobs("comfyui_jobs_total", 'status="completed"'))
    return number(
        "Completed",
        "Jobs that completed in the time range.",
        "short",
        [now(f"round(sum({jobs}))")],
        ((None, GOOD),),
    )


def not_completed() -> stat.Panel:
    """Count what came to nothing against its user's will."""
    jobs = over_range(of_jobs("comfyui_jobs_total", 'status=~"failed|lost"'))
    return number(
        "Failed or lost",
        "Jobs that failed, or disappeared without a result, in the time range.",
        "short",
        [now(f"round(sum({jobs}))")],
        ((None, GOOD), (1, CRITICAL)),
    )


def typical_wait() -> stat.Panel:
    """Tell how long jobs wait."""
    wait = of_jobs("job_type:comfyui_job_queue_seconds_bucket:rate1h")
    return number(
        "Typical wait",
        "Half of the jobs that began in the last hour had waited for less.",
        "s",
        [lines(f"histogram_quantile(0.5, sum by (le) ({wait}))", "wait")],
        ((None, YELLOW),),
        no_value="no job began",
        spark=True,
    )


def typical_duration() -> stat.Panel:
    """Tell how long jobs run."""
    took = of_jobs("job_type:comfyui_job_duration_seconds_bucket:rate1h")
    return number(
        "Typical duration",
        "Half of the jobs that completed in the last hour took less.",
        "s",
        [lines(f"histogram_quantile(0.5, sum by (le) ({took}))", "duration")],
        ((None, BLUE),),
        no_value="no job completed",
        spark=True,
    )


def held_up() -> stat.Panel:
    """Count what does not move, or took too long."""
    late = over_range(of_jobs("comfyui_job_timeouts_total"))
    return number(
        "Stalled, timed out",
        "Jobs that show no progress now, and jobs that passed job_timeout in the time range.",
        "none",
        [
            now(f"sum({of_jobs('comfyui_job_stalled')}) or vector(0)", "stalled"),
            now(f"round(sum({late})) or vector(0)", "timed out"),
        ],
        ((None, GOOD), (1, WARNING)),
    )


def queue() -> table.Panel:
    """List every job in the queue."""
    return joined(
        "Jobs in the queue",
        "Running jobs and those that wait, at most 20 of each server (`limits.job_series`). The estimated end includes "
        "the wait. Steps are known of jobs whose events are heard. A click on a prompt opens what the exporter knows. "
        "A server without jobs is idle.",
        [
            by_job("comfyui_job_progress_ratio"),
            by_job("comfyui_job_current_step"),
            by_job("comfyui_job_total_steps"),
            by_job("comfyui_job_start_timestamp_seconds", 1000),
            by_job("comfyui_job_estimated_end_timestamp_seconds", 1000),
            state(),
        ],
        [
            PROGRESS,
            Column(1, "Step", 60),
            Column(2, "of", 60),
            JOB_TYPE,
            SERVER,
            PROMPT,
            THEIR_ID,
            Column(3, "Began", 150, unit="dateTimeFromNow"),
            Column(4, "Done", 150, unit="dateTimeFromNow"),
            Column(5, "State", 75, texts=STATES),
        ],
        order="Progress",
        descending=True,
        no_value="No jobs in the queue",
    )


def batches() -> table.Panel:
    """List the batches, with a column for each status."""
    jobs = of_server("comfyui_batch_jobs")
    panel = joined(
        "Active batches",
        "Jobs of each batch (`batch_id`) that has some left, by status. Empty while there are none.",
        [f"sum by (batch_id, status) ({jobs})"],
        [],
        no_value="No active batches",
    )
    matrix = {"columnField": "status", "rowField": "batch_id", "valueField": "Value", "emptyValue": "empty"}
    panel.transformations([DataTransformerConfig("groupingToMatrix", options=matrix)])
    panel.override_by_regexp(".*", [DynamicConfigValue("noValue", ""), DynamicConfigValue("custom.minWidth", 80)])
    return panel.override_by_name(
        "batch_id\\status",
        [
            DynamicConfigValue("displayName", "Batch"),
            DynamicConfigValue("unit", "string"),
            DynamicConfigValue("custom.width", 110),
        ],
    )


def flow() -> timeseries.Panel:
    """Draw what comes and what goes."""
    came = of_jobs("job_type:comfyui_jobs_submitted:rate5m")
    went = of_jobs("job_type_status:comfyui_jobs:rate5m")
    panel = chart(
        "Submitted and ended, a minute",
        "Jobs a minute over five minutes: where more are submitted than end, queues grow.",
        "short",
        [
            lines(per_minute(f"sum({came})"), "submitted"),
            lines(per_minute(f"sum by (status) ({went})"), "{{status}}"),
        ],
        calcs=("mean", "max"),
    )
    return in_colours(panel)


def by_type() -> timeseries.Panel:
    """Draw what ended, by type."""
    jobs = of_jobs("comfyui_jobs_total", 'status="completed"')
    return bars(
        "Completed by job type",
        "Completed jobs of each type, in each minute or longer. The legend has the sums of the time range.",
        [lines(bars_by("job_type", jobs), "{{job_type}}")],
    )


def outputs() -> timeseries.Panel:
    """Draw what jobs produced."""
    made = of_jobs("comfyui_job_outputs_total")
    return bars(
        "Outputs",
        "Images, videos, sounds, 3D models and texts that jobs produced, in each minute or longer. Temporary ones and "
        "those of cached nodes are not in it.",
        [lines(bars_by("media", made, above_zero=True), "{{media}}")],
    )


def cached() -> timeseries.Panel:
    """Draw how much work the cache saves."""
    share = of_jobs("job_type:comfyui_job_nodes_cached:ratio1h")
    return (
        chart(
            "Nodes from the cache, 1 h",
            "Share of the nodes of jobs that ComfyUI did not need to execute, because it still had their results.",
            "percentunit",
            [lines(share, "{{job_type}} {{server}}")],
        )
        .max(1)
        .decimals(0)
    )


BOARD = Board(
    uid="comfyui-jobs",
    title="ComfyUI / Jobs",
    description="Where each job is, how long jobs take and wait, and how good the estimates are.",
    job_links=True,
    refresh="15s",
    shelves=[
        Shelf(
            4,
            [
                (4, submitted()),
                (4, completed()),
                (4, not_completed()),
                (4, typical_wait()),
                (4, typical_duration()),
                (4, held_up()),
            ],
        ),
        Shelf(9, [(24, queue())]),
        Shelf(9, [(9, flow()), (9, by_type()), (6, batches())]),
        Shelf(10, [(12, durations()), (12, duration_quantiles())], heading="How long jobs take"),
        Shelf(11, [(9, waits()), (9, wait_quantiles()), (6, oldest())], heading="How long jobs wait"),
        Shelf(9, [(12, estimate_error()), (12, estimates_near())], heading="How good the estimates are"),
        Shelf(8, [(12, outputs()), (12, cached())], heading="What jobs produce"),
    ],
)
