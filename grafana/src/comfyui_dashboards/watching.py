"""What the exporter asks ComfyUI, what it hears, and what goes wrong with that."""

from __future__ import annotations

from grafana_foundation_sdk.builders import statetimeline, timeseries

from comfyui_dashboards.colours import CRITICAL, GOOD
from comfyui_dashboards.panels import bars, chart, in_shades, states
from comfyui_dashboards.queries import ID, bars_by, lines, of_exporter, of_server


def requests() -> timeseries.Panel:
    """Draw what is asked."""
    asked = of_server("comfyui_exporter_requests_total")
    return chart(
        "Requests a minute",
        "What the exporters ask ComfyUI, by route.",
        "short",
        [lines(f"sum by (route) (rate({asked}[$__rate_interval])) * 60", "{{route}}")],
        calcs=("mean", "max"),
    ).decimals(1)


def received() -> timeseries.Panel:
    """Draw how much is read."""
    read = of_server("route:comfyui_exporter_received_bytes:rate5m")
    return chart(
        "Bytes received",
        "Size of ComfyUI's answers and events, by route, over five minutes. /ws is what ComfyUI pushes, read or not.",
        "Bps",
        [lines(f"sum by (route) ({read})", "{{route}}")],
        calcs=("mean", "max"),
    )


def latency() -> timeseries.Panel:
    """Draw how fast answers come."""
    took = of_server("route:comfyui_exporter_request_duration_seconds:quantile5m", 'quantile="0.99"')
    return chart(
        "Latency of answers",
        "What 99 of 100 requests took at most, by route, over five minutes; on the slowest server.",
        "s",
        [lines(f"max by (route) ({took} > 0)", "{{route}}")],
    )


def failed() -> timeseries.Panel:
    """Draw the requests that failed."""
    bad = of_server("comfyui_exporter_requests_total", 'result!="ok"')
    panel = bars(
        "Requests that failed",
        "Requests without a usable answer, by server and reason, in each minute or longer. Empty without any.",
        [
            lines(
                bars_by(f"{ID}, result", bad, above_zero=True, beside=of_exporter("comfyui_exporter_build_info")),
                "{{result}} {{server}}",
            )
        ],
    )
    return in_shades(panel, CRITICAL).no_value("No failed requests")


def streams() -> statetimeline.Panel:
    """Draw when events were heard."""
    connected = of_server("comfyui_exporter_event_stream_connected")
    return states(
        "Event streams",
        "When the WebSocket to each ComfyUI was open.",
        [lines(f"max by ({ID}) ({connected})", "{{server}}")],
        {"0": ("closed", CRITICAL), "1": ("open", GOOD)},
    )


def events() -> timeseries.Panel:
    """Draw what was heard."""
    heard = of_server("type:comfyui_exporter_events:rate5m")
    return chart(
        "Events a second",
        "Events from ComfyUI by type, over five minutes.",
        "short",
        [lines(f"sum by (type) ({heard}) > 0", "{{type}}")],
        calcs=("mean", "max"),
    ).decimals(2)


def events_per_job() -> timeseries.Panel:
    """Draw how much of jobs is heard."""
    return chart(
        "Events for each job, 30 min",
        "Events by ended jobs. A few are changes of the queue alone: jobs of other clients are heard with the bridge "
        "only (docs/bridge.md). None is a deaf exporter.",
        "short",
        [lines(of_server("server:comfyui_exporter_events_per_job:ratio30m"), "{{server}}")],
    ).decimals(1)
