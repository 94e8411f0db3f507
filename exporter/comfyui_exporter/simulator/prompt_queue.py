"""The queue and the history of one ComfyUI process, with ComfyUI's orders, overwriting and limits.

Behaviour as in `PromptQueue` of ComfyUI's execution.py (0.3.64).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from comfyui_exporter.simulator.ledger import Ledger, Removal, Run, Truth

MAXIMUM_HISTORY_SIZE = 10_000
"""ComfyUI drops the oldest entry when more than this many stand before it adds one: so it holds one more."""


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A submitted prompt, as /queue shows it: `[number, prompt_id, graph, extra_data, outputs_to_execute]`."""

    number: float
    prompt_id: str
    graph: dict[str, Any]
    extra_data: Any
    """Whatever the client sent, mostly an object; some clients' lists and nulls get this far."""
    outputs: list[str]
    run: Run

    def as_list(self) -> list[Any]:
        """The five elements in ComfyUI's order."""
        return [self.number, self.prompt_id, self.graph, self.extra_data, self.outputs]

    def __lt__(self, other: Item) -> bool:
        # ComfyUI's heap compares tuples: two items of equal number and prompt_id compare their graphs, and dicts have
        # no order. That is why POST /prompt can answer 500 (a TypeError) and yet have queued the prompt.
        return tuple(self.as_list()) < tuple(other.as_list())


@dataclass(frozen=True, slots=True)
class Entry:
    """A history entry as GET /history shows it, and the run that it tells of."""

    body: dict[str, Any]
    run: Run


@dataclass(slots=True)
class PromptQueue:
    """Pending in heap order, at most one running, and the history in order of first completion."""

    ledger: Ledger
    clock: Callable[[], int]
    on_change: Callable[[], None]
    """Called for every `status` event that ComfyUI sends of its queue."""
    maximum_history_size: int = MAXIMUM_HISTORY_SIZE
    pending: list[Item] = field(default_factory=list)
    running: list[Item] = field(default_factory=list)
    history: dict[str, Entry] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pending) + len(self.running)

    def put(self, item: Item) -> None:
        """Add to the pending; TypeError (with the item added, and no event) as explained at `Item.__lt__`."""
        heapq.heappush(self.pending, item)
        self.on_change()

    def take(self) -> Item | None:
        """Make the next pending item the running one; None when nothing is pending."""
        if not self.pending:
            return None
        before = list(self.pending)
        try:
            item = heapq.heappop(self.pending)
        except TypeError:
            self._forget_missing(before)
            raise
        self.running.append(item)
        self.ledger.started(item.run, self.clock())
        self.on_change()
        return item

    def done(self, item: Item, body: dict[str, Any], truth: Truth, exception_type: str | None) -> None:
        """Move a running item to the history, in the old place of its prompt_id where there is one."""
        self.running.remove(item)
        if len(self.history) > self.maximum_history_size:
            self._drop_entry(next(iter(self.history)), "evicted")
        old = self.history.get(item.prompt_id)
        if old is not None:
            self.ledger.removed(old.run, "overwritten", self.clock())
        self.history[item.prompt_id] = Entry(body, item.run)
        self.ledger.finished(item.run, truth, self.clock(), exception_type, in_old_place=old is not None)
        self.on_change()

    def delete(self, prompt_id: object) -> bool:
        """Remove the first pending item of that id in heap order; sends two events if it was the only one."""
        for index, item in enumerate(self.pending):
            if item.prompt_id == prompt_id:
                only = len(self.pending) == 1
                del self.pending[index]
                self.ledger.removed(item.run, "deleted", self.clock())
                if only:
                    self.on_change()
                else:
                    heapq.heapify(self.pending)
                self.on_change()
                return True
        return False

    def clear(self) -> None:
        """Remove all that is pending; sends an event even when nothing was."""
        for item in self.pending:
            self.ledger.removed(item.run, "cleared", self.clock())
        self.pending = []
        self.on_change()

    def delete_entry(self, prompt_id: str) -> None:
        """Remove a history entry, if there is one; sends no event."""
        entry = self.history.pop(prompt_id, None)
        if entry is not None:
            self.ledger.removed(entry.run, "history_deleted", self.clock())

    def clear_history(self) -> None:
        """Remove every history entry; sends no event."""
        for prompt_id in list(self.history):
            self._drop_entry(prompt_id, "history_cleared")

    def forget(self) -> None:
        """The process ends: what was pending or running is lost, and the history with it."""
        for item in (*self.pending, *self.running):
            self.ledger.removed(item.run, "restart", self.clock())
        for entry in self.history.values():
            self.ledger.removed(entry.run, "restart", self.clock())
        self.pending, self.running, self.history = [], [], {}

    def newest(self, max_items: int | None, offset: int) -> dict[str, Entry]:
        """A stretch of the history, oldest first.

        ComfyUI's rule: a negative offset with max_items means the newest so many; else offset counts from the oldest
        entry, and a first entry is taken before max_items is looked at.
        """
        if offset < 0 and max_items is not None:
            offset = len(self.history) - max_items
        found: dict[str, Entry] = {}
        for index, (prompt_id, entry) in enumerate(self.history.items()):
            if index >= offset:
                found[prompt_id] = entry
                if max_items is not None and len(found) >= max_items:
                    break
        return found

    def _drop_entry(self, prompt_id: str, removal: Removal) -> None:
        self.ledger.removed(self.history.pop(prompt_id).run, removal, self.clock())

    def _forget_missing(self, before: Iterable[Item]) -> None:
        """A pop that fails on equal items has already taken one out of the heap; it is nowhere any more."""
        left = set(map(id, self.pending))
        for item in before:
            if id(item) not in left:
                self.ledger.removed(item.run, "worker_died", self.clock())
