"""Is everything all right? Servers, queue, what runs now, what fails, and which alerts fire."""

from __future__ import annotations

from grafana_foundation_sdk.builders import bargauge, stat, table, timeseries

from comfyui_dashboards.board import Board
from comfyui_dashboards.colours import BLUE, BY_SEVERITY, CRITICAL, GOOD, WARNING, YELLOW
from comfyui_dashboards.layout import Shelf
from comfyui_dashboards.panels import bars, chart, in_colours, limit, number, ranking
from comfyui_dashboards.parts import (
    EXPORTER,
    JOB_TYPE,
    PROGRESS,
    PROMPT,
    SCRAPE_JOB,
    SERVER,
    STALLED,
    THIS_SERVER,
    by_job,
    dashboard,
)
from comfyui_dashboards.queries import ID, JOB_ID, each_bar, lines, now, of_alerts, of_jobs, of_server, over_range
from comfyui_dashboards.tables import Column, joined


def servers_down() -> stat.Panel:
    """Count the servers that do not answer."""
    up = of_server("comfyui_up")
    return number(
        "Servers down",
        "Watched ComfyUI servers that did not answer three tries in a row.",
        "none",
        [now(f"count({up}) - sum({up})")],
        ((None, GOOD), (1, CRITICAL)),
        no_value="none watched",
    )


def alerts() -> stat.Panel:
    """Count what fires and asks for somebody."""
    firing = of_alerts("ALERTS", 'alertstate="firing"', 'severity=~"critical|warning"')
    return number(
        "Alerts firing",
        "Critical alerts and warnings of the chosen servers. Those of severity info are in the table below only.",
        "none",
        [now(f"count({firing}) or vector(0)")],
        ((None, GOOD), (1, WARNING)),
    )


def running() -> stat.Panel:
    """Count what runs."""
    return number(
        "Running",
        "Jobs that run now. ComfyUI runs one at a time, so this is the number of servers at work.",
        "none",
        [lines(f"sum({of_server('comfyui_queue_jobs', 'state="running"')})", "running")],
        ((None, BLUE),),
        spark=True,
    )


def waiting() -> stat.Panel:
    """Count what waits."""
    return number(
        "Waiting",
        "Jobs in the queues that have not begun.",
        "none",
        [lines(f"sum({of_server('comfyui_queue_jobs', 'state="pending"')})", "pending")],
        ((None, YELLOW),),
        spark=True,
    )


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
        "Completed in 1 h",
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
        "Failed, 30 min",
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
        ((None, CRITICAL), (0, WARNING), (0.25, GOOD)),
        no_value="no job ended",
        spark=True,
    ).decimals(0)


def running_jobs() -> table.Panel:
    """List what runs, with bars."""
    started = of_jobs("comfyui_job_start_timestamp_seconds")
    progress = of_jobs("comfyui_job_progress_ratio")
    return joined(
        "Jobs running now",
        "How far each running job is, and when it will be done by our estimate. Empty while nothing runs. A click on "
        "a prompt opens what the exporter knows of it.",
        [
            f"max by ({JOB_ID}) ({progress} and on ({ID}, prompt_id) {started})",
            by_job("comfyui_job_estimated_end_timestamp_seconds", 1000),
            by_job("comfyui_job_stalled"),
        ],
        [
            PROGRESS,
            Column(1, "Done", 110, unit="dateTimeFromNow"),
            Column(2, "", 70, texts=STALLED),
            SERVER,
            JOB_TYPE,
            PROMPT,
        ],
        order="Progress",
        descending=True,
        no_value="Nothing runs",
    )


def alert_table() -> table.Panel:
    """List what fires."""
    firing = of_alerts("ALERTS", 'alertstate="firing"')
    since = f"{of_alerts('ALERTS_FOR_STATE')} and ignoring (alertstate) {firing}"
    ranked = f"min by (alertname, severity, job, instance, server) ({since}) * 1000"
    for rank, severity in enumerate(BY_SEVERITY):
        ranked = f'label_replace({ranked}, "rank", "{rank}", "severity", "{severity}")'
    return joined(
        "Alerts firing now",
        "All alerts of the chosen servers, the most severe first, and since when their condition holds. "
        "docs/runbooks has a page for each.",
        [ranked],
        [
            Column("severity", "Severity", 80, texts={name: (name, colour) for name, colour in BY_SEVERITY.items()}),
            Column("alertname", "Alert"),
            Column("server", "Server", 120),
            Column(0, "Since", 120, unit="dateTimeFromNow"),
            Column("rank", "rank", hidden=True),
        ],
        order="rank",
        no_value="No alerts",
    )


def server_table() -> table.Panel:
    """List the servers and how each is."""
    busy = dashboard("comfyui-capacity", "Its capacity", *THIS_SERVER)
    return joined(
        "Servers",
        "Each watched ComfyUI now. While one is down, what is read from it is missing. A click on a server shows its "
        "jobs, one on its failures these, one on memory or work its capacity.",
        [
            f"max by ({ID}) ({of_server('comfyui_up')})",
            f"max by ({ID}) ({of_server('comfyui_queue_jobs', 'state="running"')})",
            f"max by ({ID}) ({of_server('comfyui_queue_jobs', 'state="pending"')})",
            f"max by ({ID}) ({of_server('comfyui_queue_drain_seconds')})",
            of_server("server:comfyui_busy:ratio_rate1h"),
            f"min by ({ID}) ({of_server('device:comfyui_vram_free:ratio')})",
            of_server("server:comfyui_job_failures:ratio30m"),
            f"max by ({ID}) ({of_server('comfyui_last_activity_timestamp_seconds')}) * 1000",
            f"max by ({ID}, version) ({of_server('comfyui_info')})",
        ],
        [
            Column("server", "Server", link=dashboard("comfyui-jobs", "Its jobs", *THIS_SERVER)),
            Column(0, "State", 70, texts={"0": ("DOWN", CRITICAL), "1": ("up", GOOD)}),
            Column(1, "Running", 75),
            Column(2, "Waiting", 75),
            Column(3, "Queue empty in", 120, unit="s", steps=((None, GOOD), (1800, WARNING), (7200, CRITICAL))),
            Column(4, "At work, 1 h", 120, unit="percentunit", bar=1, steps=((None, BLUE),), decimals=0, link=busy),
            Column(
                5,
                "VRAM free",
                90,
                unit="percentunit",
                steps=((None, WARNING), (0.1, GOOD)),
                decimals=0,
                link=busy,
            ),
            Column(
                6,
                "Failed, 30 min",
                110,
                unit="percentunit",
                steps=((None, GOOD), (0.05, WARNING), (0.2, CRITICAL)),
                decimals=1,
                link=dashboard("comfyui-failures", "Its failures", *THIS_SERVER),
            ),
            Column(7, "Last activity", 140, unit="dateTimeFromNow"),
            Column("version", "ComfyUI", 80),
            EXPORTER,
            SCRAPE_JOB,
        ],
        order="Server",
        no_value="No server is watched",
    )


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
        [lines(f"sum by (status) ({each_bar(jobs)})", "{{status}}")],
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


def slowest_types() -> bargauge.Panel:
    """Rank the job types by what the slower ones take."""
    slow = of_jobs("job_type:comfyui_job_duration_seconds:quantile1h", 'quantile="0.9"')
    return ranking(
        "Slowest job types, 1 h",
        "What nine of ten completed jobs of a type took at most, in the last hour. The ten slowest.",
        "s",
        [now(f"sort_desc(topk(10, {slow} > 0))", "{{job_type}} on {{server}}")],
        colour=BLUE,
        no_value="No job completed within the hour",
    )


def slowest_nodes() -> bargauge.Panel:
    """Rank the nodes by what the slower ones take."""
    slow = of_server("node_type:comfyui_node_duration_seconds:quantile1h", 'quantile="0.9"')
    return ranking(
        "Slowest nodes, 1 h",
        "What nine of ten executions of a node took at most, in the last hour. The ten slowest.",
        "s",
        [now(f"sort_desc(topk(10, {slow} > 0))", "{{node_type}} on {{server}}")],
        colour=BLUE,
        no_value="No events of nodes within the hour",
    )


def failures_by_pattern() -> bargauge.Panel:
    """Rank the reasons of failures."""
    failures = over_range(of_jobs("comfyui_job_failures_total"))
    return ranking(
        "Failures by pattern",
        "Failed jobs in the time range by what their error messages have in common. The dashboard of failures has more.",
        "short",
        [now(f"sort_desc(round(sum by (pattern) ({failures})) > 0)", "{{pattern}}")],
        colour=CRITICAL,
        no_value="No failures",
    ).decimals(0)


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
                (3, running()),
                (3, waiting()),
                (3, drain()),
                (3, completed()),
                (3, failure_ratio()),
                (3, budget()),
            ],
        ),
        Shelf(8, [(14, running_jobs()), (10, alert_table())]),
        Shelf(6, [(24, server_table())]),
        Shelf(8, [(8, queue()), (8, ended()), (8, failing())]),
        Shelf(8, [(8, slowest_types()), (8, slowest_nodes()), (8, failures_by_pattern())]),
    ],
)

