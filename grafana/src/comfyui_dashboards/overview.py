"""Is everything all right? Servers, queue, what runs now, what fails, and which alerts fire."""

from __future__ import annotations

from grafana_foundation_sdk.builders import stat, timeseries

from comfyui_dashboards.board import Board
from comfyui_dashboards.colours import BLUE, CRITICAL, GOOD, NEUTRAL, WARNING, YELLOW
from comfyui_dashboards.layout import Shelf
from comfyui_dashboards.overview_tables import (
    PENDING,
    RUNNING,
    alert_table,
    running_jobs,
    server_table,
    slowest_nodes,
    slowest_types,
)
from comfyui_dashboards.panels import bars, chart, in_colours, limit, number
from comfyui_dashboards.parts import (
    most_frequent,
)
from comfyui_dashboards.queries import ID, bars_by, lines, now, of_alerts, of_jobs, of_server


def servers_down() -> stat.Panel:
    """Count the servers that do not answer."""
    up = of_server("comfyui_up")
    return number(
        "Servers",
        "Watched ComfyUI servers that did not answer three tries in a row.",
        "suffix: down",
        [now(f"count({up}) - sum({up})")],
        ((None, GOOD), (1, CRITICAL)),
        no_value="none watched",
    )


def alerts() -> stat.Panel:
    """Count what fires and asks for somebody."""
    firing = of_alerts("ALERTS", 'alertstate="firing"', 'severity=~"critical|warning"')
    return number(
        "Alerts",
        "Critical alerts and warnings of the chosen servers. Those of severity info are in the table below only.",
        "suffix: firing",
        [now(f"count({firing}) or vector(0)")],
        ((None, GOOD), (1, WARNING)),
    )


def queued() -> stat.Panel:
    """Count what runs, and what waits."""
    panel = number(
        "Queue",
        "Jobs that run now, and jobs that wait. ComfyUI runs one at a time, so as many servers are at work.",
        "none",
        [lines(f"sum({RUNNING})", "running"), lines(f"sum({PENDING})", "waiting")],
    )
    return in_colours(panel, {"running": BLUE, "waiting": YELLOW})


def drain() -> stat.Panel:
    """Tell when the last queue will be empty."""
    return number(
        "Queue empty in",
        "Estimated time until the fullest queue is empty, if nothing is added. Amber from half an hour on, red from "
        "two hours on, where ComfyUIQueueBacklog begins.",
        "s",
        [lines(f"max({of_server('comfyui_queue_drain_seconds')})", "until empty")],
        ((None, GOOD), (1800, WARNING), (7200, CRITICAL)),
        no_value="no estimate",
        spark=True,
    )


def completed() -> stat.Panel:
    """Count the work that was done."""
    done = of_jobs("job_type_status:comfyui_jobs:increase1h", 'status="completed"')
    return number(
        "Done, 1 h",
        "Jobs that completed in the last hour.",
        "short",
        [lines(f"sum({done})", "completed")],
        ((None, GOOD),),
        spark=True,
    ).decimals(0)


def failure_ratio() -> stat.Panel:
    """Tell which share of the jobs fails."""
    failed = of_jobs("job_type_status:comfyui_jobs:increase30m", 'status="failed"')
    ended = of_jobs("job_type_status:comfyui_jobs:increase30m", 'status=~"completed|failed"')
    return number(
        "Failed",
        "Share of the jobs that failed, of those that completed or failed in the last 30 minutes. Red where "
        "ComfyUIHighFailureRate begins.",
        "percentunit",
        [lines(f"sum({failed}) / (sum({ended}) > 0)", "failed")],
        ((None, GOOD), (0.05, WARNING), (0.2, CRITICAL)),
        no_value="no job ended",
        spark=True,
    ).decimals(1)


def budget() -> stat.Panel:
    """Tell how many failures the service level still allows."""
    return number(
        "Error budget left",
        "Of the failures that the service level allows in three days, the share that is left, on the worst server. "
        "Below zero the target is missed.",
        "percentunit",
        [lines(f"1 - max({of_server('server:comfyui_slo_budget_used:ratio3d')})", "left")],
        ((None, NEUTRAL), (-1000, CRITICAL), (0, WARNING), (0.25, GOOD)),
        no_value="no job ended",
        spark=True,
    ).decimals(0)


def queue() -> timeseries.Panel:
    """Draw the queues."""
    jobs = of_server("comfyui_queue_jobs")
    return chart(
        "Jobs in the queue",
        "Waiting and running jobs of each server.",
        "short",
        [lines(f"sum by ({ID}) ({jobs})", "{{server}}")],
        filled=10,
    ).decimals(0)


def ended() -> timeseries.Panel:
    """Draw how jobs ended."""
    jobs = of_jobs("comfyui_jobs_total")
    panel = bars(
        "Jobs ended",
        "How jobs ended, in each minute or longer. The legend has the sums of the time range.",
        [lines(bars_by("status", jobs), "{{status}}")],
    )
    return in_colours(panel)


def failing() -> timeseries.Panel:
    """Draw the share of failed jobs."""
    panel = chart(
        "Failed, 30 min",
        "Share of the jobs of each server that failed, of those that completed or failed in the 30 minutes before. "
        "The line is where ComfyUIHighFailureRate begins.",
        "percentunit",
        [lines(of_server("server:comfyui_job_failures:ratio30m"), "{{server}}")],
    )
    return limit(panel, 0.2).axis_soft_max(0.25)


BOARD = Board(
    uid="comfyui-overview",
    title="ComfyUI / Overview",
    description="Is everything all right? Servers, queues, running jobs, failures and alerts.",
    job_links=True,
    refresh="15s",
    shelves=[
        Shelf(
            4,
            [
                (3, servers_down()),
                (3, alerts()),
                (4, queued()),
                (4, drain()),
                (3, completed()),
                (3, failure_ratio()),
                (4, budget()),
            ],
        ),
        Shelf(8, [(14, running_jobs()), (10, alert_table())]),
        Shelf(6, [(24, server_table())]),
        Shelf(8, [(8, queue()), (8, ended()), (8, failing())]),
        Shelf(8, [(8, slowest_types()), (8, slowest_nodes()), (8, most_frequent())]),
    ],
)
