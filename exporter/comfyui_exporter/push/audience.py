"""Who is told what: clients with equal subscriptions form a group, and groups are found by what they ask for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from comfyui_exporter.push.news import AlertFrame, BatchFrame, JobFrame, News, RemovedFrame, ServerFrame
from comfyui_exporter.push.outbox import Outbox
from comfyui_exporter.push.subscription import Subscription

C = TypeVar("C")


class Round(Generic[C]):
    """News on their way to those who were in the group when they were told."""

    __slots__ = ("at", "data", "news", "number", "recipients")

    def __init__(self, number: int, news: Sequence[News], recipients: Sequence[C]) -> None:
        self.number = number
        self.news = news
        self.data = b"".join([each.frame for each in news])
        self.recipients = recipients
        self.at = 0
        """How many of them have it."""


class Group(Generic[C]):
    """The clients with one subscription: matched once, and given the same bytes."""

    __slots__ = ("clients", "queued", "rounds", "waiting", "wanted")

    def __init__(self, wanted: Subscription) -> None:
        self.wanted = wanted
        self.clients: set[C] = set()
        self.waiting: Outbox | None = None
        """For the next round."""
        self.rounds: deque[Round[C]] | None = None
        """Those that are closed, but did not begin."""
        self.queued = False
        """Whether the delivery knows that it has something."""


class Audience(Generic[C]):
    """All groups.

    A group is listed under what its most selective list names, so that news of a job need not be matched with
    thousands of clients of which each waits for a job of its own.
    """

    def __init__(self) -> None:
        self._groups: dict[Subscription, Group[C]] = {}
        self._by_prompt: dict[str, dict[Group[C], None]] = {}
        self._by_job: dict[str, dict[Group[C], None]] = {}
        self._by_batch: dict[str, dict[Group[C], None]] = {}
        self._wide: dict[Group[C], None] = {}

    def group(self, wanted: Subscription) -> Group[C]:
        """Give the group of a subscription, made if need be."""
        group = self._groups.get(wanted)
        if group is None:
            group = self._groups[wanted] = Group(wanted)
            for listed in self._lists(group, create=True):
                listed[group] = None
        return group

    def leave(self, client: C, group: Group[C]) -> None:
        """Take a client out; a group without clients goes."""
        group.clients.discard(client)
        if group.clients:
            return
        self._groups.pop(group.wanted, None)
        for listed in self._lists(group, create=False):
            listed.pop(group, None)
        self._tidy(group)

    def concerned(self, news: News) -> Iterator[Group[C]]:
        """Give the groups that want it, each once."""
        for listed in self._candidates(news):
            for group in listed or ():
                if group.wanted.wants(news):
                    yield group

    def _candidates(self, news: News) -> Iterator[dict[Group[C], None] | None]:
        yield self._wide
        match news:
            case JobFrame() | RemovedFrame():
                job = news.job if isinstance(news, RemovedFrame) else news
                yield self._by_prompt.get(job.prompt_id)
                if job.job_id is not None:
                    yield self._by_job.get(job.job_id)
                if job.batch_id is not None:
                    yield self._by_batch.get(job.batch_id)
            case BatchFrame():
                yield self._by_batch.get(news.batch_id)
            case ServerFrame() | AlertFrame():
                pass

    def _index(self, wanted: Subscription) -> tuple[dict[str, dict[Group[C], None]], frozenset[str]] | None:
        for index, keys in (
            (self._by_prompt, wanted.prompt_ids),
            (self._by_job, wanted.job_ids),
            (self._by_batch, wanted.batch_ids),
        ):
            if keys is not None:
                return index, keys
        return None

    def _lists(self, group: Group[C], *, create: bool) -> Iterator[dict[Group[C], None]]:
        place = self._index(group.wanted)
        if place is None:
            yield self._wide
            return
        index, keys = place
        for key in keys:
            listed = index.setdefault(key, {}) if create else index.get(key)
            if listed is not None:
                yield listed

    def _tidy(self, group: Group[C]) -> None:
        if (place := self._index(group.wanted)) is not None:
            index, keys = place
            for key in keys:
                if key in index and not index[key]:
                    del index[key]
