"""Do the GPUs suffice? How busy servers are, what takes their time, their memory, and when queues outgrow them."""

from __future__ import annotations

from grafana_foundation_sdk.builders import stat, table, timeseries

from comfyui_dashboards.board import Board
from comfyui_dashboards.colours import BLUE, CRITICAL, GOOD, NEUTRAL, WARNING
from comfyui_dashboards.gpus import GPUS
from comfyui_dashboards.layout import Shelf
from comfyui_dashboards.panels import chart, dashed, limit, number
from comfyui_dashboards.parts import SERVER
from comfyui_dashboards.queries import ID, lines, now, of_jobs, of_server, over_range
from comfyui_dashboards.tables import Column, joined, ranking

_DRAIN_LIMIT = "scalar(comfyui:threshold_drain_seconds)"


def _load() -> str:
    """How much work comes in for each server: seconds of execution for each second."""
    took = of_jobs("comfyui_job_duration_seconds_sum", 'status="completed"')
    completed = of_jobs("comfyui_job_duration_seconds_count", 'status="completed"')
    by = f"sum by ({ID}, job_type)"
    mean = f"({by} (rate({took}[1h])) / ({by} (rate({completed}[1h])) > 0))"
    # Not the rate over the hour, which is too low where Prometheus has known the exporter for minutes only.
    came = f"{by} (avg_over_time({of_jobs('job_type:comfyui_jobs_submitted:rate5m')}[1h]))"
    return f"sum by ({ID}) ({came} * {mean})"


def busy() -> stat.Panel:
    """Tell how busy all are."""
    return number(
        "At work, 1 h",
        "Share of the last hour in which a job ran, over all chosen servers.",
        "percentunit",
        [lines(f"avg(avg_over_time({of_server('server:comfyui_busy:ratio_rate5m')}[1h]))", "at work")],
        ((None, BLUE),),
        spark=True,
    ).decimals(0)


def load() -> stat.Panel:
    """Tell how much comes in for the server that has most."""
    return number(
        "Incoming work",
        "What was submitted in the last hour, by how long such jobs take, as a share of what a server can do; on the "
        "server with most. Above 100 % its queue grows.",
        "percentunit",
        [lines(f"max({_load()})", "load")],
        ((None, GOOD), (0.8, WARNING), (1, CRITICAL)),
        no_value="no job completed",
        spark=True,
    ).decimals(0)


def headroom() -> stat.Panel:
    """Tell how many more jobs fit."""
    return number(
        "Room for more",
        "How much more work of the same kind all chosen servers could do in an hour, as a share of what they can do. "
        "Below zero more comes in than they can do.",
        "percentunit",
        [lines(f"1 - avg({_load()})", "room")],
        ((None, NEUTRAL), (-1000, CRITICAL), (0, WARNING), (0.2, GOOD)),
        no_value="no job completed",
        spark=True,
    ).decimals(0)


def outgrown() -> stat.Panel:
    """Tell when the first queue will be too long."""
    drain = of_server("comfyui_queue_drain_seconds")
    growing = f"(deriv({drain}[1h]) > 0.05)"
    return number(
        "Queue too long in",
        "If queues go on to grow as in the last hour: how long until the first one needs more time than "
        "ComfyUIQueueBacklog allows (two hours). Growth of less than three minutes an hour does not count.",
        "s",
        [now(f"min(clamp_min(({_DRAIN_LIMIT} - {drain}) / {growing}, 0))")],
        ((None, GOOD), (0, CRITICAL), (3600, WARNING), (6 * 3600, GOOD)),
        no_value="not growing",
    )


def waiting() -> stat.Panel:
    """Tell how long the longest queue is."""
    return number(
        "Longest queue",
        "Estimated time until the fullest queue is empty, if nothing is added.",
        "s",
        [lines(f"max({of_server('comfyui_queue_drain_seconds')})", "until empty")],
        ((None, GOOD), (1800, WARNING), (7200, CRITICAL)),
        no_value="no estimate",
        spark=True,
    )


def least_memory() -> stat.Panel:
    """Tell how much memory is left where least is."""
    return number(
        "Least VRAM free",
        "Free memory of the device that has least. Memory that PyTorch keeps in reserve counts as free.",
        "percentunit",
        [lines(f"min({of_server('device:comfyui_vram_free:ratio')})", "free")],
        ((None, NEUTRAL), (0, WARNING), (0.1, GOOD)),
        no_value="no GPU",
        spark=True,
    ).decimals(0)


def busy_by_server() -> timeseries.Panel:
    """Draw how busy each is."""
    return (
        chart(
            "At work",
            "Share of the time with a job running, of each server over five minutes.",
            "percentunit",
            [lines(of_server("server:comfyui_busy:ratio_rate5m"), "{{server}}")],
            calcs=("mean", "max"),
            filled=10,
        )
        .max(1)
        .decimals(0)
    )


def load_by_server() -> timeseries.Panel:
    """Draw how much comes in for each."""
    panel = chart(
        "Incoming work, 1 h",
        "Seconds of execution that were submitted for each second, over the hour before: above the line a server gets "
        "more than it can do, and its queue grows.",
        "percentunit",
        [lines(_load(), "{{server}}")],
    )
    return limit(panel, 1).axis_soft_max(1.1).decimals(0)


def drain() -> timeseries.Panel:
    """Draw how long queues are, and where they go."""
    drain = of_server("comfyui_queue_drain_seconds")
    panel = chart(
        "Time until the queue is empty",
        "Estimated, if nothing is added. Dashed: in an hour from each moment, if it went on as in the half hour "
        "before. The limit is where ComfyUIQueueBacklog begins.",
        "s",
        [
            lines(f"max by ({ID}) ({drain})", "{{server}}"),
            lines(f"clamp_min(predict_linear({drain}[30m], 3600), 0)", "{{server}} in 1 h"),
            lines(_DRAIN_LIMIT, "limit"),
        ],
    )
    return dashed(dashed(panel, "limit"), ".* in 1 h", NEUTRAL)


def by_type() -> timeseries.Panel:
    """Draw what kind of jobs has the time."""
    took = f"rate({of_jobs('comfyui_job_duration_seconds_sum')}[1h])"
    return (
        chart(
            "What the servers work on, 1 h",
            "Share of each job type in the time that ended jobs took, over the hour before.",
            "percentunit",
            [lines(f"sum by (job_type) ({took}) / scalar(sum({took}) > 0)", "{{job_type}}")],
            calcs=("lastNotNull", "max"),
            filled=10,
        )
        .max(1)
        .decimals(0)
    )


def memory_used() -> timeseries.Panel:
    """Draw the memory of each device."""
    return (
        chart(
            "VRAM in use",
            "Share of the memory of each GPU that is in use. Memory that PyTorch keeps in reserve counts as free.",
            "percentunit",
            [lines(f"1 - {of_server('device:comfyui_vram_free:ratio')}", "{{server}} device {{device}}")],
            filled=10,
        )
        .max(1)
        .decimals(0)
    )


def memory_by_device() -> table.Panel:
    """List the memory of each device."""
    by = f"{ID}, device, device_type"

    def of(metric: str) -> str:
        return f"max by ({by}) ({of_server(metric)})"

    total, free = of("comfyui_vram_total_bytes"), of("comfyui_vram_free_bytes")
    reserved, unused = of("comfyui_torch_vram_total_bytes"), of("comfyui_torch_vram_free_bytes")
    return joined(
        "Memory by device",
        "Memory of each device now; what PyTorch has reserved, and what of that is not in use. A device of type cpu "
        "is the host's memory.",
        [f"1 - {free} / ({total} > 0)", free, total, reserved, unused],
        [
            Column("server", "Server"),
            Column("device", "Device", 65),
            Column("device_type", "Type", 65),
            Column(0, "In use", 260, unit="percentunit", bar=1, steps=((None, BLUE), (0.9, WARNING)), decimals=0),
            Column(1, "Free", 110, unit="bytes", decimals=1),
            Column(2, "Total", 110, unit="bytes", decimals=1),
            Column(3, "Reserved", 110, unit="bytes", decimals=1),
            Column(4, "Unused", 110, unit="bytes", decimals=1),
        ],
        order="In use",
        descending=True,
        no_value="No device",
    )


def host_memory() -> timeseries.Panel:
    """Draw the memory of each host."""
    return (
        chart(
            "Host memory in use",
            "Share of the memory of each server's host that is in use. Models that do not fit into VRAM wait there.",
            "percentunit",
            [lines(f"1 - {of_server('server:comfyui_ram_free:ratio')}", "{{server}}")],
            filled=10,
        )
        .max(1)
        .decimals(0)
    )


def costly_nodes() -> table.Panel:
    """Rank nodes by the time they took."""
    by = "sum by (node_type)"
    took = f"{by} ({over_range(of_server('comfyui_node_duration_seconds_sum'))})"
    times = f"{by} ({over_range(of_server('comfyui_node_duration_seconds_count'))})"
    slowest = of_server("node_type:comfyui_node_duration_seconds:quantile1h", 'quantile="0.9"')
    return joined(
        "Where the time goes, by node",
        "What each class of nodes took in the time range, all executions together, and as a share of all; the mean "
        "of one execution, and what nine of ten took at most in the last hour. As far as events of nodes are heard.",
        [
            f"topk(20, {took} > 0)",
            f"{took} / scalar(sum({took}))",
            f"round({times})",
            f"{took} / ({times} > 0)",
            f"max by (node_type) ({slowest})",
        ],
        [
            Column("node_type", "Node"),
            Column(1, "Share", 180, unit="percentunit", bar=1, steps=((None, BLUE),), decimals=1),
            Column(0, "Together", 90, unit="s"),
            Column(2, "Times", 70, decimals=0),
            Column(3, "Mean", 80, unit="s"),
            Column(4, "p0.9", 80, unit="s"),
        ],
        order="Together",
        descending=True,
        no_value="No events of nodes",
    )


def steps() -> table.Panel:
    """Rank samplers by their steps."""
    step = of_server("node_type:comfyui_step_duration_seconds:quantile1h", 'quantile="0.5"')
    return ranking(
        "One step of a sampler, 1 h",
        "What half of the steps took at most in the last hour, by class of node: how fast a GPU is at the same work.",
        f"topk(20, max by ({ID}, node_type) ({step} > 0))",
        [Column("node_type", "Node"), SERVER],
        Column(0, "Half", 100, unit="s", shaded=True),
        no_value="No events of steps",
    )


BOARD = Board(
    uid="comfyui-capacity",
    title="ComfyUI / Capacity",
    description="Whether the GPUs suffice: how busy servers are, what takes their time and memory, where queues go.",
    shelves=[
        Shelf(
            4,
            [
                (4, outgrown()),
                (4, load()),
                (4, headroom()),
                (4, busy()),
                (4, waiting()),
                (4, least_memory()),
            ],
        ),
        Shelf(8, [(12, drain()), (12, load_by_server())], heading="Will the queues outgrow the servers?"),
        Shelf(8, [(12, busy_by_server()), (12, by_type())], heading="How busy are they, and with what?"),
        Shelf(9, [(15, costly_nodes()), (9, steps())]),
        Shelf(8, [(12, memory_used()), (12, host_memory())], heading="Is there enough memory?"),
        Shelf(6, [(24, memory_by_device())]),
        GPUS,
    ],
)
