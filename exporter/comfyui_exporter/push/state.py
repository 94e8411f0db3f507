"""The newest of everything, as a client is told it when it comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from comfyui_exporter.push.news import AlertFrame, BatchFrame, JobFrame, News, ServerFrame
from comfyui_exporter.push.subscription import Subscription


class State:
    """The newest update of each run, batch, server and alert; jobs are found by prompt, job and batch."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobFrame] = {}
        self.batches: dict[str, BatchFrame] = {}
        self.servers: dict[str, ServerFrame] = {}
        self.alerts: dict[tuple[tuple[str, str], ...], AlertFrame] = {}
        # Run ids in tuples, as nearly always there is one: ten thousand sets would be megabytes.
        self._by_prompt: dict[str, tuple[str, ...]] = {}
        self._by_job: dict[str, tuple[str, ...]] = {}
        self._by_batch: dict[str, tuple[str, ...]] = {}
        self._all: tuple[News, ...] | None = None

    def put_job(self, job: JobFrame) -> None:
        """Keep it as the newest of its run."""
        before = self.jobs.get(job.run_id)
        self.jobs[job.run_id] = job
        self._all = None
        if before is None or _keys(before) != _keys(job):
            if before is not None:
                self._unlist(before)
            for index, key in self._places(job):
                index[key] = (*index.get(key, ()), job.run_id)

    def remove_job(self, run_id: str) -> JobFrame | None:
        """Forget a run; what was known of it, None if nothing was."""
        job = self.jobs.pop(run_id, None)
        if job is not None:
            self._all = None
            self._unlist(job)
        return job

    def put(self, news: BatchFrame | ServerFrame | AlertFrame) -> None:
        """Keep it as the newest about its topic; an alert that does not fire any more is forgotten."""
        self._all = None
        match news:
            case BatchFrame():
                self.batches[news.batch_id] = news
            case ServerFrame():
                self.servers[news.server] = news
            case AlertFrame():
                self.alerts.pop(news.identity, None)
                if news.firing:
                    self.alerts[news.identity] = news

    def remove_batch(self, batch_id: str) -> None:
        """Forget a batch."""
        self.batches.pop(batch_id, None)
        self._all = None

    def remove_server(self, server: str) -> None:
        """Forget a server."""
        self.servers.pop(server, None)
        self._all = None

    def jobs_of_prompt(self, prompt_id: str) -> list[JobFrame]:
        """All runs of a prompt."""
        return [self.jobs[run_id] for run_id in self._by_prompt.get(prompt_id, ())]

    def snapshot(self, wanted: Subscription) -> Iterator[News | None]:
        """Give what a client with that subscription is to be told, as it is now; None for each that is passed over.

        Lazily, and from a tuple that all share who come at the same time: ten thousand jobs for a thousand clients
        that connect at once are neither copied nor gone through in one go.
        """
        candidates = self._candidates(wanted)
        return (news if wanted.wants(news) else None for news in candidates)

    def _candidates(self, wanted: Subscription) -> Iterable[News]:
        for index, keys in (
            (self._by_prompt, wanted.prompt_ids),
            (self._by_job, wanted.job_ids),
            (self._by_batch, wanted.batch_ids),
        ):
            if keys is not None:
                runs = dict.fromkeys(run_id for key in keys for run_id in index.get(key, ()))
                batches = [self.batches[key] for key in wanted.batch_ids or () if key in self.batches]
                return (*(self.jobs[run_id] for run_id in runs), *batches)
        if self._all is None:
            self._all = (
                *self.servers.values(),
                *self.jobs.values(),
                *self.batches.values(),
                *self.alerts.values(),
            )
        return self._all

    def _places(self, job: JobFrame) -> Iterator[tuple[dict[str, tuple[str, ...]], str]]:
        yield self._by_prompt, job.prompt_id
        if job.job_id is not None:
            yield self._by_job, job.job_id
        if job.batch_id is not None:
            yield self._by_batch, job.batch_id

    def _unlist(self, job: JobFrame) -> None:
        for index, key in self._places(job):
            rest = tuple(run_id for run_id in index.get(key, ()) if run_id != job.run_id)
            if rest:
                index[key] = rest
            else:
                index.pop(key, None)


def _keys(job: JobFrame) -> tuple[str, str | None, str | None]:
    return job.prompt_id, job.job_id, job.batch_id
