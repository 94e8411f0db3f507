"""What is committed at once: the runs that changed, the series that they raised, and how far histories were read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from comfyui_exporter.metrics.lasting import Count, Series
from comfyui_exporter.tracker.ground import MAX_KNOWN, Identity

Row = Mapping[str, Any]
"""Values by column."""


@dataclass(slots=True)
class Batch:
    """Everything in it says how things stand, not what was added: to write it twice is to write it once.

    So a commit of which nobody knows whether it was done is simply done again.
    """

    runs: dict[str, Row] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    """Ids of rows to delete: registrations that were replaced."""
    totals: dict[Series, Row] = field(default_factory=dict)
    counts: dict[Series, Count] = field(default_factory=dict)
    """The same as scrapes are shown it, once it is committed."""
    entries: dict[tuple[str, Identity], Row] = field(default_factory=dict)
    """By server and identity."""
    servers: dict[str, Row] = field(default_factory=dict)
    deliveries: dict[str, Row | None] = field(default_factory=dict)
    """By delivery_id; None: done with."""
    alerts: dict[str, Row | None] = field(default_factory=dict)
    """By alert_id; None: over."""

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        rows = self.runs or self.gone or self.totals or self.entries or self.servers
        return bool(rows or self.deliveries or self.alerts)

    def add(self, later: Batch) -> None:
        """Take in what came later."""
        self.runs.update(later.runs)
        for run_id in later.gone:
            self.runs.pop(run_id, None)
        self.gone |= later.gone
        self.gone -= later.runs.keys()
        self.totals.update(later.totals)
        self.counts.update(later.counts)
        self.entries.update(later.entries)
        self.servers.update(later.servers)
        self.deliveries.update(later.deliveries)
        self.alerts.update(later.alerts)

    def drop(self, most: int, standing: Collection[str]) -> int:
        """Drop the oldest of what is beyond a bound, and say how many rows of runs; totals and marks never go.

        Only ended runs go. One that is `standing`, which is to say open in the store, leaves it altogether: as an open
        run its end would be looked for, and counted, once more.
        """
        ended = [run_id for run_id, row in self.runs.items() if row["ended_at"] is not None]
        ended = ended[: max(0, len(self.runs) - most)]
        for run_id in ended:
            if run_id in standing or self.runs[run_id]["registered"]:
                self.gone.add(run_id)
            del self.runs[run_id]
        made = [delivery_id for delivery_id, row in self.deliveries.items() if row is not None]
        for delivery_id in made[: max(0, len(made) - most)]:
            del self.deliveries[delivery_id]
        self._drop_entries()
        return len(ended)

    def _drop_entries(self) -> None:
        """Drop what no history can have any more."""
        if len(self.entries) <= MAX_KNOWN:
            return
        left = Counter(server for server, _ in self.entries)
        for server, identity in list(self.entries):
            if left[server] > MAX_KNOWN:
                left[server] -= 1
                del self.entries[server, identity]
