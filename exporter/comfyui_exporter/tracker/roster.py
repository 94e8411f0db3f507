"""Which runs there are: those without an end, those that ended lately, and those that vanished."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence

from comfyui_exporter.tracker.runs import Run, State

Key = tuple[str, float]
"""(prompt_id, number): what tells the items of a queue apart, but for twins."""

MAX_VANISHED = 10_000


class Roster:
    """The runs of one server. It decides nothing and tells nobody.

    Where a run belongs follows from the run alone (its state and epoch), so `enter` may also fill an empty roster from
    a record, once `epoch` is set.
    """

    def __init__(self) -> None:
        self.epoch = 0
        """How many restarts of ComfyUI were seen."""
        self._open: dict[str, Run] = {}
        self._by_key: dict[Key, list[str]] = {}
        """Open runs of this epoch, in the order in which they were first seen."""
        self._unlisted: dict[str, float | None] = {}
        """Open runs that left the queue, and when the history first had no entry for them."""
        self._finished: deque[Run] = deque()
        self._vanished: dict[tuple[int, Key], int] = {}
        """Lost and cancelled runs by key: should one turn up in the history after all, it was counted already."""
        self.changes: dict[str, Run] | None = None
        """The runs that changed, as they are now, for whoever writes them down and clears it; None: nobody does."""
        self.changed = False
        """Whether one of these changes is worth to be kept at once."""

    # Entering and changing

    def enter(self, run: Run) -> None:
        """Take in a run that is not here: a new one, or one from a record; those that ended in order of their ends."""
        self._note(run)
        if run.state.ended:
            self._finished.append(run)
            if run.state in {State.LOST, State.CANCELLED}:
                self._count_vanished(run)
            return
        if run.epoch == self.epoch:
            self._by_key.setdefault(_key_of(run), []).append(run.run_id)
        self.put(run)

    def put(self, run: Run, *, minor: bool = False) -> Run:
        """Replace an open run by what is known of it now; `minor`: that alone is not worth to be kept at once."""
        self._note(run, minor=minor)
        self._open[run.run_id] = run
        if run.state is State.COMPLETING:
            self._unlisted.setdefault(run.run_id, None)
        else:
            self._unlisted.pop(run.run_id, None)
        return run

    def end(self, run: Run) -> None:
        """Replace an open run by what it ended as."""
        del self._open[run.run_id]
        self._unlisted.pop(run.run_id, None)
        key = _key_of(run)
        ids = self._by_key.get(key)
        if ids is not None and run.run_id in ids:
            ids.remove(run.run_id)
            if not ids:
                del self._by_key[key]
        self.enter(run)

    def begin_epoch(self) -> None:
        """ComfyUI restarted: what comes from now on is none of the runs so far."""
        self.epoch += 1
        self._by_key.clear()

    # Open runs

    @property
    def open(self) -> Collection[Run]:
        """Every run without an end, in the order in which they were first seen."""
        return self._open.values()

    def get(self, run_id: str) -> Run | None:
        """Give an open run as it is known now."""
        return self._open.get(run_id)

    def twins(self, key: Key) -> list[Run]:
        """Give the open runs of this epoch with this key, in the order in which they were first seen."""
        return [self._open[run_id] for run_id in self._by_key.get(key, ())]

    def absent(self, present: Collection[str]) -> list[Run]:
        """Give the open runs of this epoch that stood in the queue and are not among these run_ids."""
        return [
            self._open[run_id]
            for ids in self._by_key.values()
            for run_id in ids
            if run_id not in present and run_id not in self._unlisted
        ]

    # Those that left the queue

    def unlisted(self, prompt_id: str) -> list[tuple[Run, float | None]]:
        """Give the runs of a prompt_id that left the queue, and when the history first had no entry for each."""
        unlisted = ((self._open[run_id], first_missed) for run_id, first_missed in self._unlisted.items())
        return [(run, first_missed) for run, first_missed in unlisted if run.prompt_id == prompt_id]

    def miss(self, run: Run, at: float) -> None:
        """The history has no entry for one that left the queue."""
        self._unlisted[run.run_id] = at

    def due_lookups(self, at: float, grace: float) -> list[str]:
        """Give the prompt_ids to look up now: at once, and once more `grace` seconds after the first miss."""
        due = dict[str, None]()
        for run_id, first_missed in self._unlisted.items():
            if first_missed is None or at >= first_missed + grace:
                due[self._open[run_id].prompt_id] = None
        return list(due)

    def next_due(self, grace: float) -> float | None:
        """When the next second look falls due; None if no run waits for one."""
        waits = [missed + grace for missed in self._unlisted.values() if missed is not None]
        return min(waits, default=None)

    # Those that ended

    @property
    def finished(self) -> Sequence[Run]:
        """The runs that ended lately, oldest end first."""
        return self._finished

    def amend(self, run: Run) -> None:
        """Replace a run that ended by what is known of it now."""
        for place in reversed(range(len(self._finished))):
            if self._finished[place].run_id == run.run_id:
                self._note(run)
                self._finished[place] = run
                return

    def forget_finished(self, at: float, keep: float, most: int) -> list[Run]:
        """Let go of those that ended more than `keep` seconds ago, and of the oldest of more than `most`; give them."""
        gone = []
        while self._finished and (len(self._finished) > most or at - (self._finished[0].ended_at or 0.0) > keep):
            gone.append(self._finished.popleft())
        return gone

    @property
    def vanished(self) -> dict[Key, int]:
        """How many runs of this epoch vanished and did not turn up in the history, by key."""
        return {key: count for (epoch, key), count in self._vanished.items() if epoch == self.epoch and count}

    def take_vanished(self, key: Key) -> bool:
        """Whether one of this key vanished in this epoch; each is given once."""
        slot = (self.epoch, key)
        if self._vanished.get(slot, 0) > 0:
            self._vanished[slot] -= 1
            return True
        return False

    def restore(self, epoch: int, runs: Iterable[Run], vanished: Mapping[Key, int]) -> None:
        """Fill an empty roster; `vanished` counts the runs of this epoch that did not turn up in the history."""
        self.epoch = epoch
        for run in runs:
            self.enter(run)
        self._vanished = {(epoch, key): count for key, count in vanished.items()}

    def _note(self, run: Run, *, minor: bool = False) -> None:
        if self.changes is not None:
            self.changes[run.run_id] = run
            self.changed = self.changed or not minor

    def _count_vanished(self, run: Run) -> None:
        slot = (run.epoch, _key_of(run))
        self._vanished[slot] = self._vanished.get(slot, 0) + 1
        while len(self._vanished) > MAX_VANISHED:
            del self._vanished[next(iter(self._vanished))]


def _key_of(run: Run) -> Key:
    return (run.prompt_id, run.number)
