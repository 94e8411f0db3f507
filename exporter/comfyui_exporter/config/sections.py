"""The smaller sections of the configuration file."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from comfyui_exporter.config import rules
from comfyui_exporter.config.fields import Boundaries, DurationRange, File, Text, WholeNumber
from comfyui_exporter.config.units import parse_duration
from comfyui_exporter.config.webhook_urls import hook_url, host_pattern
from comfyui_exporter.jobs.update import ProgressStatus
from comfyui_exporter.metrics.buckets import DEFAULTS


class Section(BaseModel):
    """What all sections share: unknown keys are errors, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class JobType(Section):
    """A kind of jobs, recognized by the classes of their nodes."""

    job_type: Annotated[str, Text("name", rules.plain(64))] = Field(
        description="Value of the job_type label.", examples=["video"]
    )
    node_types: tuple[Annotated[str, Text("node class", rules.plain(256))], ...] = Field(
        min_length=1,
        description="Classes of nodes, one of which the prompt has; `*` and `?` stand for any text or character.",
        examples=[["VHS_*", "SaveVideo", "SaveWEBM"]],
    )


class FailurePattern(Section):
    """A kind of failures, recognized by the text of the error."""

    pattern: Annotated[str, Text("id such as cuda_oom", rules.pattern_id)] = Field(
        description="Value of the pattern label: a-z, 0-9 and _. With the id of a built-in pattern, more failures "
        "count under that one.",
        examples=["missing_lora"],
    )
    title: Annotated[str, Text("title", rules.plain(200))] = Field(
        description="What people read in statistics and on pages.", examples=["LoRA file missing"]
    )
    regex: Annotated[str, Text("regular expression", rules.regex)] = Field(
        description="Regular expression (Python's) that is searched in the error. Write it in single quotes.",
        examples=[r"lora .*\.safetensors not found"],
    )


class Buckets(Section):
    """Upper bounds of the histograms; the metrics know why the defaults are what they are."""

    # The defaults go through the same door, so that all bounds are floats.
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    job_duration: Annotated[tuple[float, ...], Boundaries()] = Field(
        DEFAULTS["job_duration"],
        description="How long jobs run: an image takes seconds, a video up to hours.",
    )
    job_queue: Annotated[tuple[float, ...], Boundaries()] = Field(
        DEFAULTS["job_queue"],
        description="How long jobs wait: nothing on an idle server, hours behind a batch.",
    )
    node_duration: Annotated[tuple[float, ...], Boundaries()] = Field(
        DEFAULTS["node_duration"],
        description="How long single nodes take.",
    )
    step_duration: Annotated[tuple[float, ...], Boundaries()] = Field(
        DEFAULTS["step_duration"], description="How long one step of a sampler takes."
    )
    estimate: Annotated[tuple[float, ...], Boundaries()] = Field(
        DEFAULTS["estimate"],
        description="How good predictions were: actual divided by predicted duration.",
    )


class Store(Section):
    """What survives a restart."""

    url: Annotated[str, Text("store URL", rules.store_url)] | None = Field(
        None,
        description="Where they are kept, see [the store](store.md): `sqlite:///PATH` (a fourth slash begins an "
        "absolute path), `postgresql://USER:PASSWORD@HOST/DATABASE` (with the extra `postgres`), or `memory`: nowhere. "
        "Without it a SQLite file in `--state.dir`.",
        examples=["postgresql://comfyui@db.example.org/comfyui"],
    )
    retention: Annotated[float, DurationRange(3600, parse_duration("100y"))] = Field(
        parse_duration("90d"), description="How long rows of finished jobs are kept. Totals are kept for ever."
    )


class Push(Section):
    """The WebSocket push service."""

    max_clients: Annotated[int, WholeNumber(1, 1_000_000)] = Field(
        10_000, description="How many clients may be connected at once."
    )
    queue_size: Annotated[int, WholeNumber(1, 65_536)] = Field(
        64, description="How many final updates may wait for a client that reads slowly before it is closed."
    )
    allowed_origins: tuple[Annotated[str, Text("origin such as https://studio.example.org", rules.origin)], ...] = (
        Field(
            (),
            description="Origins of web pages that may connect, besides loopback and our own; also the CORS list.",
            examples=[["https://studio.example.org"]],
        )
    )
    token_file: File | None = Field(
        None, description="File with the token that clients have to show.", examples=["secrets/push-token"]
    )


class Webhook(Section):
    """A URL that is called when a job changes its status."""

    url: Annotated[str, Text("http:// or https:// URL", hook_url)] = Field(
        description="Where to POST to; may be in a private network.",
        examples=["https://studio.example.org/hooks/comfyui"],
    )
    secret_file: File | None = Field(
        None, description="File with the secret that signs each call.", examples=["secrets/webhook-secret"]
    )
    statuses: tuple[ProgressStatus, ...] = Field(
        (ProgressStatus.COMPLETED, ProgressStatus.FAILED),
        min_length=1,
        description=f"Which statuses are told: {', '.join(ProgressStatus)}.",
    )


class RegisteredWebhooks(Section):
    """Which URLs those who register jobs may have called."""

    allowed_hosts: tuple[Annotated[str, Text("host such as hooks.example.org or *.example.org", host_pattern)], ...] = (
        Field(
            min_length=1,
            description="Hosts that a webhook_url may name; `*.` stands for all below a domain. Only public addresses "
            "are connected to.",
            examples=[["hooks.example.org"]],
        )
    )
    allow_private: StrictBool = Field(
        False,
        description="Connect to private and loopback addresses as well, for hosts that are listed in full. Those who "
        "may register can then reach every port of these hosts.",
    )
    secret_file: File | None = Field(
        None, description="File with the secret that signs each call.", examples=["secrets/registered-webhook-secret"]
    )
    statuses: tuple[ProgressStatus, ...] = Field(
        (ProgressStatus.COMPLETED, ProgressStatus.FAILED, ProgressStatus.TIMEOUT, ProgressStatus.CANCELLED),
        min_length=1,
        description=f"Which statuses are told: {', '.join(ProgressStatus)}.",
    )


class Links(Section):
    """Where the live page leads to."""

    grafana: Annotated[str, Text("http:// or https:// URL", rules.http_url)] | None = Field(
        None, description="Grafana, as browsers reach it.", examples=["http://127.0.0.1:3000"]
    )
    prometheus: Annotated[str, Text("http:// or https:// URL", rules.http_url)] | None = Field(
        None, description="Prometheus, as browsers reach it.", examples=["http://127.0.0.1:9090"]
    )
    alertmanager: Annotated[str, Text("http:// or https:// URL", rules.http_url)] | None = Field(
        None, description="Alertmanager, as browsers reach it.", examples=["http://127.0.0.1:9093"]
    )

    @property
    def given(self) -> dict[str, str]:
        """Those that there are, by name."""
        return self.model_dump(exclude_none=True)


class Limits(Section):
    """Bounds on the number of series, for each server."""

    job_series: Annotated[int, WholeNumber(0, 10_000)] = Field(
        20, description="Jobs in the queue with their own series of progress, running ones first."
    )
    failed_series: Annotated[int, WholeNumber(0, 10_000)] = Field(
        10, description="Newest failures of the last hour with their own series."
    )
    label_values: Annotated[int, WholeNumber(1, 100_000)] = Field(
        50, description="Values of one label; further ones become `other`."
    )
    family_series: Annotated[int, WholeNumber(1, 1_000_000)] = Field(
        1000, description="Label sets of one metric family; further ones become all `other`."
    )
