"""What fails, where, and why; since when; and did a restart help?"""

from __future__ import annotations

from grafana_foundation_sdk.builders import stat, table, timeseries

from comfyui_dashboards.board import Board
from comfyui_dashboards.colours import BY_STATUS, CRITICAL, GOOD, NEUTRAL, WARNING
from comfyui_dashboards.layout import Shelf
from comfyui_dashboards.panels import NO_FAILURES, bars, chart, dashed, in_colours, in_shades, limit, number
from comfyui_dashboards.parts import JOB_TYPE, PROMPT, SERVER, THEIR_ID, most_frequent
from comfyui_dashboards.queries import ID, bars_by, lines, now, of_jobs, of_server, over_range
from comfyui_dashboards.tables import Column, joined

_ENDED = 'status=~"completed|failed|lost"'
_BAD = 'status=~"failed|lost"'


def failed() -> stat.Panel:
    """Count failures."""
    jobs = over_range(of_jobs("comfyui_jobs_total", 'status="failed"'))
    return number(
        "Failed",
        "Jobs that failed in the time range.",
        "short",
        [now(f"round(sum({jobs}))")],
        ((None, GOOD), (1, BY_STATUS["failed"])),
    )


def share() -> stat.Panel:
    """Tell which share failed."""
    bad = over_range(of_jobs("comfyui_jobs_total", 'status="failed"'))
    ended = over_range(of_jobs("comfyui_jobs_total", 'status=~"completed|failed"'))
    return number(
        "Share that failed",
        "Of the jobs that completed or failed in the time range, those that failed.",
        "percentunit",
        [now(f"sum({bad}) / (sum({ended}) > 0)")],
        ((None, GOOD), (0.05, WARNING), (0.2, CRITICAL)),
        no_value="no job ended",
    ).decimals(1)


def lost() -> stat.Panel:
    """Count losses."""
    jobs = over_range(of_jobs("comfyui_jobs_total", 'status="lost"'))
    return number(
        "Lost",
        "Jobs that disappeared without a result in the time range; most often ComfyUI was restarted.",
        "short",
        [now(f"round(sum({jobs}))")],
        ((None, GOOD), (1, BY_STATUS["lost"])),
    )


def given_up() -> stat.Panel:
    """Count what users stopped."""
    jobs = over_range(of_jobs("comfyui_jobs_total", 'status=~"interrupted|cancelled"'))
    return number(
        "Stopped by users",
        "Jobs that were interrupted, or deleted before they began, in the time range. They are no failures.",
        "short",
        [now(f"round(sum({jobs}))")],
    )


def restarts() -> stat.Panel:
    """Count restarts."""
    counted = over_range(of_server("comfyui_restarts_total"))
    return number(
        "Restarts",
        "Restarts of ComfyUI in the time range. Each is a line on the graphs.",
        "short",
        [now(f"round(sum({counted}))")],
        ((None, GOOD), (1, BY_STATUS["lost"])),
    )


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
    ).decimals(0)


def patterns() -> timeseries.Panel:
    """Draw failures by their reason."""
    failures = of_jobs("comfyui_job_failures_total")
    panel = bars(
        "Failures by pattern",
        "Failed jobs by what their error messages have in common, in each minute or longer. A dot is one job: its "
        "tooltip leads to what the exporter knows of it. Empty without failures.",
        [lines(bars_by("pattern", failures, above_zero=True), "{{pattern}}", exemplars=True)],
    )
    return in_shades(panel, BY_STATUS["failed"]).no_value(NO_FAILURES)


def details() -> table.Panel:
    """Rank nodes and exceptions."""
    failures = over_range(of_server("comfyui_job_failure_details_total"))
    return joined(
        "By node and exception",
        "In which class of node jobs failed in the time range, and with what. All job types.",
        [f"round(sum by ({ID}, pattern, node_type, exception_type) ({failures})) > 0"],
        [
            Column(0, "Failed", 130, bar=-1, steps=((None, BY_STATUS["failed"]),), decimals=0),
            Column("node_type", "Node"),
            Column("exception_type", "Exception"),
            Column("pattern", "Pattern", 120),
            SERVER,
        ],
        order="Failed",
        descending=True,
        no_value=NO_FAILURES,
    )


def newest() -> table.Panel:
    """List the last failures."""
    failed_at = of_jobs("comfyui_job_failed_timestamp_seconds")
    return joined(
        "Last failures",
        "The newest failed jobs of the last hour, at most ten of each server (`limits.failed_series`). A click on a "
        "prompt opens what the exporter knows of it, with the whole message.",
        [
            f"max by ({ID}, prompt_id, job_id, job_type, pattern, node_type) ({failed_at}) * 1000",
        ],
        [
            Column(0, "When", 150, unit="dateTimeFromNow"),
            Column("pattern", "Pattern", 150),
            Column("node_type", "Node"),
            THEIR_ID,
            PROMPT,
            JOB_TYPE,
            SERVER,
        ],
        order="When",
        descending=True,
        no_value=NO_FAILURES,
    )


def by_server() -> timeseries.Panel:
    """Draw the share of failed jobs of each server."""
    panel = chart(
        "Share that failed, by server",
        "Of the jobs that completed or failed in the 30 minutes before, those that failed. The line is where "
        "ComfyUIHighFailureRate begins.",
        "percentunit",
        [lines(of_server("server:comfyui_job_failures:ratio30m"), "{{server}}")],
    )
    return limit(panel, 0.2).axis_soft_max(0.25)


def by_type() -> timeseries.Panel:
    """Draw the share of failed jobs of each type."""
    return chart(
        "Share that failed, by job type",
        "Of the jobs of a type that completed or failed in the hour before, those that failed.",
        "percentunit",
        [lines(of_jobs("job_type:comfyui_job_failures:ratio1h"), "{{job_type}} on {{server}}")],
    )


def ended() -> timeseries.Panel:
    """Draw how jobs ended, around restarts."""
    jobs = of_jobs("comfyui_jobs_total", 'status!="completed"')
    panel = bars(
        "Jobs without a result",
        "Jobs that ended otherwise than completed, in each minute or longer. Violet lines are restarts of ComfyUI: "
        "what waited or ran then is lost.",
        [lines(bars_by("status", jobs, above_zero=True), "{{status}}")],
    )
    return in_colours(panel).no_value("All jobs completed")


def around_restart() -> table.Panel:
    """Compare before and after the last restart."""
    count = of_server("comfyui_restarts_total")
    last = f"({count} @ end())"
    before, after = f"({count} < {last})", f"({count} == {last})"
    gone = f"(timestamp({count}) and {before})"
    return joined(
        "Before and after the last restart",
        "When each server was restarted last in the time range, and which share of its jobs failed or was lost from "
        "the beginning of the time range to that restart, and from then to its end. What was lost in the restart "
        "itself counts as after it. Of a server without a restart all jobs are after it.",
        [
            f"max by ({ID}) (max_over_time({gone}[$__range:$__interval])) * 1000",
            _bad_share(before, to_the_end=False),
            _bad_share(after, to_the_end=True),
            _jobs_while(_ENDED, before, to_the_end=False),
            _jobs_while(_ENDED, after, to_the_end=True),
        ],
        [
            Column("server", "Server"),
            Column(0, "Restarted", 125, unit="dateTimeFromNow", none="no restart"),
            Column(3, "Jobs before", 95, decimals=0),
            Column(1, "Bad before", 90, unit="percentunit", steps=_SHARES, decimals=1),
            Column(4, "Jobs after", 85, decimals=0),
            Column(2, "Bad after", 80, unit="percentunit", steps=_SHARES, decimals=1),
        ],
        order="Server",
        no_value="No server",
    )


_SHARES = ((None, GOOD), (0.05, WARNING), (0.2, CRITICAL))


def _jobs_while(which: str, time: str, *, to_the_end: bool) -> str:
    """Count jobs while a condition on the server held, which held until the end of the range or ended within it."""
    jobs = of_jobs("comfyui_jobs_total", which)
    held = f"({jobs} and on ({ID}) {time})[$__range:$__interval]"
    newest = jobs if to_the_end else f"max_over_time({held})"
    return f"sum by ({ID}) ({newest} - min_over_time({held}))"


def _bad_share(time: str, *, to_the_end: bool) -> str:
    bad, every = (_jobs_while(which, time, to_the_end=to_the_end) for which in (_BAD, _ENDED))
    return f"{bad} / ({every} > 0)"


def burn() -> timeseries.Panel:
    """Draw how fast the error budget goes."""
    allowed = "(1 - scalar(comfyui:threshold_slo_success_ratio))"
    short = of_server("server:comfyui_slo_bad_jobs:ratio1h")
    long = of_server("server:comfyui_slo_bad_jobs:ratio6h")
    panel = chart(
        "Burn rate of the error budget",
        "How many times faster than allowed jobs fail or are lost, over one hour and over six. At 1 just nothing is "
        "left of the budget in the end; at 14.4 for an hour ComfyUIJobSuccessSLOBurn begins.",
        "short",
        [
            lines(f"{short} / {allowed}", "1 h {{server}}"),
            lines(f"{long} / {allowed}", "6 h {{server}}"),
            lines("vector(1)", "allowed"),
        ],
    )
    return dashed(panel, "allowed", NEUTRAL).decimals(1)


BOARD = Board(
    uid="comfyui-failures",
    title="ComfyUI / Failures",
    description="What fails, where and why, since when, and whether a restart helped.",
    job_links=True,
    shelves=[
        Shelf(4, [(4, failed()), (4, share()), (4, lost()), (4, given_up()), (4, restarts()), (4, budget())]),
        Shelf(9, [(15, patterns()), (9, most_frequent())]),
        Shelf(8, [(24, newest())]),
        Shelf(8, [(14, details()), (10, by_type())]),
        Shelf(8, [(12, ended()), (12, around_restart())], heading="Around restarts"),
        Shelf(8, [(12, by_server()), (12, burn())], heading="Against what was agreed"),
    ],
)
