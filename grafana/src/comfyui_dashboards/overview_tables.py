"""What the overview lists: running jobs, alerts, servers, and what is slowest."""

from __future__ import annotations

from grafana_foundation_sdk.builders import table

from comfyui_dashboards.colours import BLUE, BY_SEVERITY, CRITICAL, GOOD, WARNING
from comfyui_dashboards.parts import (
    EXPORTER,
    JOB_TYPE,
    PROGRESS,
    PROMPT,
    SCRAPE_JOB,
    SERVER,
    STATES,
    THIS_SERVER,
    by_job,
    dashboard,
    state,
)
from comfyui_dashboards.queries import ID, of_alerts, of_jobs, of_server
from comfyui_dashboards.tables import Column, joined, ranking

RUNNING = of_server("comfyui_queue_jobs", 'state="running"')
PENDING = of_server("comfyui_queue_jobs", 'state="pending"')


def running_jobs() -> table.Panel:
    """List what runs, with bars."""
    return joined(
        "Jobs running now",
        "How far each running job is, and when it will be done by our estimate. A server without jobs is idle. A click "
        "on a prompt opens what the exporter knows of it.",
        [
            by_job("comfyui_job_progress_ratio", running=True),
            by_job("comfyui_job_estimated_end_timestamp_seconds", 1000, running=True),
            state(running=True),
        ],
        [
            PROGRESS,
            Column(1, "Done", 145, unit="dateTimeFromNow"),
            JOB_TYPE,
            SERVER,
            PROMPT,
            Column(2, "State", 75, texts=STATES),
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
        ],
        rank="rank",
        no_value="No alerts",
    )


def server_table() -> table.Panel:
    """List the servers and how each is."""
    busy = dashboard("comfyui-capacity", "Its capacity", *THIS_SERVER)
    return joined(
        "Each server",
        "Each watched ComfyUI now. While one is down, what is read from it is missing. A click on a server shows its "
        "jobs, one on its failures these, one on memory or work its capacity.",
        [
            f"max by ({ID}) ({of_server('comfyui_up')})",
            f"max by ({ID}) ({RUNNING})",
            f"max by ({ID}) ({PENDING})",
            f"max by ({ID}) ({of_server('comfyui_queue_drain_seconds')})",
            f"max by ({ID}) (avg_over_time({of_server('server:comfyui_busy:ratio_rate5m')}[1h]))",
            f"min by ({ID}) ({of_server('device:comfyui_vram_free:ratio')})",
            f"max by ({ID}) ({of_server('server:comfyui_job_failures:ratio30m')})",
            f"max by ({ID}) ({of_server('comfyui_last_activity_timestamp_seconds')}) * 1000",
            f"max by ({ID}, version) ({of_server('comfyui_info')})",
        ],
        [
            Column("server", "Server", link=dashboard("comfyui-jobs", "Its jobs", *THIS_SERVER)),
            Column(0, "State", 70, texts={"0": ("DOWN", CRITICAL), "1": ("up", GOOD)}),
            Column(1, "Running", 75),
            Column(2, "Waiting", 75),
            Column(3, "Queue empty in", 125, unit="s", steps=((None, GOOD), (1800, WARNING), (7200, CRITICAL))),
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
                120,
                unit="percentunit",
                steps=((None, GOOD), (0.05, WARNING), (0.2, CRITICAL)),
                decimals=1,
                link=dashboard("comfyui-failures", "Its failures", *THIS_SERVER),
            ),
            Column(7, "Last activity", 155, unit="dateTimeFromNow"),
            Column("version", "ComfyUI", 80),
            EXPORTER,
            SCRAPE_JOB,
        ],
        order="Server",
        no_value="No server is watched",
    )


def slowest_types() -> table.Panel:
    """Rank the job types by what the slower ones take."""
    slow = of_jobs("job_type:comfyui_job_duration_seconds:quantile1h", 'quantile="0.9"')
    return ranking(
        "Slowest job types, 1 h",
        "What nine of ten completed jobs of a type took at most, in the last hour. The ten slowest.",
        f"topk(10, max by ({ID}, job_type) ({slow} > 0))",
        [Column("job_type", "Job type"), SERVER],
        Column(0, "9 of 10", 100, unit="s", shaded=True),
        no_value="No job completed within the hour",
    )


def slowest_nodes() -> table.Panel:
    """Rank the nodes by what the slower ones take."""
    slow = of_server("node_type:comfyui_node_duration_seconds:quantile1h", 'quantile="0.9"')
    return ranking(
        "Slowest nodes, 1 h",
        "What nine of ten executions of a node took at most, in the last hour. The ten slowest.",
        f"topk(10, max by ({ID}, node_type) ({slow} > 0))",
        [Column("node_type", "Node"), SERVER],
        Column(0, "9 of 10", 100, unit="s", shaded=True),
        no_value="No events of nodes within the hour",
    )
