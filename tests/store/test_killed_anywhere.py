"""Whatever ComfyUI does and whenever the exporter dies: what the store says is what happened, each job once."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from comfyui_exporter.simulator.execution import COMPLETED, INTERRUPTED
from comfyui_exporter.simulator.expectation import expect
from comfyui_exporter.tracker.transitions import Ended, ServerRestarted
from comfyui_exporter.watch.poller import Poller
from comfyui_exporter.watch.signals import Signals
from store.exporter import Exporter, Time
from watch.in_memory import World
from watch.test_every_interleaving import _agree, _lenient

TWICE = "00000000-0000-4000-8000-00000000000a"


class Mortal(World):
    """A world whose watcher commits to a store, dies, and is followed by another one.

    `changes` are those that were committed; what one of them was told and did not keep, nobody knows any more.
    """

    def __init__(self, url):
        super().__init__()
        self.url = url
        self.told = []
        self.since = self.comfy_ms
        self.looked = False
        """Whether a first look was committed: to us, a server begins with that."""
        self.comfy.ledger.now = lambda: self.comfy_ms

    @property
    def restarts(self):
        return sum(isinstance(change, ServerRestarted) for change in (*self.changes, *self.told))

    async def open(self):
        self.exporter = await Exporter(self.url, time=Time(self.now)).open()
        self.exporter.time.now = lambda: self.now
        self.exporter.time.wall = self.exporter.time.stamp = lambda at: at
        self.tracker = self.exporter.tracker()
        self.signals = Signals()
        self.source.on_reconnect = self.signals.connection_broke
        watch = self.exporter.monitor._fleet.watched["gpu0"].watch

        def emit(changes):
            self.told.extend(changes)
            watch._emit(changes)

        self.poller = Poller(self.source, self.tracker, self.signals, lambda: self.now, emit)

    async def commit(self):
        assert await self.exporter.commit()
        self.changes += self.told
        self.told.clear()
        self.looked |= self.poller.looked
        if not self.poller._teller.holds:
            self.since = self.comfy_ms + 0.5

    async def die(self):  # the exporter; ComfyUI goes on
        self.close_socket()
        self.told.clear()
        self._restarts_seen = self.restarts
        await self.exporter.crash()
        held = self.poller._teller.holds
        self.comfy.ledger.observer_died(self.since, lambda _run: None if held else ())
        self.since = self.comfy_ms + 0.5
        await self.open()
        self.source.reconnecting = False


def check_against_ledger(world):
    """Every run as the ledger says; what only an exporter was shown that kept none of it may be missing."""
    expected, reported = defaultdict(list), defaultdict(list)
    for run in world.comfy.ledger.runs:
        expectation = expect(run, world.comfy.ledger)
        if not run.before_first_history and not expectation.unknowable:
            one = replace(expectation, hidden=expectation.optional)
            expected[run.prompt_id, run.number].append(_lenient(one) if world.mistaken else one)
    ends = {run.run_id: run.state.value for run in world.ended()}
    for run in world.submitted():
        reported[run.prompt_id, run.number].append(ends.get(run.run_id))
    for key in {*expected, *reported}:
        found = ["cancelled" if world.mistaken and end == "lost" else end for end in reported[key]]
        assert _agree(found, expected[key]), (key, found, expected[key])


class KilledAnywhere(RuleBasedStateMachine):
    make_url = staticmethod(lambda: "")

    @initialize()
    def begin(self):
        self.runner = asyncio.Runner()
        self.world = Mortal(self.make_url())
        self.shown = Counter()
        self.runner.run(self.world.open())

    def act(self, action, prompt_id=None):
        comfy = self.world.comfy
        match action:
            case "submit":
                self.world.submit(**({"prompt_id": prompt_id} if prompt_id else {}))
            case "start":
                comfy.start_next()
            case "finish" | "interrupt" if comfy.execution is not None:
                comfy.finish(INTERRUPTED if action == "interrupt" else COMPLETED)
            case "delete":
                pending = [run for run in comfy.ledger.runs if run.place == "pending"]
                with suppress(TypeError):
                    comfy.delete_pending([run.prompt_id for run in pending[-1:]])
            case _:
                pass

    @rule(action=st.sampled_from(["submit", "submit", "start", "finish", "interrupt", "delete"]))
    def something_happens(self, action):
        self.act(action)

    @rule(prompt_id=st.sampled_from([TWICE]))
    def an_id_is_used_again(self, prompt_id):
        if self.world.restarts == self.world.comfy.ledger.restarts:
            self.act("submit", prompt_id)

    @rule(times=st.integers(1, 4))
    def jobs_come_and_go(self, times):
        for _ in range(times):
            for action in ("submit", "start", "finish"):
                self.act(action)

    @precondition(lambda self: self.world.looked)
    @rule()
    def comfyui_restarts(self):
        World.die(self.world)
        self.world.comfy.restart()

    @rule()
    def the_socket_opens(self):
        self.world.open_socket()

    @rule(wait=st.sampled_from([0.1, 2.0, 2.0, 40.0]))
    def poll(self, wait):
        self.world.deliver_frames()
        self.world.now += wait
        self.world.poll()

    @rule()
    def commit(self):
        self.runner.run(self.world.commit())

    @rule()
    def it_is_killed(self):
        self.runner.run(self.world.die())

    @rule()
    def it_polls_commits_and_is_killed(self):
        self.poll(2.0)
        self.commit()
        self.it_is_killed()

    @invariant()
    def what_is_shown_is_what_was_committed_and_never_falls(self):
        if not hasattr(self, "world"):
            return
        shown = Counter({key: value or 0 for key, value in self.world.exporter.counted().items()})
        assert all(shown[key] >= value for key, value in self.shown.items())
        self.shown = shown
        committed = Counter(change.run.state.value for change in self.world.changes if isinstance(change, Ended))
        assert shown == committed | Counter(submitted=len(self.world.submitted()))
        assert max(Counter(run.run_id for run in self.world.ended()).values(), default=1) == 1

    def teardown(self):
        if not hasattr(self, "world"):
            return
        try:
            for _ in range(3):
                self.world.settle(8)
                self.runner.run(self.world.commit())
            check_against_ledger(self.world)
        finally:
            self.runner.run(self.world.exporter.crash())
            self.runner.close()


@pytest.mark.parametrize(("kind", "examples"), [("sqlite", 20), ("postgresql", 4)])
def test_each_job_is_counted_once_whenever_the_exporter_is_killed(kind, examples, request, tmp_path):
    numbers = itertools.count()

    def make_url():
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / f'{next(numbers)}.db'}"
        return request.getfixturevalue("postgres").new_database()

    class Machine(KilledAnywhere):
        pass

    Machine.make_url = staticmethod(make_url)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=int(os.environ.get("FUZZ_EXAMPLES", str(examples))),
            derandomize="FUZZ_EXAMPLES" not in os.environ,
            stateful_step_count=25,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
