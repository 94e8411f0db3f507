"""Jobs come and go, the exporter is killed again and again, ComfyUI restarts, and the store goes away: a short life.

What users do to the history is limited by one thing only: an exporter that lost the connection tells a restarted
ComfyUI from the same one by what it knew, so what it may know last is not deleted (`how-it-watches.md`, restarts).
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from comfyui_exporter.simulator import Simulation
from comfyui_exporter.simulator.ledger import Ledger, Run, Sign
from comfyui_exporter.simulator.workflows import KINDS
from ledger import Journal, scrape
from prometheus_server import PrometheusServer
from survival.exporter import ExporterProcess
from survival.stores import Row, Store
from survival.verdict import Verdict, judge, lasting_series
from users import Users

SPEED = 350
"""A job takes about 20 ms."""

HASTE = 20
"""What reads may cost is measured per second, and here the seconds are as short as the jobs."""

FIRST_JOBS = 12
"""Are there before anybody looks."""

SERVER = "gpu0"

_CATCHING_UP_S = 10.0
"""A machine that is too busy for it is not waited for."""

_TELLING_S = 0.6
"""Ample time to commit what was held back."""

_LATELY = 400
"""So many runs back is looked for those that were shown last."""

_MARKS_HOLD_MS = 20
"""So long the newest known ends are not looked for again; far more than one is spared."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is to happen."""

    jobs: int
    kills: int
    restarts: int = 2
    clears: int = 1
    outages: int = 1
    """How often the store goes away."""
    outage_s: float = 2.0
    longest_life_s: float = 3.0
    """From one start of the exporter to the next kill, at most."""
    longest_pause_s: float = 1.0
    """From a kill to the next start, at most."""
    keeping_ms: float = 2000.0
    """What a dead exporter was shown longer ago than this must have been kept: 250 ms for a batch, the commit, and what
    it takes to read an answer on a busy machine. What was shown later counts as far as it is found in the store."""
    patience_s: float = 60.0
    """In which everything settles, or it fails."""
    seed: int = 1


@dataclass(slots=True)
class Happened:
    """What did happen."""

    kills: int = 0
    kills_before_ready: int = 0
    kills_while_away: int = 0
    kills_while_down: int = 0
    restarts: int = 0
    clears: int = 0
    outages: int = 0
    outages_noticed: int = 0
    """How often the exporter said that it could not write, before it was killed."""


class Story:
    """One ComfyUI, one exporter and one Prometheus through all of it."""

    def __init__(
        self,
        plan: Plan,
        simulation: Simulation,
        journal: Journal,
        exporter: ExporterProcess,
        store: Store,
        prometheus: PrometheusServer,
    ) -> None:
        self.happened = Happened()
        self.plan = plan
        self.journal = journal
        self.exporter = exporter
        self.store = store
        self.prometheus = prometheus
        self.simulation = simulation
        self._comfy = simulation.comfy
        self._ledger = simulation.ledger
        self._users = Users(simulation, Random(f"{plan.seed} users"), self._may_be_the_mark)
        self._users.lately = 300
        self._users.history_may_be_cleared = False  # we do that, see `_clear_history`
        self._rng = Random(f"{plan.seed} fate")
        self._mercy = asyncio.Lock()
        """Nobody is killed while it is held."""
        self._burial = asyncio.Lock()
        """Nobody is started while it is held: first it must be clear what the dead one kept."""
        self._unkept_since: list[float] = []
        """Since when the exporter cannot keep what it is shown, for each reason for that (ComfyUI's clock)."""
        self._marks = set[int]()
        self._marks_at = float("-inf")
        self._ready_ms: float | None = None
        """When the exporter that runs was first seen ready."""
        self._over = False

    @property
    def jobs(self) -> int:
        """How many were submitted."""
        return len(self._ledger.runs)

    # The course of it

    async def begin(self) -> None:
        """Let there be some jobs, an exporter, and a scrape before anything is counted."""
        await self._users.submit(FIRST_JOBS)
        await self._until("was the first queue empty", self._idle)
        self.exporter.start()
        await self._until("was the exporter ready", self.exporter.ready)
        self._ledger.first_look_kept()
        await asyncio.to_thread(self.prometheus.wait_for, "comfyui_jobs_total")

    async def live(self) -> None:
        """All that the plan has."""
        try:
            async with asyncio.TaskGroup() as group:
                busy = [group.create_task(self._fate()), group.create_task(self._director())]
                users = group.create_task(self._users_submit())
                manager = group.create_task(self._service_manager())
                await asyncio.gather(*busy)
                self._over = True
                await users
                manager.cancel()
        finally:
            await asyncio.to_thread(self.store.give_back)

    async def settle(self) -> Verdict:
        """Wait until what is reported is true and stays so for ten polls, and say how it is then."""
        self.exporter.start()
        await self._until("was the queue empty", self._idle)
        await self._until("was the exporter ready", self.exporter.ready)
        deadline = asyncio.get_running_loop().time() + self.plan.patience_s
        polls, true_since = self._ledger.requests["prompt"], None
        while True:
            at_poll, verdict = polls.count, await self._judge()
            if not verdict.true:
                true_since = None
            elif true_since is None:
                true_since = at_poll
            elif at_poll >= true_since + 10:
                return verdict
            if asyncio.get_running_loop().time() > deadline:
                verdict.metrics += [] if true_since is None else ["it never stood still"]
                return verdict
            await asyncio.sleep(0.5)

    async def _judge(self) -> Verdict:
        reported = await scrape(f"{self.exporter.url}/metrics")
        rows = await self.exporter.jobs()
        return judge(self.journal, reported, rows, await asyncio.to_thread(lasting_series, self.prometheus))

    # Who acts

    async def _users_submit(self) -> None:
        """So many jobs a kill that they come out even."""
        plan, happened = self.plan, self.happened
        while self.jobs < plan.jobs or not self._over:
            share = 1.0 if self._over else (happened.kills + 1) / (plan.kills + 1)
            behind = self.jobs < plan.jobs * share
            await self._users.submit(self._rng.choice((1, 3, 10, 20)) if behind else 1)
            # It is never quite still.
            await asyncio.sleep(self._rng.uniform(0.0, 0.25 if behind else 0.5))

    async def _service_manager(self) -> None:
        """Keep it running, as systemd would with a short RestartSec."""
        pause = 0.0
        while True:
            if not self.exporter.alive:
                await asyncio.sleep(pause)
                self._ready_ms = None
                async with self._burial:
                    self.journal.note("exporter starts")
                    self.exporter.start()
                pause = self._rng.uniform(0.0, self.plan.longest_pause_s)
            elif self._ready_ms is None and await self.exporter.ready() and self.exporter.alive:
                self._ready_ms = self._comfy.now()
                self.journal.note("exporter is ready")
            await asyncio.sleep(0.03)

    async def _fate(self) -> None:
        """Kill it at any instant: as it starts, as it works, as the store is away and as ComfyUI is."""
        while self.happened.kills < self.plan.kills:
            await self._until("was the exporter started again", self._alive)
            if self._rng.random() < 0.3:
                await asyncio.sleep(self._rng.uniform(0.0, 1.0))
            else:
                # Soon after it has begun to watch most goes on: it takes up what happened meanwhile.
                await self._until("was the exporter ready", self._ready_now)
                bound = self._rng.choice((0.3, 1.0, self.plan.longest_life_s))
                await asyncio.sleep(self._rng.uniform(0.0, bound))
            await self._kill_now()

    async def _kill_now(self) -> None:
        async with self._mercy, self._burial:
            await self._kill()

    async def _kill(self) -> None:
        happened = self.happened
        if not self.exporter.alive:
            return
        happened.kills += 1
        happened.kills_before_ready += self._ready_ms is None
        happened.kills_while_down += not self._comfy.alive
        happened.kills_while_away += bool(self._unkept_since)
        self.exporter.kill()
        self._ready_ms = None
        # What was on its way to the dead is not shown to anybody.
        await self._until("were its connections gone", self._nobody_connected)
        self._ledger.observer_died(self._kept_until(), _kept(self._ledger, await asyncio.to_thread(self.store.left)))
        self.journal.note(f"KILL {happened.kills}")

    async def _director(self) -> None:
        """Spread what else happens over the life, in an order that differs from seed to seed."""
        plan = self.plan
        acts: list[Callable[[], Awaitable[None]]] = [
            *[self._crash] * plan.restarts,
            *[self._clear_history] * plan.clears,
            *[self._store_goes] * plan.outages,
        ]
        self._rng.shuffle(acts)
        for number, act in enumerate(acts):
            due = plan.kills * (number + 0.5) / len(acts)
            while self.happened.kills < due:  # noqa: ASYNC110 - fate is not in a hurry
                await asyncio.sleep(0.05)
            await act()

    async def _crash(self) -> None:
        """ComfyUI dies with all its jobs, and is back in a while; the exporter may be dead or alive."""
        await self._catching_up()
        await self._until("was an end of this ComfyUI known for good", self._an_end_is_kept)
        self._unkept_since.append(self._comfy.now() - self.plan.keeping_ms)
        when_to_kill = self._rng.choice(("before", "meanwhile", "never", "never"))
        if when_to_kill == "before":
            await self._kill_now()
        self.journal.note("CRASH")
        # Until an end of the new process is known, an exporter that comes anew tells it by the jobs that wait in it.
        self._users.queue_may_vanish = self._users.history_may_vanish = False
        await self.simulation.kill()
        down_s = self._rng.choice((0.0, 0.3, 1.0))
        await asyncio.sleep(down_s / 2)
        if when_to_kill == "meanwhile":
            await self._kill_now()
        await asyncio.sleep(down_s / 2)
        await self.simulation.restart()
        self.journal.note("back")
        await self._until("was the restart counted", self._restart_counted)
        await self._until("was an end of the new ComfyUI known for good", self._an_end_is_kept)
        self._users.queue_may_vanish = self._users.history_may_vanish = True
        # What was read meanwhile is told only now that it is clear which process said it.
        await asyncio.sleep(_TELLING_S)
        self._unkept_since.pop()
        self.happened.restarts += 1

    async def _clear_history(self) -> None:
        """With an exporter that is there and stays until it has seen another end: else it must believe in a restart."""
        async with self._mercy:
            await self._until("was it ready", self._ready_now)
            await self._until("had it seen an end", self._an_end_was_seen_since_ready)
            await self._catching_up()
            self.journal.note("history cleared")
            self._comfy.clear_history()
            await self._until("was an end known after the history was cleared", self._an_end_is_kept)
        self.happened.clears += 1

    async def _store_goes(self) -> None:
        """What the exporter is shown until the store is back is lost if it dies meanwhile."""
        self._unkept_since.append(self._comfy.now() - self.plan.keeping_ms)
        self.journal.note(f"{self.store.name} goes away")
        await asyncio.to_thread(self.store.take_away)
        try:
            await asyncio.sleep(self._rng.uniform(0.3, 0.5) * self.plan.outage_s)
            self.happened.outages_noticed += not await self._all_kept()
            if self._rng.random() < 0.5:
                await self._kill_now()
            await asyncio.sleep(self._rng.uniform(0.3, 0.5) * self.plan.outage_s)
        finally:
            await asyncio.to_thread(self.store.give_back)
        self.journal.note(f"{self.store.name} is back")
        async with self._mercy:
            await self._until("was the store in use again", self._all_kept)
            await asyncio.sleep(_TELLING_S)
            self._unkept_since.pop()
        self.happened.outages += 1

    # What is so

    def _kept_until(self) -> float:
        """What was shown until then was surely kept, whenever the exporter dies."""
        return min([self._comfy.now() - self.plan.keeping_ms, *self._unkept_since])

    def _may_be_the_mark(self, run: Run) -> bool:
        """Whether it may be the newest end that the exporter, or the next one, knows."""
        if run.entry_shown_ms is None:
            # Where nobody could look into the store, a dead exporter may have kept it.
            return any("shown_entry" in signs for signs in run.doubts)
        kept_until = self._kept_until()
        if run.entry_shown_ms >= kept_until:
            return True
        if kept_until > self._marks_at + _MARKS_HOLD_MS or kept_until < self._marks_at:
            known = [
                other
                for other in self._ledger.runs[-_LATELY:]
                if other.entry_shown_ms is not None and other.entry_shown_ms < kept_until
            ]
            known.sort(key=lambda other: other.started_ms or 0)
            self._marks, self._marks_at = {other.serial for other in known[-100:]}, kept_until
        return run.serial in self._marks

    async def _alive(self) -> bool:
        return self.exporter.alive

    async def _ready_now(self) -> bool:
        return self._ready_ms is not None

    async def _idle(self) -> bool:
        return self._comfy.alive and self._comfy.queue_remaining == 0

    async def _nobody_connected(self) -> bool:
        return not self.simulation.clients

    async def _an_end_is_kept(self) -> bool:
        """Whether the store has an end that ComfyUI has too: the next exporter can tell by it that it is the same."""
        standing = {
            (run.prompt_id, run.number): run
            for run in self._ledger.runs
            if run.epoch == self._ledger.restarts and run.place == "history" and run.entry_shown_ms is not None
        }
        rows = await asyncio.to_thread(self.store.rows)
        if rows is None:  # then it must be long enough ago
            return any((run.entry_shown_ms or 0) < self._kept_until() for run in standing.values())
        return any(row.has_entry and (row.prompt_id, row.number) in standing for row in rows)

    async def _an_end_was_seen_since_ready(self) -> bool:
        ready = self._ready_ms
        return ready is not None and any((run.entry_shown_ms or 0) > ready for run in self._ledger.runs[-_LATELY:])

    async def _restart_counted(self) -> bool:
        with suppress(OSError, asyncio.TimeoutError, ValueError):
            return (await scrape(f"{self.exporter.url}/metrics")).restarts == self._ledger.restarts
        return False

    async def _all_kept(self) -> bool:
        answer = await self.exporter.get("/metrics")
        if answer is None or not await self.exporter.ready():
            return False
        lines = dict(line.rsplit(" ", 1) for line in answer[1].splitlines() if line and not line.startswith("#"))
        waiting = ("comfyui_exporter_store_degraded", "comfyui_exporter_store_buffered_jobs")
        return all(float(lines.get(name, 0)) == 0 for name in waiting)

    async def _catching_up(self) -> None:
        """Mostly let the exporter come after first: of what it has not read yet, it could tell nothing afterwards."""
        if self._rng.random() < 0.25:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_CATCHING_UP_S):
                while sum(run.place == "history" and run.entry_shown_ms is None for run in self._ledger.runs) > 5:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)

    async def _until(self, what: str, holds: Callable[[], Awaitable[bool]]) -> None:
        try:
            async with asyncio.timeout(self.plan.patience_s):
                while not await holds():  # noqa: ASYNC110 - of another process, which tells nobody
                    await asyncio.sleep(0.03)
        except TimeoutError:
            msg = f"never {what}; the exporter says:\n{self.exporter.log_tail()}"
            raise StuckError(msg) from None


def _kept(ledger: Ledger, left: Sequence[Row] | None) -> Callable[[Run], Collection[Sign] | None]:
    """What a dead exporter had kept of a run, by what it left in the store."""
    rows: dict[tuple[str, float], list[Row]] = defaultdict(list)
    for row in left or ():
        rows[row.prompt_id, row.number].append(row)
    runs = Counter((run.prompt_id, run.number) for run in ledger.runs)

    def kept(run: Run) -> Collection[Sign] | None:
        key = (run.prompt_id, run.number)
        if left is None or runs[key] > 1:
            return None  # of twins nobody can say which is which
        signs = set[Sign]()
        for row in rows[key]:
            signs |= {"shown_entry", "shown_by_id"} if row.has_entry else {"shown_pending"}
            if row.seen_running:
                signs.add("shown_running")
        return signs

    return kept


class StuckError(Exception):
    """Something that must happen did not."""


@asynccontextmanager
async def story(plan: Plan, store: Store, folder: Path, scrape_ms: int = 250) -> AsyncIterator[Story]:
    """All the processes, and their end whatever happens."""
    with pytest.MonkeyPatch.context() as patch:
        async with Simulation(speed=SPEED, seed=plan.seed, failure_rate=0.1) as simulation:
            exporter = ExporterProcess(settings_for(simulation.url), store.url, folder, HASTE)
            with PrometheusServer([exporter.address], interval_ms=scrape_ms) as prometheus:
                journal = Journal(simulation.ledger, patch)
                try:
                    yield Story(plan, simulation, journal, exporter, store, prometheus)
                finally:
                    exporter.kill()


def settings_for(url: str) -> dict[str, object]:
    """The configuration: short waits, and job types that are known from the start, so that each counter begins at 0."""
    return {
        "poll_interval": "100ms",
        "request_timeout": "1s",
        "job_grace": "1s",
        "servers": [{"name": SERVER, "url": url}],
        "job_types": [{"job_type": kind, "node_types": [f"NoSuchNodeFor{kind}"]} for kind in KINDS],
    }


def told(happened: Happened, exits: Sequence[str]) -> str:
    """In one line."""
    return (
        f"{happened.kills} kills of the exporter ({happened.kills_before_ready} before it was ready, "
        f"{happened.kills_while_down} while ComfyUI was down, {happened.kills_while_away} while what it was shown "
        f"could not be kept), {happened.restarts} restarts of ComfyUI, {happened.clears} cleared histories, the store "
        f"away {happened.outages} times ({happened.outages_noticed} noticed), {len(exits)} exits of its own"
    )
