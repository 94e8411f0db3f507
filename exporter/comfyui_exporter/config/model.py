"""The configuration file as a whole. Every key has a default, so an empty file is a valid one."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, ValidationInfo, model_validator

from comfyui_exporter.config import rules
from comfyui_exporter.config.consistency import contradictions
from comfyui_exporter.config.describe import dotted
from comfyui_exporter.config.fields import DurationRange, FilePattern, ShardText, SizeRange, Text, WholeNumber
from comfyui_exporter.config.rules import Shard
from comfyui_exporter.config.sections import (
    Buckets,
    FailurePattern,
    JobType,
    Limits,
    Links,
    Push,
    RegisteredWebhooks,
    Section,
    Store,
    Webhook,
)
from comfyui_exporter.config.servers import ServerConfig
from comfyui_exporter.config.units import parse_duration

POLL_INTERVAL = DurationRange(0.1, 3600)
MOST_JOB_LABELS = 5
"""Each one multiplies the series of comfyui_jobs_total and of the duration histogram."""
DEFAULT_SERVER_URL = "http://127.0.0.1:8188"


class Config(Section):
    """All of it: what is watched, how jobs are understood, what is kept and who is told. Immutable.

    Programs may construct it, giving durations in seconds.

    Raises:
        pydantic.ValidationError: a value is not allowed or two of them contradict each other.
    """

    poll_interval: Annotated[float, POLL_INTERVAL] = Field(
        2.0,
        description="How often a server is asked for changes. Large queues are read less often by themselves, so that "
        "watching never slows ComfyUI down.",
    )
    request_timeout: Annotated[float, DurationRange(0.1, 600)] = Field(
        10.0, description="How long one request to ComfyUI may take."
    )
    max_response_size: Annotated[int, SizeRange(1 << 20, 16 << 30)] = Field(
        256 << 20, description="Answers of ComfyUI larger than this are not read; they count as payload errors."
    )
    servers: tuple[ServerConfig, ...] = Field(
        (),
        description=f"The ComfyUI servers to watch; those of --comfyui.url and COMFYUI_URL are added. Without any, "
        f"{DEFAULT_SERVER_URL} is watched.",
    )
    server_files: tuple[Annotated[str, FilePattern()], ...] = Field(
        (),
        description="Files with more servers in Prometheus file_sd format (JSON or YAML), looked at every 5 s; see "
        "[many servers](fleet.md#server-files).",
        examples=[["servers/*.yml"]],
    )
    shard: Annotated[Shard, ShardText()] = Field(
        Shard(),
        description="This replica takes the servers whose stable hash falls in its share: number i, from 0, of n; see "
        "[shards](fleet.md#shards).",
    )
    job_types: tuple[JobType, ...] = Field(
        (),
        description="What kind of job it is, by the classes of its nodes, where neither its registration nor its "
        "extra_data.job_type says so. The first match wins; without one it is unknown.",
    )
    job_labels: tuple[Annotated[str, Text("name of a Prometheus label", rules.job_label)], ...] = Field(
        (),
        max_length=MOST_JOB_LABELS,
        description="Keys of extra_data that become labels of comfyui_jobs_total and comfyui_job_duration_seconds, and "
        f"fields of rows and updates. At most {MOST_JOB_LABELS}; their values are bounded by limits.label_values.",
        examples=[["project"]],
    )
    failure_patterns: tuple[FailurePattern, ...] = Field(
        (), description="Your own kinds of failures, tried in this order before the built-in ones."
    )
    buckets: Buckets = Field(
        Buckets(),
        description="Upper bounds of histogram buckets, in seconds (estimate: actual divided by predicted). Changing "
        "them starts the histogram anew.",
    )
    job_grace: Annotated[float, DurationRange(0.1, 86_400, zero=True)] = Field(
        30.0, description="A job gone from queue and history for this long is lost or cancelled."
    )
    registration_timeout: Annotated[float, DurationRange(1, parse_duration("30d"))] = Field(
        600.0,
        description="A job that was registered and that no server has shown for this long is reported as timeout.",
    )
    keep_finished: Annotated[float, DurationRange(1, parse_duration("7d"), zero=True)] = Field(
        900.0, description="How long a finished job stays in memory."
    )
    max_finished: Annotated[int, WholeNumber(1, 1_000_000)] = Field(
        10_000, description="How many finished jobs stay in memory at most."
    )
    store: Store = Field(Store(), description="What survives a restart of the exporter.")
    push: Push = Field(Push(), description="The WebSocket push service.")
    webhooks: tuple[Webhook, ...] = Field((), description="URLs that are called when a job changes its status.")
    registered_webhooks: RegisteredWebhooks | None = Field(
        None, description="Lets registrations of jobs carry a webhook_url. Left out: they may not."
    )
    links: Links = Field(Links(), description="Links on the [live page](live-page.md).")
    limits: Limits = Field(Limits(), description="Bounds on the number of series, for each server.")

    @model_validator(mode="after")
    def _is_consistent(self, info: ValidationInfo) -> Self:
        # The loader asks for contradictions itself: it wants them also where other keys are wrong, by line.
        if info.context is None:
            told = [
                f"{dotted(contradiction.path)}: {contradiction.message}"
                for contradiction in contradictions(self.model_dump(exclude_none=True))
            ]
            if told:
                raise ValueError("; ".join(told))
        return self

    def with_servers(self, servers: tuple[ServerConfig, ...]) -> Config:
        """The same configuration watching these servers."""
        return self.model_copy(update={"servers": servers})


def default_servers() -> tuple[ServerConfig, ...]:
    """What is watched when nobody named a server."""
    return (ServerConfig(url=DEFAULT_SERVER_URL),)
