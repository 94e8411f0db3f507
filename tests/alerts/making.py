"""Alerts and messages as Alertmanager writes them."""

from __future__ import annotations

from comfyui_exporter.alerts.webhook import read_alert

NOON = "2026-01-01T12:00:00Z"
HALF_PAST = "2026-01-01T12:30:00.123456789Z"
ONE = "2026-01-01T13:00:00Z"
NEVER = "0001-01-01T00:00:00Z"


def as_sent(status="firing", starts=NOON, ends=None, **labels):
    """One of the `alerts` of a message."""
    labels = labels or {"alertname": "ComfyUIDown", "server": "gpu0", "severity": "critical"}
    return {
        "status": status,
        "labels": labels,
        "annotations": {"summary": "ComfyUI gpu0 does not answer"},
        "startsAt": starts,
        "endsAt": ends or (NEVER if status == "firing" else HALF_PAST),
        "generatorURL": "http://prometheus:9090/graph?g0.expr=up",
        "fingerprint": "0011223344556677",
    }


def message(*alerts, **changes):
    """The body of a POST."""
    return {
        "version": "4",
        "groupKey": '{}:{alertname="ComfyUIDown"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "exporter-inbox",
        "groupLabels": {"alertname": "ComfyUIDown"},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "alerts": list(alerts),
    } | changes


def alert(status="firing", starts=NOON, ends=None, **labels):
    return read_alert(as_sent(status, starts, ends, **labels))
