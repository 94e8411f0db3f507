"""Updates on their way to one reader that takes its time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator

from comfyui_exporter.jobs.update import ProgressStatus, ProgressUpdate

MOST_WAITING = 10_000


class Feed:
    """Keeps, for each job and status, the newest update that was not taken yet.

    So a slow reader sees every change of status and the newest progress, and costs nobody else anything.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[tuple[str, ProgressStatus], ProgressUpdate] = OrderedDict()
        self._news = asyncio.Event()
        self._closed = False
        self.dropped = 0
        """Updates given up because too many waited; the final ones of jobs are the last to go."""

    def put(self, update: ProgressUpdate) -> None:
        """Let it wait, in place of an older one of the same job and status."""
        if self._closed:
            return
        key = (update.run_id, update.status)
        self._waiting.pop(key, None)
        self._waiting[key] = update
        if len(self._waiting) > MOST_WAITING:
            oldest = next((key for key, one in self._waiting.items() if not one.terminal), next(iter(self._waiting)))
            del self._waiting[oldest]
            self.dropped += 1
        self._news.set()

    def close(self) -> None:
        """What waits is still given, and then it ends."""
        self._closed = True
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[ProgressUpdate]:
        """Give each update when it comes, until closed."""
        while True:
            while self._waiting:
                yield self._waiting.popitem(last=False)[1]
            if self._closed:
                return
            self._news.clear()
            await self._news.wait()
