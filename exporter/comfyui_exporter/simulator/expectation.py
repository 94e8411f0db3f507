"""What an ideal observer must report of the runs in a ledger, given the answers that were delivered to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

from comfyui_exporter.simulator.ledger import Ledger, Run, Sign, Truth

ENDS: tuple[Truth, ...] = ("completed", "failed", "interrupted", "cancelled", "lost")


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must be reported of one run."""

    submission: bool
    """It must be counted as submitted: some delivered answer contained it, or it still stands where one would."""
    end: Truth | None
    """The end that must be counted; None: none can be known (yet)."""
    accepts: tuple[Truth, ...]
    """Ends that are as good as `end`: it depends on the observer's patience when a restart followed a deletion."""
    hidden: bool
    """It ended and stands, but in the old place of a reused prompt_id, and no queue read, event or read by id named it:
    who reports it was lucky, who does not is right too. `submission` and `end` are then optional."""
    unknowable: bool
    """No delivered answer ever contained it, and none can any more."""
    doubtful: bool = False
    """Whether it counts depends on what an observer kept that died right after it was shown. `submission` and `end`
    are then optional, as for `hidden`."""

    @property
    def optional(self) -> bool:
        """Whether it may be reported and need not be."""
        return self.hidden or self.doubtful


def stands(run: Run, ledger: Ledger) -> bool:
    """Whether an answer that is made now could contain the run."""
    return ledger.alive and run.place != "gone"


def expect(run: Run, ledger: Ledger) -> Expectation:
    """What an ideal observer must report of this run; where observers died, what is right of all that they may know."""
    if not run.doubts:
        return replace(_expect(run, ledger), doubtful=run.first_history_in_doubt)
    readings = [_expect(reading, ledger) for reading in _readings(run)]
    fullest = readings[-1]
    return Expectation(
        submission=fullest.submission,
        end=fullest.end,
        accepts=tuple(dict.fromkeys(end for reading in reversed(readings) for end in reading.accepts)),
        hidden=any(reading.hidden for reading in readings),
        unknowable=fullest.unknowable,
        doubtful=run.first_history_in_doubt or not all(reading.submission for reading in readings),
    )


def _readings(run: Run) -> Iterator[Run]:
    """The run as it is if observers kept the least before they died, and so on up to the most."""
    kept = [[signs[:count] for count in range(len(signs) + 1)] for signs in run.doubts]
    for signs in sorted({frozenset[Sign]().union(*signs) for signs in product(*kept)}, key=len):
        reading = replace(run)
        for sign in signs:
            setattr(reading, sign, True)
        yield reading


def _expect(run: Run, ledger: Ledger) -> Expectation:
    standing = stands(run, ledger)
    if not standing and not run.shown:
        return Expectation(submission=False, end=None, accepts=(), hidden=False, unknowable=True)
    hidden = (
        run.in_old_place
        and (standing or run.shown_entry)
        and not (run.shown_pending or run.shown_running or run.shown_by_id or run.heard)
    )
    end, accepts = _end(run, ledger, standing=standing)
    return Expectation(submission=True, end=end, accepts=accepts, hidden=hidden, unknowable=False)


def _end(run: Run, ledger: Ledger, *, standing: bool) -> tuple[Truth | None, tuple[Truth, ...]]:
    if run.truth == "open":
        return None, ()
    if run.truth in {"completed", "failed", "interrupted"} and (run.shown_entry or standing):
        return run.truth, (run.truth,)
    return _vanished(run, restarted=run.epoch < ledger.restarts or not ledger.alive)


def _vanished(run: Run, *, restarted: bool) -> tuple[Truth, tuple[Truth, ...]]:
    """It was shown in the queue and is gone without an entry that was shown: lost, or cancelled before it ran."""
    # Of a run that the dying worker took along with itself nobody can know that it did not simply leave the queue.
    if run.shown_running or (run.truth == "lost" and run.removal != "worker_died"):
        return "lost", ("lost",)
    if run.truth == "cancelled" and run.seen_gone:
        # A restart within the observer's grace still makes it `lost` by the rules, later it was already `cancelled`.
        return "cancelled", ("cancelled", "lost") if restarted else ("cancelled",)
    if restarted:
        return "lost", ("lost", "cancelled")
    # Whoever heard it run knows that it was not cancelled before it ran.
    return ("lost", ("lost", "cancelled")) if run.heard else ("cancelled", ("cancelled",))


def report(ledger: Ledger) -> dict[str, Any]:
    """The ledger as GET /simulator/ledger gives it: every run, totals, and what must be reported."""
    expectations = [(run, expect(run, ledger)) for run in ledger.runs]
    certain = [(run, e) for run, e in expectations if e.submission and not e.optional]
    return {
        "runs": [_row(run, e) for run, e in expectations],
        "totals": _truths(ledger.runs),
        "expected": {**_sums(certain), "by_job_type": _by_job_type(certain)},
        "optional": _sums((run, e) for run, e in expectations if e.submission and e.optional),
        "before_first_read": _sums((run, e) for run, e in certain if run.before_first_read),
        "before_first_history": _sums((run, e) for run, e in certain if run.before_first_history),
        "unknowable": [
            {"run": run.serial, "prompt_id": run.prompt_id, "truth": run.truth, "heard": run.heard}
            for run, e in expectations
            if e.unknowable
        ],
        "doubtful": [
            {"run": run.serial, "prompt_id": run.prompt_id, "truth": run.truth, "accepts": e.accepts}
            for run, e in expectations
            if e.doubtful and not e.unknowable
        ],
        "restarts": ledger.restarts,
        "alive": ledger.alive,
        "requests": {route: asdict(counted) for route, counted in sorted(ledger.requests.items())},
    }


def _row(run: Run, expectation: Expectation) -> dict[str, Any]:
    return {**asdict(run), "expected": asdict(expectation)}


def _truths(runs: Iterable[Run]) -> dict[str, int]:
    totals = dict.fromkeys(("submitted", "open", *ENDS), 0)
    for run in runs:
        totals["submitted"] += 1
        totals[run.truth] += 1
    return totals


def _sums(expectations: Iterable[tuple[Run, Expectation]]) -> dict[str, int]:
    sums = dict.fromkeys(("submitted", *ENDS), 0)
    for _, expectation in expectations:
        sums["submitted"] += expectation.submission
        if expectation.end is not None:
            sums[expectation.end] += 1
    return sums


def _by_job_type(expectations: Iterable[tuple[Run, Expectation]]) -> Mapping[str, Mapping[str, int]]:
    groups: dict[str, list[tuple[Run, Expectation]]] = {}
    for run, expectation in expectations:
        groups.setdefault(run.job_type, []).append((run, expectation))
    return {job_type: _sums(group) for job_type, group in sorted(groups.items())}
