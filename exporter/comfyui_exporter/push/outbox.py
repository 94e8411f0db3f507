"""What waits for a client that does not take it as fast as it comes."""

from __future__ import annotations

from collections.abc import Hashable
from itertools import islice

from comfyui_exporter.push.news import JobFrame, News, RemovedFrame, topic


class Outbox:
    """Keeps the newest of each topic and every terminal update, in an order in which nothing old follows anything new.

    A newer update of a job takes the place of the one that waits. A terminal one goes to the end and takes away the
    one that waits, so that it is never overtaken. Holds references: the bytes are shared by all clients.
    """

    __slots__ = ("_waiting", "terminals")

    def __init__(self) -> None:
        self._waiting: dict[Hashable, News] = {}
        self.terminals = 0
        """How many terminal updates wait."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, news: News) -> int:
        """Let it wait, and give how many updates need not wait any more because of it (0 or 1)."""
        waiting = self._waiting
        if type(news) is JobFrame and news.terminal:
            dropped = waiting.pop(news.run_id, None) is not None
            # Under itself as the key: nothing ever takes its place.
            waiting[news] = news
            self.terminals += 1
        elif type(news) is RemovedFrame:
            dropped = waiting.pop(news.job.run_id, None) is not None
            key = topic(news)
            # To the end: had the run come back meanwhile, its removal must not be told before that.
            waiting.pop(key, None)
            waiting[key] = news
        else:
            key = topic(news)
            dropped = key in waiting
            waiting[key] = news
        return int(dropped)

    def take(self, most: int | None = None) -> list[News]:
        """Take out the first ones, all without a number."""
        if most is None or most >= len(self._waiting):
            taken = list(self._waiting.values())
            self._waiting = {}
            self.terminals = 0
            return taken
        keys = list(islice(self._waiting, most))
        taken = [self._waiting.pop(key) for key in keys]
        self.terminals -= sum(type(news) is JobFrame and news.terminal for news in taken)
        return taken
