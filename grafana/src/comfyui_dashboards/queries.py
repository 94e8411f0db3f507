"""Queries: what they are about is what the variables at the top of a dashboard say."""

from __future__ import annotations

from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

ID = "job, instance, server"
"""What tells one watched server from another: two exporters may both watch a 127.0.0.1:8188."""

JOB_ID = f"{ID}, prompt_id, job_id, job_type"
"""And what tells jobs of the queue apart."""

_OF_EXPORTER = ('job=~"$job"', 'instance=~"$instance"')
_OF_SERVER = (*_OF_EXPORTER, 'server=~"$server"')
_OF_JOBS = (*_OF_SERVER, 'job_type=~"$job_type"')
_OF_ALERTS = ('alertname=~"ComfyUI.+"', 'job=~"$job|"', 'instance=~"$instance|"', 'server=~"$server|"')


def of_exporter(metric: str, *more: str) -> str:
    """Select a metric of the exporters that are chosen."""
    return _select(metric, _OF_EXPORTER, more)


def of_server(metric: str, *more: str) -> str:
    """Select a metric of the servers that are chosen."""
    return _select(metric, _OF_SERVER, more)


def of_jobs(metric: str, *more: str) -> str:
    """Select a metric of the job types that are chosen."""
    return _select(metric, _OF_JOBS, more)


def of_alerts(metric: str, *more: str) -> str:
    """Select our alerts: those of the servers that are chosen, and those of no server."""
    return _select(metric, _OF_ALERTS, more)


def _select(metric: str, chosen: tuple[str, ...], more: tuple[str, ...]) -> str:
    return f"{metric}{{{', '.join((*chosen, *more))}}}"


def over_range(counter: str) -> str:
    """How far each series rose in the time range, with the first value of those that appear within it.

    increase() alone does not know that a counter that begins at 1 has risen. A series appeared within the range if it
    has fewer samples there than its server.
    """
    known = f"count_over_time({of_server('comfyui_restarts_total')}[$__range])"
    return (
        f"(increase({counter}[$__range]) + min_over_time({counter}[$__range])"
        f" * (count_over_time({counter}[$__range]) < bool on ({ID}) group_left () {known}))"
    )


def each_bar(counter: str) -> str:
    """How far each series rose in the time that one bar stands for.

    $__rate_interval is longer than a bar by one scrape, so that nothing is lost between two bars; the rate of that,
    times the length of a bar, counts nothing twice.
    """
    return f"rate({counter}[$__rate_interval]) * $__interval_ms / 1000"


def bars_by(labels: str, counter: str, *, above_zero: bool = False, beside: str = "") -> str:
    """Count by labels in each bar; in whole numbers, though Prometheus extrapolates.

    Args:
        labels: What a colour of the bars stands for.
        counter: What is counted.
        above_zero: Leave out what is zero all the time.
        beside: A series that each exporter has all the time, for a counter that appears with its first count: that one
            is then in the bar too, if the exporter was there before.
    """
    counted = each_bar(counter)
    if beside:
        known = f"on (job, instance) {beside} offset $__interval"
        first = f"(min_over_time({counter}[$__interval]) unless {counter} offset $__interval and {known})"
        counted = f"({counted} + ({first} or {counted} * 0) or {first})"
    return f"round(sum by ({labels}) ({counted})){' > 0' if above_zero else ''}"


def per_minute(rate: str) -> str:
    """Turn a rate per second into one that people can count along with."""
    return f"{rate} * 60"


def lines(expr: str, legend: str, *, exemplars: bool = False) -> prometheus.Dataquery:
    """Query the time range."""
    return _query(expr).legend_format(legend).range().exemplar(exemplars)


def buckets(expr: str, *, exemplars: bool = False) -> prometheus.Dataquery:
    """Query the buckets of a histogram over the time range."""
    return lines(expr, "{{le}}", exemplars=exemplars).format(PromQueryFormat.HEATMAP)


def now(expr: str, legend: str = "__auto") -> prometheus.Dataquery:
    """Query the end of the time range only."""
    return _query(expr).legend_format(legend).instant()


def columns(expr: str) -> prometheus.Dataquery:
    """Query the end of the time range, with a column for each label."""
    return now(expr).format(PromQueryFormat.TABLE)


def _query(expr: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expr).datasource(SOURCE)
