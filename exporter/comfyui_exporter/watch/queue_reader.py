"""Reading the queue by whichever route costs ComfyUI less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from comfyui_exporter.comfyui.errors import ErrorKind, ReadError
from comfyui_exporter.comfyui.queue import Known, QueuePayload
from comfyui_exporter.tracker.observations import QueueItem, QueueRead
from comfyui_exporter.tracker.tracker import Tracker
from comfyui_exporter.watch.budget import ReadBudget
from comfyui_exporter.watch.source import Source

_ITEM_BYTES = 30_000
"""A queue item with its graph, before one was seen."""

_LISTED_BYTES = 200
"""An item of /api/jobs, which has no graph."""


class QueueReader:
    """Reads /queue, or the list of /api/jobs and the details of new jobs alone, where that is cheaper.

    An /api/jobs that has no workflow in the details of a waiting job (ComfyUI 0.8) is no help: what was submitted
    would stay unknown.
    """

    def __init__(self, source: Source, tracker: Tracker, budget: ReadBudget, clock: Callable[[], float]) -> None:
        self._source = source
        self._tracker = tracker
        self._budget = budget
        self._clock = clock
        self._list_budget = ReadBudget()
        """The list has its own: it costs little, and need not wait for what a whole queue cost before."""
        self._item_bytes = float(_ITEM_BYTES)
        self._jobs_serve = True
        self.lacks_details = False
        """Whether the last read showed jobs of which it is not known what was submitted."""

    def ready_at(self, remaining: int) -> float:
        """When the queue may be read, if there are `remaining` jobs in it."""
        lists = self._jobs_serve and self._jobs_cheaper(remaining, self._count_new(remaining))
        return (self._list_budget if lists else self._budget).ready_at

    async def read(self, remaining: int) -> QueueRead | None:
        """Read the queue, in which there should be `remaining` jobs; None if that turns out to be too dear right now.

        What a list showed is given in any case; where it is not known what was submitted, `lacks_details` is set.

        Raises:
            ReadError: there is no usable answer.

        """
        self.lacks_details = False
        if self._jobs_serve and self._jobs_cheaper(remaining, self._count_new(remaining)):
            read = await self._read_jobs()
            if read is not None:
                return read
            if not self._budget.ready(self._clock()):
                return None
        return await self._read_queue(remaining, self._tracker.count_detailed)

    async def read_afresh(self, remaining: int) -> QueueRead:
        """Read the whole queue whatever it costs, and look inside every item, as of a server never seen before.

        Raises:
            ReadError: there is no usable answer.

        """
        return await self._read_queue(remaining, lambda *_: 0)

    async def _read_queue(self, remaining: int, known: Known) -> QueueRead:
        since = self._clock()
        try:
            payload = await self._source.queue(known)
        except ReadError:
            # It may have cost ComfyUI all the same.
            self.charge(max(self._source.last.received_bytes, int(remaining * self._item_bytes)))
            raise
        self.charge(self._source.last.received_bytes)
        size = len(payload.running) + len(payload.pending)
        if size:
            self._item_bytes = self._source.last.received_bytes / size
        return _as_read(self._clock(), payload, since)

    def charge(self, received_bytes: int) -> None:
        """Charge the budget for a read of so many bytes."""
        self._budget.charge(self._clock(), received_bytes)

    def _count_new(self, remaining: int) -> int:
        return max(0, remaining - sum(run.looked_into for run in self._tracker.open_runs))

    def _jobs_cheaper(self, size: int, new: int) -> bool:
        return size * _LISTED_BYTES + new * self._item_bytes < size * self._item_bytes / 2

    async def _read_jobs(self) -> QueueRead | None:
        since = self._clock()
        try:
            payload = await self._source.jobs()
        finally:
            self._list_budget.charge(self._clock(), self._source.last.received_bytes)
        if payload is None:
            self._jobs_serve = False
            return None
        at = self._clock()
        items = (*payload.running, *payload.pending)
        new = self._unknown(items)
        detailed: dict[int, QueueItem] = {}
        if self._jobs_cheaper(len(items), len(new)):
            detailed = await self._read_details(items, new)
        else:
            self.lacks_details = True
        items = tuple(detailed.get(place, item) for place, item in enumerate(items))
        split = len(payload.running)
        return _as_read(at, replace(payload, running=items[:split], pending=items[split:]), since)

    async def _read_details(self, items: tuple[QueueItem, ...], new: list[int]) -> dict[int, QueueItem]:
        detailed: dict[int, QueueItem] = {}
        for place in new:
            try:
                details = await self._source.job_details(items[place].prompt_id)
            except ReadError as error:
                if error.status == 404:
                    continue  # gone since it was listed: its history entry may tell
                self.lacks_details = True
                if error.kind in {ErrorKind.TIMEOUT, ErrorKind.CONNECTION}:
                    break
                continue
            if details is None:
                self._jobs_serve = False
                self.lacks_details = True
                break
            detailed[place] = replace(items[place], details=details)
        return detailed

    def _unknown(self, items: tuple[QueueItem, ...]) -> list[int]:
        """Find the places of the items that are more than the open runs of their key."""
        seen: dict[tuple[str, float], int] = {}
        places = []
        for place, item in enumerate(items):
            key = (item.prompt_id, item.number)
            seen[key] = seen.get(key, 0) + 1
            if seen[key] > self._tracker.count_detailed(*key):
                places.append(place)
        return places


def _as_read(at: float, payload: QueuePayload, since: float) -> QueueRead:
    return QueueRead(at, payload.running, payload.pending, complete=not payload.problems, since=since)
