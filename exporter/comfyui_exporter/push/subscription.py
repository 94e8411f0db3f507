"""Which news a client wants."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from comfyui_exporter.jobs.update import ProgressStatus
from comfyui_exporter.push.news import AlertFrame, BatchFrame, JobFrame, News, RemovedFrame, ServerFrame

MOST_VALUES = 1000
"""Of one list: enough for any page, and a message of 64 KiB holds hardly more."""

STATUSES = frozenset(status.value for status in ProgressStatus)


@dataclass(frozen=True, slots=True)
class Subscription:
    """Lists of what is wanted; every list that is given must match, an empty one matches nothing.

    Equal subscriptions are matched once for all clients that have them.
    """

    job_ids: frozenset[str] | None = None
    prompt_ids: frozenset[str] | None = None
    batch_ids: frozenset[str] | None = None
    servers: frozenset[str] | None = None
    statuses: frozenset[str] | None = None

    def wants(self, news: News) -> bool:
        """Whether a client with it is told.

        A batch has no job, prompt, status or server of its own, and a server no job, prompt, batch or status: lists
        of those that it does not have keep it away, except that `servers` says nothing of batches, which may span
        several. Alerts are as their label `server`.
        """
        match news:
            case JobFrame():
                return self._wants_job(news)
            case RemovedFrame():
                return self._wants_job(news.job)
            case BatchFrame():
                return not self._of_jobs and _fits(news.batch_id, self.batch_ids)
            case ServerFrame() | AlertFrame():
                return not self._of_jobs and self.batch_ids is None and _fits(news.server, self.servers)

    def confined_to(self, prompt_id: str) -> Subscription:
        """The same for a client that may know of one job only."""
        within = self.prompt_ids is None or prompt_id in self.prompt_ids
        return replace(self, prompt_ids=frozenset({prompt_id}) if within else frozenset())

    @property
    def _of_jobs(self) -> bool:
        return self.job_ids is not None or self.prompt_ids is not None or self.statuses is not None

    def _wants_job(self, job: JobFrame) -> bool:
        return (
            (self.prompt_ids is None or job.prompt_id in self.prompt_ids)
            and (self.job_ids is None or job.job_id in self.job_ids)
            and (self.batch_ids is None or job.batch_id in self.batch_ids)
            and (self.statuses is None or job.status in self.statuses)
            and (self.servers is None or job.server in self.servers)
        )


EVERYTHING = Subscription()


def subscription(
    *,
    job_ids: Sequence[int | str] | None = None,
    prompt_ids: Sequence[str] | None = None,
    batch_ids: Sequence[str] | None = None,
    servers: Sequence[str] | None = None,
    statuses: Sequence[str] | None = None,
) -> Subscription:
    """Make a subscription of what a client says.

    Raises:
        ValueError: a list is too long, or there is no such status; the message is for the client.

    """
    given: dict[str, Sequence[int | str] | None] = {
        "job_ids": job_ids,
        "prompt_ids": prompt_ids,
        "batch_ids": batch_ids,
        "servers": servers,
        "statuses": statuses,
    }
    for name, values in given.items():
        if values is not None and len(values) > MOST_VALUES:
            msg = f"{name} has {len(values)} values; allowed: {MOST_VALUES}"
            raise ValueError(msg)
    if statuses is not None and (wrong := [status for status in statuses if status not in STATUSES]):
        msg = f"there is no status {wrong[0][:40]!r}; allowed: {', '.join(ProgressStatus)}"
        raise ValueError(msg)
    lists = {name: None if values is None else frozenset(map(str, values)) for name, values in given.items()}
    return Subscription(**lists)


def _fits(value: str | None, wanted: Collection[str] | None) -> bool:
    return wanted is None or value in wanted
