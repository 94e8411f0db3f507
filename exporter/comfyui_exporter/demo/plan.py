"""From the story to what is done, second by second: the same seed gives the same days."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random

from comfyui_exporter.demo.day import BEGIN, HOUR_S, Batch, Event, Failures, Server

DAY_S = 24 * HOUR_S


@dataclass(frozen=True, slots=True)
class Submission:
    """One job that somebody submits."""

    kind: str
    user: str
    batch: str | None = None
    failure: str | None = None
    """How it is going to fail."""


@dataclass(frozen=True, slots=True)
class Act:
    """What happens at a moment."""

    at_s: float
    """Seconds after the beginning of the demo."""
    what: Submission | Event
    say: str = ""


def acts(server: Server, rng: Random) -> Iterator[Act]:
    """Everything that happens on a server, in order, for ever."""
    for day in itertools.count():
        begins = day * DAY_S
        users, events = _of_users(server, rng, begins), _of_events(server, rng, begins)
        yield from heapq.merge(users, events, key=lambda act: act.at_s)


def clock(at_s: float) -> str:
    """The time of the story, so many seconds after the beginning of the demo: `09:30`."""
    minutes = int(at_s / HOUR_S * 60 + BEGIN * 60) % (24 * 60)
    return f"{minutes // 60:02}:{minutes % 60:02}"


def any_user(server: Server, rng: Random) -> Submission:
    """A job as people submit them on that server all day."""
    return Submission(_one_of(server.kinds, rng), _one_of(server.users, rng))


def _of_users(server: Server, rng: Random, begins: float) -> Iterator[Act]:
    """Submissions at random moments, as many as the hour has: candidates at the highest rate, thinned out."""
    highest = max(rate for _, rate in server.work) / 60
    at = 0.0
    while (at := at + rng.expovariate(highest)) < DAY_S:
        if rng.random() < server.rate((BEGIN + at / HOUR_S) % 24) / 60 / highest:
            yield Act(begins + at, any_user(server, rng))


def _of_events(server: Server, rng: Random, begins: float) -> Iterator[Act]:
    parts = [act for event in server.events for act in _expanded(event, rng, begins + _after_begin(event.at))]
    return iter(sorted(parts, key=lambda act: act.at_s))


def _expanded(event: Event, rng: Random, at_s: float) -> Iterator[Act]:
    match event:
        case Batch():
            # An application needs a moment for each.
            for number in range(event.jobs):
                job = Submission(event.kind, "application", batch=event.batch)
                yield Act(at_s + 0.1 * number, job, event.say if number == 0 else "")
        case Failures():
            for number in range(event.jobs):
                job = Submission(event.kind, rng.choice(("browser", "application")), failure=event.failure)
                later = (event.until - event.at) * HOUR_S * number / event.jobs
                yield Act(at_s + later, job, event.say if number == 0 else "")
        case _:
            yield Act(at_s, event, event.say)


def _after_begin(hour: float) -> float:
    return ((hour - BEGIN) % 24) * HOUR_S


def _one_of(weights: Mapping[str, float], rng: Random) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]
