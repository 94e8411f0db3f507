"""Is the watching itself all right, and what does it cost?"""

from __future__ import annotations

from grafana_foundation_sdk.builders import stat, table, timeseries

from comfyui_dashboards.board import Board
from comfyui_dashboards.colours import BLUE, CRITICAL, GOOD, WARNING
from comfyui_dashboards.layout import Shelf
from comfyui_dashboards.panels import bars, chart, in_shades, limit, number
from comfyui_dashboards.queries import bars_by, lines, now, of_exporter, of_server
from comfyui_dashboards.tables import Column, joined
from comfyui_dashboards.watching import events, events_per_job, failed, latency, received, requests, streams

_INFO = of_exporter("comfyui_exporter_build_info")


def _its(metric: str) -> str:
    """Select what Prometheus or the process says of the exporters, whatever else is scraped."""
    return f"{of_exporter(metric)} and on (job, instance) present_over_time({_INFO}[1d])"


def down() -> stat.Panel:
    """Count the exporters that cannot be scraped."""
    return number(
        "Exporters down",
        "Exporters of the last day that Prometheus cannot scrape now.",
        "none",
        [now(f"count({_its('up')}) - sum({_its('up')})")],
        ((None, GOOD), (1, CRITICAL)),
        no_value="none known",
    )


def watched() -> stat.Panel:
    """Count what is watched."""
    return number(
        "Servers watched",
        "ComfyUI servers that the exporters watch.",
        "none",
        [now(f"sum(max by (job, instance) ({of_exporter('comfyui_exporter_servers')}))")],
        ((None, BLUE),),
    )


def deaf() -> stat.Panel:
    """Count closed event streams."""
    connected = of_server("comfyui_exporter_event_stream_connected")
    return number(
        "Streams closed",
        "Servers whose events are not heard now: their jobs are counted, but progress is an estimate.",
        "none",
        [now(f"count({connected}) - sum({connected})")],
        ((None, GOOD), (1, WARNING)),
    )


def errors() -> stat.Panel:
    """Tell which share of the requests fails."""
    worst = f"max({of_server('server:comfyui_exporter_request_errors:ratio_rate5m')})"
    none_failed = f"0 * max({of_server('comfyui_exporter_event_stream_connected')})"
    return number(
        "Request errors",
        "Share of the requests to ComfyUI without a usable answer in five minutes, on the worst server. Red where "
        "ComfyUIExporterRequestErrors begins.",
        "percentunit",
        [lines(f"{worst} or {none_failed}", "errors")],
        ((None, GOOD), (0.01, WARNING), (0.05, CRITICAL)),
        spark=True,
    ).decimals(1)


def store() -> stat.Panel:
    """Tell whether jobs are stored."""
    return number(
        "Stores away",
        "Exporters whose store is away: their job counters stand still until it is back.",
        "none",
        [now(f"sum({of_exporter('comfyui_exporter_store_degraded')})", "away")],
        ((None, GOOD), (1, CRITICAL)),
    )


def reload() -> stat.Panel:
    """Tell whether the configuration was taken."""
    return number(
        "Config refused",
        "Exporters that did not take their newest configuration and go on with the one before.",
        "none",
        [now(f"count({of_exporter('comfyui_exporter_config_last_reload_successful')} == 0) or vector(0)")],
        ((None, GOOD), (1, WARNING)),
    )


def exporters() -> table.Panel:
    """List the exporters."""
    by = "job, instance"
    return joined(
        "Exporters",
        "Each exporter: what it watches, what it needs, and how long a scrape of it takes.",
        [
            f"min by ({by}) ({_its('up')})",
            f"max by ({by}) ({of_exporter('comfyui_exporter_servers')})",
            f"max by ({by}) (rate({of_exporter('process_cpu_seconds_total')}[5m]) and on (job, instance) {_INFO})",
            f"max by ({by}) ({_its('process_resident_memory_bytes')})",
            f"max by ({by}) ({_its('scrape_duration_seconds')})",
            f"max by ({by}) ({_its('scrape_samples_scraped')})",
            f"max by ({by}) ({of_exporter('comfyui_exporter_push_clients')})",
            f"max by ({by}) ({_its('process_start_time_seconds')}) * 1000",
            f"max by ({by}) ({of_exporter('comfyui_exporter_config_last_reload_success_timestamp_seconds')}) * 1000",
            f"max by ({by}, version, python_version) ({_INFO})",
        ],
        [
            Column("instance", "Exporter"),
            Column("job", "Scrape job", 110),
            Column(0, "State", 70, texts={"0": ("DOWN", CRITICAL), "1": ("up", GOOD)}),
            Column(1, "Servers", 70),
            Column(2, "CPU", 65, unit="percentunit", decimals=1),
            Column(3, "Memory", 85, unit="bytes", decimals=1),
            Column(4, "Scrape", 75, unit="s", steps=((None, GOOD), (2, CRITICAL))),
            Column(5, "Samples", 75, unit="none"),
            Column(6, "Push clients", 95),
            Column(7, "Started", 125, unit="dateTimeFromNow"),
            Column(8, "Configured", 125, unit="dateTimeFromNow"),
            Column("version", "Version", 70),
            Column("python_version", "Python", 70),
        ],
        order="Exporter",
        no_value="No exporter",
    )


def clients() -> timeseries.Panel:
    """Draw who listens."""
    return (
        chart(
            "Push clients",
            "Connected clients of the push service. Those of a relay are the relay's, if it is scraped.",
            "short",
            [lines(f"max by (job, instance) ({of_exporter('comfyui_exporter_push_clients')})", "{{instance}}")],
        )
        .decimals(0)
        .axis_soft_max(1)
    )


def messages() -> timeseries.Panel:
    """Draw what clients are told."""
    sent = of_exporter("comfyui_exporter_push_messages_total")
    dropped = of_exporter("comfyui_exporter_push_dropped_total")
    by = "sum by (job, instance)"
    return (
        chart(
            "Push messages a second",
            "Messages that were sent, and those that newer ones replaced because a client was slow.",
            "short",
            [
                lines(f"{by} (rate({sent}[$__rate_interval]))", "sent {{instance}}"),
                lines(f"{by} (rate({dropped}[$__rate_interval]))", "dropped {{instance}}"),
            ],
            calcs=("mean", "max"),
        )
        .decimals(1)
        .axis_soft_max(1)
    )


def webhooks() -> timeseries.Panel:
    """Draw the calls to applications."""
    calls = of_exporter("comfyui_exporter_webhooks_total")
    return bars(
        "Webhook calls",
        "Calls to applications by result, in each minute or longer. Empty without webhooks.",
        [lines(bars_by("result", calls, beside=_INFO), "{{result}}")],
    ).no_value("No webhooks")


def stored() -> timeseries.Panel:
    """Draw what waits for the store, and what failed."""
    waits = of_exporter("comfyui_exporter_store_buffered_jobs")
    failed = of_exporter("comfyui_exporter_store_errors_total")
    return (
        chart(
            "Store",
            "Rows that wait to be written, and failed writes a minute. ComfyUIExporterStoreErrors tells of the first.",
            "short",
            [
                lines(f"max by (job, instance) ({waits})", "waiting {{instance}}"),
                lines(f"sum by (job, instance) (rate({failed}[$__rate_interval])) * 60", "errors {{instance}}"),
            ],
        )
        .decimals(0)
        .axis_soft_max(1)
    )


def sinks() -> timeseries.Panel:
    """Draw the errors of receivers of job changes."""
    raised = of_exporter("comfyui_exporter_sink_errors_total")
    folded = of_server("comfyui_exporter_label_overflow_total")
    panel = bars(
        "Sink errors, folded labels",
        "Errors in receivers of job changes, and updates whose label value became `other` because there were too many "
        "(`limits`), in each minute or longer. Empty without any.",
        [
            lines(bars_by("sink", raised, above_zero=True, beside=_INFO), "error in {{sink}}"),
            lines(bars_by("label", folded, above_zero=True, beside=_INFO), "{{label}} folded"),
        ],
    )
    return in_shades(panel, WARNING).no_value("No errors, nothing folded")


def scrapes() -> timeseries.Panel:
    """Draw how long scrapes take."""
    panel = chart(
        "Scrape duration",
        "How long Prometheus waits for a scrape of each exporter. The line is where ComfyUIExporterScrapeSlow begins.",
        "s",
        [lines(f"max by (job, instance) ({_its('scrape_duration_seconds')})", "{{instance}}")],
    )
    return limit(panel, 2)


def cpu() -> timeseries.Panel:
    """Draw what the process needs."""
    used = f"rate({of_exporter('process_cpu_seconds_total')}[$__rate_interval])"
    return chart(
        "CPU of the exporter",
        "Share of one core that each exporter uses.",
        "percentunit",
        [lines(f"max by (job, instance) ({used} and on (job, instance) {_INFO})", "{{instance}}")],
        calcs=("mean", "max"),
        filled=10,
    ).decimals(1)


def memory() -> timeseries.Panel:
    """Draw what the process holds."""
    return chart(
        "Memory of the exporter",
        "Resident memory of each exporter.",
        "bytes",
        [lines(f"max by (job, instance) ({_its('process_resident_memory_bytes')})", "{{instance}}")],
        filled=10,
    )


BOARD = Board(
    uid="comfyui-exporter",
    title="ComfyUI / Exporter",
    description="Whether the watching itself is all right, and what it costs.",
    job_types=False,
    shelves=[
        Shelf(4, [(4, down()), (4, watched()), (4, deaf()), (4, errors()), (4, store()), (4, reload())]),
        Shelf(5, [(24, exporters())]),
        Shelf(8, [(8, requests()), (8, received()), (8, latency())], heading="What watching costs ComfyUI"),
        Shelf(8, [(8, streams()), (8, events()), (8, events_per_job())], heading="What is heard"),
        Shelf(8, [(8, clients()), (8, messages()), (8, webhooks())], heading="Who is told"),
        Shelf(8, [(8, failed()), (8, stored()), (8, sinks())], heading="What goes wrong"),
        Shelf(8, [(8, cpu()), (8, memory()), (8, scrapes())], heading="What the exporter costs"),
    ],
)
