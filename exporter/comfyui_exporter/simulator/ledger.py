"""The truth about every run, and what the answers that were delivered let an observer know of it.

The simulator keeps this book of itself. It does not guess what an exporter does with an answer: it notes which runs
each answer contained, and counts an answer only when it was delivered whole. What follows from the book for an ideal
observer is in `expectation.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Truth = Literal["open", "completed", "failed", "interrupted", "cancelled", "lost"]
"""What became of a run. `lost`: it was pending or running when ComfyUI died."""

Place = Literal["pending", "running", "history", "gone"]

Removal = Literal[
    "deleted", "cleared", "history_deleted", "history_cleared", "overwritten", "evicted", "restart", "worker_died"
]
"""Why a run is `gone`: what removed it from the queue, or its entry from the history."""

Sign = Literal["shown_pending", "shown_running", "shown_entry", "shown_by_id", "heard"]
"""What an observer may know of a run, by the name of the field."""

_NAMING = frozenset[Sign](("shown_pending", "shown_running", "shown_by_id"))
"""Whoever was shown this will ask for the run by its prompt_id."""


@dataclass(slots=True, eq=False)
class Run:
    """One passage of one submitted prompt; a prompt_id that is sent again is a second run."""

    serial: int
    prompt_id: str
    number: float
    epoch: int
    """How many restarts of ComfyUI came before it."""
    job_type: str
    """`extra_data.job_type` when that is a string, else `unknown`."""
    submitted_ms: int
    """In ComfyUI's clock, as are the other times."""
    started_ms: int | None = None
    ended_ms: int | None = None
    truth: Truth = "open"
    exception_type: str | None = None
    place: Place = "pending"
    removal: Removal | None = None
    in_old_place: bool = False
    """Its history entry took the place of an older one of the same prompt_id, which need not be near the end."""
    shown_pending: bool = False
    """A delivered answer had it among the pending (or, for the next three, running, finished, finished by its id)."""
    shown_running: bool = False
    shown_entry: bool = False
    shown_by_id: bool = False
    entry_shown_ms: float | None = None
    """When its history entry was first shown."""
    heard: bool = False
    """An event that names its prompt_id was sent to all or to exporters while it ran, and at least one was there."""
    seen_gone: bool = False
    """It was deleted while pending, and a delivered answer showed the queue without it before ComfyUI restarted."""
    before_first_read: bool = False
    """It had ended before the first delivered answer of any kind was made."""
    before_first_history: bool = False
    """It had ended before the first delivered list of the history was made."""
    doubts: list[tuple[Sign, ...]] = field(default_factory=list)
    """What observers knew of it who then died: of each any number of signs may have been kept, from the first on."""
    first_history_in_doubt: bool = False
    """It had ended before the first list of the history was made to an observer who may or may not have been first."""

    @property
    def shown(self) -> bool:
        """Whether a delivered answer contained it in any state."""
        return self.shown_pending or self.shown_running or self.shown_entry


@dataclass(frozen=True, slots=True)
class Contents:
    """Which runs one answer contains."""

    pending: Sequence[Run] = ()
    running: Sequence[Run] = ()
    entries: Sequence[Run] = ()
    whole_queue: bool = False
    """It lists all that is pending and running: what it lacks is not in the queue."""
    history_list: bool = False
    by_id: bool = False


@dataclass(slots=True)
class Receipt:
    """Stands for one answer; `delivered` tells the ledger that the client received the whole of it."""

    ledger: Ledger
    contents: Contents
    tick: int
    """When the answer was made, in the order of everything that happens."""
    epoch: int
    _done: bool = False

    def delivered(self) -> None:
        """Count the answer as shown; a second call changes nothing."""
        if not self._done:
            self._done = True
            self.ledger.delivered(self)


@dataclass(slots=True)
class RouteCount:
    """Requests of one route that were answered with a body, whole or not."""

    count: int = 0
    bytes: int = 0


def _nobody_knows(_run: Run) -> None:
    return None


@dataclass(slots=True)
class Ledger:
    """Every run of every epoch, with what was shown of it."""

    runs: list[Run] = field(default_factory=list)
    now: Callable[[], float] = lambda: 0.0
    """ComfyUI's clock, in ms."""
    restarts: int = 0
    alive: bool = True
    requests: dict[str, RouteCount] = field(default_factory=dict)
    _tick: int = 0
    _ends: dict[int, int] = field(default_factory=dict)
    """Tick of the end by serial."""
    _deletions: dict[int, tuple[Run, int]] = field(default_factory=dict)
    """Runs deleted while pending, by serial, with the tick, until the queue was seen without them."""
    _signs: list[tuple[float, Run, Sign]] = field(default_factory=list)
    """What was new when it was shown, and when that was."""
    _first_read: bool = False
    _first_history: tuple[float, int] | None = None
    """When the first list of the history was delivered, and the tick at which it was made."""
    _first_in_doubt: int | None = None
    """The tick of an earlier one, of which nobody knows whether the observer kept that it was the first."""

    def submitted(self, prompt_id: str, number: float, job_type: str, at_ms: int) -> Run:
        """A prompt entered the queue."""
        run = Run(len(self.runs), prompt_id, number, self.restarts, job_type, at_ms)
        self.runs.append(run)
        self._tick += 1
        return run

    def started(self, run: Run, at_ms: int) -> None:
        """The worker took it."""
        run.started_ms = at_ms
        run.place = "running"
        self._tick += 1

    def finished(self, run: Run, truth: Truth, at_ms: int, exception_type: str | None, *, in_old_place: bool) -> None:
        """Its entry entered the history."""
        run.exception_type = exception_type
        run.in_old_place = in_old_place
        run.place = "history"
        self._end(run, truth, at_ms)

    def removed(self, run: Run, removal: Removal, at_ms: int) -> None:
        """It left the queue without a history entry, or its entry left the history."""
        run.place = "gone"
        run.removal = removal
        if run.truth != "open":
            self._tick += 1
        elif removal in {"deleted", "cleared"}:
            self._end(run, "cancelled", at_ms)
            self._deletions[run.serial] = (run, self._tick)
        else:
            self._end(run, "lost", at_ms)

    def died(self) -> None:
        """ComfyUI is down: nothing can be shown until it is up again."""
        self.alive = False
        self._deletions.clear()

    def restarted(self) -> None:
        """A new process answers, with an empty queue and history."""
        self.restarts += 1
        self.alive = True

    def heard(self, run: Run) -> None:
        """An event that names the run went to every open socket or every exporter, and there was one."""
        self._sign(run, "heard")

    def first_look_kept(self) -> None:
        """The observer told that it has kept how the history stood at its first look: no death puts that in doubt."""
        if self._first_history is not None:
            self._first_history = (float("-inf"), self._first_history[1])

    def observer_died(self, since_ms: float, kept: Callable[[Run], Collection[Sign] | None] = _nobody_knows) -> None:
        """The only observer died, and may not have kept what it was shown since then (ComfyUI's clock).

        What it heard of a run that no answer showed it is in doubt however long ago that was: hearing is no knowledge
        yet, it leads to a read. `kept` tells what is found in what the observer left behind, None where that cannot be
        told; so much, and no more, was then shown.
        """
        known = {run.serial for at, run, name in self._signs if at < since_ms and name in _NAMING}
        lost: dict[int, list[Sign]] = {}
        signs, self._signs = self._signs, []
        for at, run, name in signs:
            if at < since_ms and (name != "heard" or run.serial in known):
                self._signs.append((at, run, name))
            else:
                self._unsign(run, name)
                lost.setdefault(run.serial, []).append(name)
        for serial, names in lost.items():
            run = self.runs[serial]
            found = kept(run)
            for name in found or ():
                self._sign(run, name, since_ms)
            in_doubt = tuple(name for name in names if found is None or name == "heard")
            if in_doubt:
                run.doubts.append(in_doubt)
        if self._first_history is not None and self._first_history[0] >= since_ms:
            if self._first_in_doubt is None:
                self._first_in_doubt = self._first_history[1]
            self._first_history = None

    def requested(self, route: str, size: int) -> None:
        """A request of that route was answered with a body of so many bytes."""
        counted = self.requests.setdefault(route, RouteCount())
        counted.count += 1
        counted.bytes += size

    def receipt(self, contents: Contents | None = None) -> Receipt:
        """For an answer that is made now and contains these runs."""
        return Receipt(self, contents or Contents(), self._tick, self.restarts)

    def delivered(self, receipt: Receipt) -> None:
        """Note what the answer showed; called by `Receipt.delivered`."""
        contents = receipt.contents
        for run in contents.pending:
            self._sign(run, "shown_pending")
        for run in contents.running:
            self._sign(run, "shown_running")
        for run in contents.entries:
            self._sign(run, "shown_entry")
            if contents.by_id:
                self._sign(run, "shown_by_id")
        if contents.whole_queue and receipt.epoch == self.restarts:
            self._note_gone(receipt.tick)
        self._note_first(receipt)

    def _end(self, run: Run, truth: Truth, at_ms: int) -> None:
        run.truth = truth
        run.ended_ms = at_ms
        self._tick += 1
        self._ends[run.serial] = self._tick

    def _sign(self, run: Run, name: Sign, at_ms: float | None = None) -> None:
        if not getattr(run, name):
            at = self.now() if at_ms is None else at_ms
            setattr(run, name, True)
            self._signs.append((at, run, name))
            if name == "shown_entry":
                run.entry_shown_ms = at

    def _unsign(self, run: Run, name: Sign) -> None:
        setattr(run, name, False)
        if name == "shown_entry":
            run.entry_shown_ms = None

    def _note_gone(self, tick: int) -> None:
        for serial, (run, deleted) in list(self._deletions.items()):
            if deleted <= tick:
                run.seen_gone = True
                del self._deletions[serial]

    def _note_first(self, receipt: Receipt) -> None:
        if not self._first_read:
            self._first_read = True
            for run in self._ended_by(receipt.tick):
                run.before_first_read = True
        if self._first_history is None and receipt.contents.history_list:
            self._first_history = (self.now(), receipt.tick)
            doubtful = self._first_in_doubt
            for run in self._ended_by(receipt.tick):
                if doubtful is None or self._ends[run.serial] <= doubtful:
                    run.before_first_history = True
                else:
                    run.first_history_in_doubt = True

    def _ended_by(self, tick: int) -> Iterable[Run]:
        return (self.runs[serial] for serial, ended in self._ends.items() if ended <= tick)
