"""What a read of ComfyUI shows, as typed facts: the only thing that the tracker is ever told.

The `comfyui` package makes these from payloads; nothing here knows the wire format. Times named `*_ms` are milliseconds
of ComfyUI's clock, every `at` is seconds of ours; the two are never subtracted from each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """How a history entry says that a run ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class Media(StrEnum):
    """What kind of thing a node put out, the `media` label of comfyui_job_outputs_total."""

    IMAGES = "images"
    VIDEO = "video"
    AUDIO = "audio"
    THREE_D = "3d"
    TEXT = "text"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One node of a submitted graph."""

    class_type: str
    sources: tuple[str, ...] = ()
    """Ids of the nodes whose outputs it takes."""


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """The part of a submitted graph that its requested outputs need: what ComfyUI executes or takes from its cache.

    Jobs of one shape share one object.
    """

    nodes: Mapping[str, GraphNode]
    shape: str
    """The same for graphs with the same nodes, classes and links, whatever their inputs are set to."""


@dataclass(frozen=True, slots=True)
class Features:
    """What of a submitted graph tells how long the job takes; small enough to keep with every run for good.

    A number is 0 where the graph says nothing of it. Strings are hashes but for `model`.
    """

    fingerprint: str
    """The same for jobs of one shape with the same settings: only seeds, texts, file names and the like differ."""
    shape: str
    """As of the graph."""
    content: str = ""
    """The same for jobs that are the same in everything: after one another, all of it comes from the cache."""
    costly: str = ""
    """The same for jobs that sample the same: after one another, that comes from the cache."""
    model: str = ""
    """File name of the first model that it loads; "" if there is none."""
    steps: float = 0
    """Of all samplers together."""
    pixels: float = 0
    """Of one image or frame, the largest there is."""
    frames: float = 0
    """Of a video; of sound the seconds."""
    batch: float = 0
    """Images made at once."""


@dataclass(frozen=True, slots=True)
class Details:
    """What the submitter sent along with a job, as far as we take it; `extra_data` itself stays at the edge."""

    job_id: int | str | None = None
    """As it was given; 123 and "123" are the same job."""
    job_type: str = "unknown"
    batch_id: str | None = None
    created_ms: int | None = None
    """ComfyUI's `create_time`; only newer versions have it."""
    labels: tuple[str, ...] = ()
    """Values of the configured `job_labels`, in their order; "" where the submitter gave none."""
    graph: Graph | None = field(default=None, compare=False, repr=False)
    """None where it could not be read, or the reader had no need of it."""
    features: Features | None = field(default=None, compare=False, repr=False)
    """None where the graph could not be read."""


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One element of queue_running or queue_pending."""

    prompt_id: str
    number: float
    details: Details | None
    """None where the reader already knew the job and had no need to look inside."""


@dataclass(frozen=True, slots=True)
class Output:
    """One file or text that a job produced."""

    node_id: str
    media: Media
    filename: str = ""
    subfolder: str = ""
    type: str = "output"


@dataclass(frozen=True, slots=True)
class Failure:
    """The exception that ended a job, its strings bounded; the traceback is never kept."""

    node_id: str = ""
    node_type: str = ""
    exception_type: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One entry of ComfyUI's history: a run that is over."""

    prompt_id: str
    number: float
    outcome: Outcome
    details: Details = Details()
    started_ms: int | None = None
    ended_ms: int | None = None
    failure: Failure | None = None
    outputs: tuple[Output, ...] = ()
    """At most a few hundred; `output_counts` has them all."""
    output_counts: Mapping[Media, int] = field(default_factory=dict)
    """Without temporary files and without those of nodes that came from the cache."""
    nodes_executed: int = 0
    nodes_cached: int = 0

    @property
    def identity(self) -> tuple[str, float, int | None]:
        """What tells one run in the history from every other: a reused prompt_id has another start."""
        return (self.prompt_id, self.number, self.started_ms)


@dataclass(frozen=True, slots=True)
class QueueRead:
    """An answered read of the whole queue."""

    at: float
    running: tuple[QueueItem, ...]
    pending: tuple[QueueItem, ...]
    complete: bool = True
    """False where items were unreadable: then absence proves nothing."""
    since: float = -math.inf
    """When it was asked for: what was heard later may be newer than what it shows."""


@dataclass(frozen=True, slots=True)
class HistoryLookup:
    """An answered read of /history/{prompt_id}."""

    at: float
    prompt_id: str
    entry: HistoryEntry | None


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """An answered read of consecutive history entries, oldest first, as ComfyUI gives them."""

    at: float
    entries: tuple[HistoryEntry, ...]


@dataclass(frozen=True, slots=True)
class Restarted:
    """ComfyUI is another process than before: its queue, history and numbers began anew."""

    at: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed while the server answered; what depends on time alone happens now."""

    at: float


class NodeState(StrEnum):
    """What ComfyUI says of a node while it executes a job."""

    RUNNING = "running"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class NodeHeard:
    """One node in an event; `outer` is the node of the submitted graph that it stands for (its own id, mostly)."""

    node_id: str
    state: NodeState
    value: float | None = None
    """None where the event says nothing of steps."""
    max: float = 1.0
    outer: str = ""


@dataclass(frozen=True, slots=True)
class ExecutionBegan:
    """A job began to execute."""

    at: float
    prompt_id: str


@dataclass(frozen=True, slots=True)
class NodesCached:
    """These nodes of a job need not be executed."""

    at: float
    prompt_id: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodesHeard:
    """How nodes of a job are getting on."""

    at: float
    prompt_id: str
    nodes: tuple[NodeHeard, ...]
    whole: bool = False
    """Whether these are all nodes that the job touched so far (`progress_state`), and not just one of them."""


@dataclass(frozen=True, slots=True)
class ExecutionOver:
    """ComfyUI is done with a job, one way or another; the history says which."""

    at: float
    prompt_id: str


@dataclass(frozen=True, slots=True)
class EventsMissed:
    """Events may have gone unheard before now: the stream was not open."""

    at: float


Event = ExecutionBegan | NodesCached | NodesHeard | ExecutionOver | EventsMissed
"""What the event stream tells of executing jobs: hints, heard at once and never the last word."""

Observation = QueueRead | HistoryLookup | HistoryPage | Restarted | Tick | Event


@dataclass(frozen=True, slots=True)
class Device:
    """One compute device of /system_stats; sizes in bytes."""

    name: str
    type: str
    vram_total: int | None = None
    vram_free: int | None = None
    torch_vram_total: int | None = None
    torch_vram_free: int | None = None


@dataclass(frozen=True, slots=True)
class SystemStats:
    """What /system_stats says of the server; sizes in bytes."""

    version: str = ""
    python_version: str = ""
    pytorch_version: str = ""
    os: str = ""
    ram_total: int | None = None
    ram_free: int | None = None
    devices: tuple[Device, ...] = ()
