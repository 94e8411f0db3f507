"""The story of the demo: three ComfyUIs through a day, with what goes wrong and how it ends. Data alone.

Hours are those of the story, 0 to 24. Most work goes well: of a day less than one job in twenty-five fails or is lost,
so that the agreed success rate (95 %) is kept, and missed for a while when things go wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

HOUR_S = 30.0
"""Seconds that an hour of the story takes."""

BEGIN = 8.5
"""The hour at which a demo begins: people have come, and the first jobs run."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens at an hour, every day."""

    at: float
    say: str = field(default="", kw_only=True)
    """What whoever watches is told; nothing: they see it themselves."""


@dataclass(frozen=True, slots=True)
class Batch(Event):
    """An application submits many jobs at once, under one batch_id."""

    batch: str
    kind: str
    jobs: int


@dataclass(frozen=True, slots=True)
class Failures(Event):
    """So many jobs fail in the same way, spread evenly over the time until another hour."""

    until: float
    failure: str
    """A key of the simulator's FAILURES."""
    kind: str
    jobs: int


@dataclass(frozen=True, slots=True)
class Memory(Event):
    """Another program takes so much of the GPU's memory, or gives it back (0)."""

    gigabytes: float


@dataclass(frozen=True, slots=True)
class Interrupt(Event):
    """The user of the running job has seen enough."""


@dataclass(frozen=True, slots=True)
class Hang(Event):
    """The running job stops in the middle, and goes on no more."""


@dataclass(frozen=True, slots=True)
class Withdraw(Event):
    """Users take back the jobs that wait, but for so many."""

    keep: int


@dataclass(frozen=True, slots=True)
class Restart(Event):
    """ComfyUI ends, and starts again after so many seconds."""

    down_s: float


@dataclass(frozen=True, slots=True)
class Server:
    """One ComfyUI, with its users and its day."""

    name: str
    profile: str
    """Which version of ComfyUI: a key of the simulator's PROFILES."""
    bridge: bool
    """Whether the exporter hears the steps of jobs from the browser."""
    speed: float
    """How many times faster than in reality its jobs run."""
    kinds: Mapping[str, float]
    """What people make with it, with weights."""
    users: Mapping[str, float]
    """`browser`, `script` and `application`, with weights. Only applications say a job_id and a job_type."""
    work: tuple[tuple[float, float], ...]
    """Submissions a minute (of whoever watches) at hours of the day; in between, by a straight line."""
    events: tuple[Event, ...]

    def rate(self, hour: float) -> float:
        """Submissions a minute at an hour."""
        points = ((self.work[-1][0] - 24, self.work[-1][1]), *self.work, (self.work[0][0] + 24, self.work[0][1]))
        for (before, low), (after, high) in pairwise(points):
            if before <= hour < after:
                return low + (high - low) * (hour - before) / (after - before)
        return points[-1][1]


IMAGES = Server(
    name="gpu-images",
    profile="0.38",
    bridge=True,
    speed=5.0,
    kinds={"image": 0.7, "upscale": 0.3},
    users={"browser": 0.6, "script": 0.1, "application": 0.3},
    work=(
        (0, 3),
        (6, 3),
        (8, 16),
        (9.5, 20),
        (11.5, 20),
        (12.5, 10),
        (14, 18),
        (15.5, 28),
        (17, 18),
        (19, 10),
        (22, 6),
    ),
    events=(
        Batch(8.5, "product-shots", "image", 3),
        Interrupt(9.5),
        Memory(10.0, 15.0, say="another program takes 15 GB of the GPU's memory"),
        Failures(10.2, 11.1, "cuda_oom", "image", 3, say="large images run out of memory"),
        Memory(11.3, 0.0, say="the other program has ended, images work again"),
        Interrupt(13.0),
        Batch(15.5, "spring-catalogue", "image", 12, say="everybody wants images: the queue grows"),
    ),
)

VIDEO = Server(
    name="gpu-video",
    profile="0.8.0",
    bridge=True,
    speed=2.0,
    kinds={"video": 1.0},
    users={"browser": 0.5, "script": 0.1, "application": 0.4},
    work=((0, 4), (7, 4), (8, 10), (11, 10), (12.5, 2), (15, 2), (15.5, 10), (18, 11), (20, 8), (22, 6)),
    events=(
        Batch(8.5, "teaser", "video", 3),
        Hang(11.5, say="a video stops in the middle, at lunch: nobody sees it, and others wait behind it"),
        Withdraw(14.6, keep=1, say="users take back what waits behind the video that does not end"),
        Restart(15.0, 4.0, say="somebody restarts ComfyUI: the video, and what still waits, are lost"),
        Batch(15.4, "teaser-again", "video", 3),
        Batch(22.0, "trailer", "video", 8, say="the videos of the night are submitted"),
    ),
)

BATCHES = Server(
    name="gpu-batch",
    profile="0.3.64",
    bridge=False,
    speed=3.0,
    kinds={"image": 0.35, "upscale": 0.4, "audio": 0.2, "mesh": 0.05},
    users={"browser": 0.1, "script": 0.25, "application": 0.65},
    work=((0, 7), (6, 7), (9, 13), (12, 13), (13, 10), (16, 15), (18, 11), (20, 6)),
    events=(
        Batch(8.5, "shop-thumbnails", "image", 6, say="an application submits six thumbnails as one batch"),
        Failures(9.0, 9.3, "value", "image", 1, say="a picture with three channels comes where four are needed"),
        Batch(12.0, "scans", "upscale", 20, say="an application submits 20 scans as one batch"),
        Failures(16.5, 18.0, "missing_file", "image", 3, say="a model was moved: jobs that need it fail"),
        Batch(18.2, "shop-thumbnails", "image", 6, say="the model is back"),
        Restart(20.5, 2.0, say="ComfyUI is restarted for an update, with little to do"),
        Failures(22.0, 22.5, "connection", "image", 1, say="the network is away for a moment"),
        Batch(23.0, "night-renders", "image", 16),
        Failures(3.0, 3.5, "disk_full", "image", 1, say="the disk is full, for a moment"),
    ),
)

SERVERS = {server.name: server for server in (IMAGES, VIDEO, BATCHES)}
"""By name."""
