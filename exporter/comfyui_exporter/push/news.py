"""What is told to clients: the bytes, made once for all who get them, and what is needed to know who gets them."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


# Compared by identity: each is made once, and the bytes of two are compared where that is meant.
@dataclass(frozen=True, slots=True, eq=False)
class JobFrame:
    """A `progress_update`."""

    run_id: str
    job_id: str | None
    """As text, since 123 and "123" are the same job."""
    prompt_id: str
    batch_id: str | None
    server: str | None
    status: str
    terminal: bool
    """Whether the run ended: every client gets it, whatever comes after."""
    frame: bytes


@dataclass(frozen=True, slots=True, eq=False)
class RemovedFrame:
    """A `job_removed`, for those who were told of the job."""

    job: JobFrame
    frame: bytes


@dataclass(frozen=True, slots=True, eq=False)
class BatchFrame:
    """A `batch_update`."""

    batch_id: str
    frame: bytes


@dataclass(frozen=True, slots=True, eq=False)
class ServerFrame:
    """A `server_update`, or a `server_removed`."""

    server: str
    frame: bytes


@dataclass(frozen=True, slots=True, eq=False)
class AlertFrame:
    """An `alert`."""

    identity: tuple[tuple[str, str], ...]
    """Its labels, sorted: what makes it the same alert."""
    server: str | None
    firing: bool
    frame: bytes


News = JobFrame | RemovedFrame | BatchFrame | ServerFrame | AlertFrame


def topic(news: News) -> Hashable:
    """Give what it is about; of two waiting about the same topic, the newer one is enough."""
    match news:
        case JobFrame():
            return news.run_id
        case RemovedFrame():
            return ("removed", news.job.run_id)
        case BatchFrame():
            return ("batch", news.batch_id)
        case ServerFrame():
            return ("server", news.server)
        case AlertFrame():
            return news.identity
