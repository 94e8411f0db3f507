"""Which history entries are accounted for, and up to where nothing can hide between them.

ComfyUI appends to its history, so everything older than an entry that we once knew *without a gap* is known too: such
an entry is ground, and catching up may stop at it. An entry that was merely read by its id is known but no ground yet:
one that we never heard of may lie right before it. (A reused prompt_id keeps its old place with a new start, which
leaves this true.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from comfyui_exporter.tracker.observations import HistoryEntry

Identity = tuple[str, float, int | None]

MAX_KNOWN = 25_000
"""ComfyUI keeps about 10,000 entries (its MAXIMUM_HISTORY_SIZE), so twice that outlasts whatever can still be read."""


class Ground:
    """The identities of the history entries that we have accounted for."""

    def __init__(self, limit: int = MAX_KNOWN) -> None:
        self._known: dict[Identity, None] = {}
        self._unverified: dict[Identity, None] = {}
        self._limit = limit
        self.newest: Identity | None = None
        """The newest entry that we know of; a server that forgot it is another process."""
        self.before_ms: int | None = None
        """Entries that started no later than this were there at the very first look (ComfyUI's clock)."""
        self.dated = True
        """Whether `before_ms` tells of every entry if it was there: a mark without timestamps leaves only its place."""
        self.changes: dict[Identity, bool] | None = None
        """What was added or became ground (then True), for whoever writes it down and clears it; None: nobody does."""

    def remember(self) -> dict[Identity, bool]:
        """Give what `restore` takes."""
        return {identity: identity not in self._unverified for identity in self._known}

    def restore(self, known: Mapping[Identity, bool]) -> None:
        """Continue with entries that were accounted for, oldest first, each with whether it is ground."""
        self._known |= dict.fromkeys(known)
        self._unverified |= {identity: None for identity, ground in known.items() if not ground}

    def begin(self, mark: HistoryEntry | None) -> None:
        """Take the newest entry of the very first look as the mark: nothing up to it is ever counted."""
        if mark is not None:
            self._known[mark.identity] = None
            self._note(mark.identity, ground=True)
            self.newest = mark.identity
            self.before_ms = mark.started_ms if mark.started_ms is not None else mark.ended_ms
            self.dated = self.before_ms is not None

    def begin_anew(self) -> None:
        """ComfyUI restarted: its history began empty.

        What we concluded that from may have been deleted instead, so what started before our first look stays
        uncounted, and what was no ground before is none now.
        """
        self.newest = None

    def knows(self, identity: Identity) -> bool:
        """Whether this entry is accounted for."""
        return identity in self._known

    def holds(self, identity: Identity) -> bool:
        """Whether everything older than this entry is accounted for too."""
        return identity in self._known and identity not in self._unverified

    @property
    def unverified(self) -> tuple[Identity, ...]:
        """The entries that are known but no ground."""
        return tuple(self._unverified)

    def add(self, identity: Identity) -> None:
        """Account for an entry, without a claim about what lies before it."""
        self._known[identity] = None
        self._unverified[identity] = None
        self._note(identity, ground=False)
        if self.newest is None or (identity[2] or 0) >= (self.newest[2] or 0):
            self.newest = identity
        while len(self._known) > self._limit:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._unverified.pop(oldest, None)

    def verify(self, identities: Iterable[Identity] | None = None) -> None:
        """Declare these entries (all that are known, if none are named) to be ground."""
        for identity in tuple(self._unverified) if identities is None else identities:
            if identity in self._unverified:
                del self._unverified[identity]
                self._note(identity, ground=True)

    def _note(self, identity: Identity, *, ground: bool) -> None:
        if self.changes is not None:
            self.changes[identity] = ground
