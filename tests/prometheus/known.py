"""Which series there are for rules: those of the exporter, of our recording rules, and of those whom we also ask."""

from __future__ import annotations

import re

from comfyui_exporter.failures import FailureClassifier
from comfyui_exporter.metrics.families import ALL as FAMILIES
from comfyui_exporter.metrics.family import Family, Kind
from comfyui_exporter.metrics.increments import STATUSES
from prometheus.promql import names_of
from prometheus.shipped import RECORDS, Rule

TARGET = {"job", "instance"}
"""What Prometheus adds to each series."""
OF_OTHERS: dict[str, set[str]] = {
    "up": set(),
    "scrape_duration_seconds": set(),
    "scrape_samples_scraped": set(),
    "process_cpu_seconds_total": set(),
    "process_resident_memory_bytes": set(),
    "process_start_time_seconds": set(),
    "prometheus_notifications_errors_total": {"alertmanager"},
    "prometheus_notifications_dropped_total": set(),
    "prometheus_notifications_alertmanagers_discovered": set(),
    "prometheus_rule_evaluation_failures_total": {"rule_group"},
    "alertmanager_notifications_failed_total": {"integration", "reason"},
    "DCGM_FI_DEV_GPU_UTIL": {"gpu", "UUID", "modelName"},
    "DCGM_FI_DEV_FB_USED": {"gpu", "UUID", "modelName"},
    "DCGM_FI_DEV_GPU_TEMP": {"gpu", "UUID", "modelName"},
    "DCGM_FI_DEV_POWER_USAGE": {"gpu", "UUID", "modelName"},
}
_OF_ALERTS = {"alertname", "severity", "job", "instance", "server"}
ALERT_SERIES = {"ALERTS": {*_OF_ALERTS, "alertstate"}, "ALERTS_FOR_STATE": _OF_ALERTS}
VALUES = {
    "status": {status.value for status in STATUSES},
    "pattern": set(FailureClassifier().ids),
    "state": {"running", "pending"},
    "result": {"ok", "timeout", "connection", "http", "payload", "executed", "cached"},
    "device_type": {"cuda", "cpu"},
    "route": {"/prompt", "/queue", "/system_stats", "/ws"},
}
"""Values of labels that are enumerations."""


def labels_of_family(family: Family, name: str) -> set[str]:
    """The labels of one series of a family."""
    own = set(family.labels) | ({"server"} if family.per_server else set())
    return TARGET | own | ({"le"} if name.endswith("_bucket") else set())


def _families() -> dict[str, set[str]]:
    known: dict[str, set[str]] = {}
    for family in FAMILIES:
        suffixes = ("_bucket", "_sum", "_count") if family.kind is Kind.HISTOGRAM else ("",)
        for suffix in suffixes:
            known[family.name + suffix] = labels_of_family(family, family.name + suffix)
    return known


def _outcome(rule: Rule, known: dict[str, set[str]]) -> set[str]:
    """The labels of what a rule records: those of its grouping, else those of what it reads."""
    grouped = re.findall(r"\b(?:sum|max|min|count)\s+by\s*\(([^()]*)\)", rule.expression)
    labels = set(re.findall(r"\w+", grouped[0])) if grouped else set()
    if not grouped:
        for metric in names_of(rule.expression).metrics:
            labels |= known.get(metric, set()) - ({"le"} if "histogram_quantile" in rule.expression else set())
    return labels | set(rule.body.get("labels", {}))


def series() -> dict[str, set[str]]:
    """Every metric that a rule may name, with its labels."""
    known = _families() | {name: TARGET | labels for name, labels in OF_OTHERS.items()} | ALERT_SERIES
    for rule in sorted(RECORDS, key=lambda rule: rule.file == "comfyui-slo.yml"):
        known[rule.name] = known.get(rule.name, set()) | _outcome(rule, known)
    return known


SERIES = series()


def faults(expression: str) -> list[str]:
    """What an expression names that is not there."""
    names = names_of(expression)
    found = [f"there is no metric {metric}" for metric in sorted(names.metrics - set(SERIES))]
    if names.metrics and not found:
        everything = set[str]().union(*(SERIES[metric] for metric in names.metrics)) | names.made | {"__name__"}
        found += [f"no series has the label {label}" for label in sorted(names.grouped - everything)]
    for metric, matchers in names.selectors:
        for matcher in matchers:
            if metric and metric in SERIES and matcher.label not in SERIES[metric]:
                found.append(f"{metric} has no label {matcher.label}")
            allowed = VALUES.get(matcher.label)
            if allowed and matcher.value:
                values = matcher.value.split("|") if "~" in matcher.operator else [matcher.value]
                found += [f"{matcher.label} is never {value!r}" for value in values if value not in allowed]
            if not metric:
                assert matcher.label == "__name__", f"a selector without a metric: {expression}"
                if not any(re.fullmatch(matcher.value, name) for name in SERIES):
                    found.append(f"no metric matches {matcher.value}")
    return found
