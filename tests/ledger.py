"""Holds what an exporter reports against the ledger of a simulated ComfyUI: to the job, without a tolerance."""

from __future__ import annotations

import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from comfyui_exporter.simulator.answer import Answer
from comfyui_exporter.simulator.comfy import ComfyUI
from comfyui_exporter.simulator.expectation import ENDS, Expectation, expect, stands
from comfyui_exporter.simulator.ledger import Ledger, Receipt, Run
from comfyui_exporter.tracker.transitions import Ended, Submitted, Transition

Key = tuple[str, float]


@dataclass(frozen=True, slots=True)
class Reported:
    """The counters of one server as Prometheus reads them."""

    submitted: Counter[str]
    """By job_type."""
    ended: Counter[tuple[str, str]]
    """By job_type and status."""
    restarts: int

    @property
    def ends(self) -> int:
        """Jobs that ended, whatever the end."""
        return self.ended.total()


async def scrape(url: str) -> Reported:
    """Read /metrics."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        text = await response.text()
    submitted: Counter[str] = Counter()
    ended: Counter[tuple[str, str]] = Counter()
    restarts = 0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            match sample.name:
                case "comfyui_jobs_submitted_total":
                    submitted[sample.labels["job_type"]] += int(sample.value)
                case "comfyui_jobs_total":
                    ended[sample.labels["job_type"], sample.labels["status"]] += int(sample.value)
                case "comfyui_restarts_total":
                    restarts = int(sample.value)
                case _:
                    pass
    return Reported(submitted, ended, restarts)


def differences(journal: Journal, reported: Reported) -> list[str]:
    """What is reported otherwise than the ledger says that it must be; nothing if all is true."""
    ledger = journal.ledger
    found = []
    if reported.restarts != ledger.restarts:
        found.append(f"restarts: {reported.restarts} reported, {ledger.restarts} true")
    counted = list(counted_runs(ledger))
    certain = [(run, e, not e.optional) for run, e in counted]
    found += _differences("all", certain, sum(reported.submitted.values()), _by_status(reported.ended))
    for job_type in sorted({run.job_type for run, _ in counted} | set(reported.submitted)):
        # Of what was only listed and then gone, nobody can know what it was.
        own = [(run, e, not e.optional and not journal.untyped(run)) for run, e in counted if run.job_type == job_type]
        if job_type == "unknown":
            own += [(run, e, False) for run, e in counted if run.job_type != job_type and journal.untyped(run)]
        ended = {status: count for (of_type, status), count in reported.ended.items() if of_type == job_type}
        found += _differences(job_type, own, reported.submitted[job_type], ended)
    return found


def _differences(
    what: str, runs: Sequence[tuple[Run, Expectation, bool]], submitted: int, ended: Mapping[str, int]
) -> list[str]:
    """Compare the counts of some runs, given with what to expect of each and whether it must be among them.

    Of every group of statuses at least the runs must be counted that can have ended in no other, and at most those that
    can have ended in one of it (the theorem of Hall: then, and only then, each counted end has a run of its own).
    """
    least = sum(certain for _, _, certain in runs)
    if not least <= submitted <= len(runs):
        return [f"{what}: {submitted} submissions reported, {_between(least, len(runs))} true"]
    for group in _groups(ENDS):
        least = sum(certain and bool(e.accepts) and group.issuperset(e.accepts) for _, e, certain in runs)
        most = sum(not group.isdisjoint(e.accepts) for _, e, _ in runs)
        count = sum(ended.get(status, 0) for status in group)
        if not least <= count <= most:
            return [f"{what}: {count} {' or '.join(sorted(group))} reported, {_between(least, most)} true"]
    return []


def _by_status(ended: Counter[tuple[str, str]]) -> Mapping[str, int]:
    totals: Counter[str] = Counter()
    for (_, status), count in ended.items():
        totals[status] += count
    return totals


def counted_runs(ledger: Ledger) -> Iterator[tuple[Run, Expectation]]:
    """The runs that an observer counts, if need be with luck."""
    for run in ledger.runs:
        expectation = expect(run, ledger)
        if expectation.submission and not run.before_first_history:
            yield run, expectation


def _between(least: int, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}"


def _groups(statuses: Iterable[str]) -> Iterator[frozenset[str]]:
    statuses = tuple(statuses)
    for size in range(1, len(statuses) + 1):
        for group in itertools.combinations(statuses, size):
            yield frozenset(group)


class Journal:
    """What happened, what was shown of it and what was made of that, in order: it tells why a count is wrong."""

    def __init__(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reported: dict[Key, list[tuple[str, str]]] = defaultdict(list)
        """End and job_type of each reported run, by the key that it shares with the ledger's."""
        self.ledger = ledger
        self._untold: list[Receipt] = []
        """Of answers that tell of jobs but not what was submitted."""
        self._typed: set[int] = set()
        """Serials of the runs of which a delivered answer told what was submitted."""
        self._lines: list[tuple[float, str, frozenset[str]]] = []
        """With the prompt_ids that each tells of; none: of all."""
        self._places: dict[str, tuple[Key, int]] = {}
        for name, listener in (
            ("submitted", self._submitted),
            ("started", self._started),
            ("finished", self._finished),
            ("removed", self._removed),
            ("delivered", self._delivered),
        ):
            monkeypatch.setattr(Ledger, name, _before(listener, getattr(Ledger, name)))
        for name in ("jobs", "job"):
            monkeypatch.setattr(ComfyUI, name, self._noting_untold(name, getattr(ComfyUI, name)))

    def _noting_untold(self, name: str, plain: Callable[..., Answer]) -> Callable[..., Answer]:
        def wrapped(comfy: ComfyUI, *args: Any) -> Answer:
            answer = plain(comfy, *args)
            queued = answer.receipt.contents.pending or answer.receipt.contents.running
            if name == "jobs" or (queued and not comfy.profile.queued_workflow):
                self._untold.append(answer.receipt)
            return answer

        return wrapped

    def untyped(self, run: Run) -> bool:
        """Whether no delivered answer told what was submitted, and none can any more."""
        return run.serial not in self._typed and not stands(run, self.ledger)

    def note(self, line: str, *prompt_ids: str) -> None:
        """Add a line of one's own."""
        self._lines.append((time.monotonic(), line, frozenset(prompt_ids)))

    # Of ComfyUI

    def _submitted(self, prompt_id: str, number: float, job_type: str, at_ms: int) -> None:
        self.note(f"{_short(prompt_id)} submitted as {number:g}, {job_type}", prompt_id)

    def _started(self, run: Run, at_ms: int) -> None:
        self.note(f"{_name(run)} starts", run.prompt_id)

    def _finished(self, run: Run, truth: str, *_: Any, in_old_place: bool) -> None:
        self.note(f"{_name(run)} {truth}{', in an old place' if in_old_place else ''}", run.prompt_id)

    def _removed(self, run: Run, removal: str, at_ms: int) -> None:
        self.note(f"{_name(run)} {removal} ({run.truth})", run.prompt_id)

    def _delivered(self, receipt: Receipt) -> None:
        shown = receipt.contents
        if not any(receipt is untold for untold in self._untold):
            self._typed |= {run.serial for run in (*shown.pending, *shown.running, *shown.entries)}
        kind = "queue" if shown.whole_queue else "list" if shown.history_list else "by id" if shown.by_id else ""
        columns = {"pending": shown.pending, "running": shown.running, "entries": shown.entries}
        told = [f"{name} {' '.join(map(_name, runs))}" for name, runs in columns.items() if runs]
        if not (kind or told):
            return
        ids = () if shown.whole_queue else [run.prompt_id for runs in columns.values() for run in runs]
        self.note(f"    shown, made at tick {receipt.tick}: {kind} {'; '.join(told) or 'nothing'}", *ids)

    # Of the exporter

    def transitions(self, changes: Iterable[Transition]) -> None:
        """What the tracker made of it."""
        for change in changes:
            run = getattr(change, "run", None)
            if run is None:
                self.note(f"        -> {type(change).__name__}")
                continue
            key = (run.prompt_id, run.number)
            if isinstance(change, Submitted):
                self._places[run.run_id] = (key, len(self.reported[key]))
                self.reported[key].append(("open", run.details.job_type))
            elif isinstance(change, Ended):
                key, place = self._places[run.run_id]
                self.reported[key][place] = (run.state.value, run.details.job_type)
            self.note(f"        -> {type(change).__name__} {_name(run)} {run.state} {run.run_id[:6]}", run.prompt_id)

    def explain(self, most: int = 3) -> str:
        """The stories of the first few runs that are reported otherwise than the ledger has them."""
        expected: dict[Key, list[tuple[Run, Expectation]]] = defaultdict(list)
        for run, expectation in counted_runs(self.ledger):
            expected[run.prompt_id, run.number].append((run, expectation))
        wrong = [
            key
            for key in dict.fromkeys((*expected, *self.reported))
            if not self._agree(self.reported[key], expected[key])
        ]
        told = [f"{len(wrong)} keys differ"]
        for key in wrong[:most]:
            told.append(f"{_short(key[0])}/{key[1]:g}: reported {self.reported[key]}; in the ledger:")
            told += [f"  {run}\n  {expectation}" for run, expectation in expected[key]]
            told += self.story(key[0])
        return "\n".join(told)

    def _agree(self, reported: list[tuple[str, str]], expected: list[tuple[Run, Expectation]]) -> bool:
        least = sum(not expectation.optional for _, expectation in expected)
        return least <= len(reported) <= len(expected) and any(
            all(
                end in (e.accepts or ("open",))
                and (job_type == run.job_type or (job_type == "unknown" and self.untyped(run)))
                for (end, job_type), (run, e) in zip(reported, order, strict=False)
            )
            for order in itertools.permutations(expected, len(reported))
        )

    def save(self, path: str | None) -> None:
        """Write down all lines, if somebody wants them."""
        if path:
            Path(path).write_text("\n".join(self.story()) + "\n")

    @property
    def began(self) -> float:
        """When the first line was written, by the monotonic clock; the lines' times count from then."""
        return self._lines[0][0] if self._lines else 0.0

    def around(self, prompt_id: str, before: float = 1.0, after: float = 5.0) -> Iterator[str]:
        """The lines that tell of this one, and those of no job in particular (but reads) from before to after."""
        times = [at for at, _, ids in self._lines if prompt_id in ids]
        if times:
            began = self._lines[0][0]
            for at, line, ids in self._lines:
                general = not ids and not line.startswith(" ") and times[0] - before <= at <= times[-1] + after
                if prompt_id in ids or general:
                    yield f"{at - began:8.3f} {line}"

    def story(self, *prompt_ids: str) -> Iterator[str]:
        """The lines that tell of these, or without any all lines."""
        wanted = frozenset(prompt_ids)
        began = self._lines[0][0] if self._lines else 0.0
        first = True
        for at, line, ids in self._lines:
            if ids & wanted or not wanted or (not ids and not first):
                first = False
                yield f"{at - began:8.3f} {line}"


def _before(listener: Callable[..., None], plain: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(ledger: Ledger, *args: Any, **kwargs: Any) -> Any:
        listener(*args, **kwargs)
        return plain(ledger, *args, **kwargs)

    return wrapped


def _short(prompt_id: str) -> str:
    return prompt_id[:8]


def _name(run: Any) -> str:
    return f"{_short(run.prompt_id)}/{run.number:g}"
