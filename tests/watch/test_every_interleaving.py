"""Whatever ComfyUI does and however the reads fall in between, each job is counted once and as what it was."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from comfyui_exporter.simulator.execution import COMPLETED, INTERRUPTED, Execution, Outcome
from comfyui_exporter.simulator.expectation import Expectation, expect
from comfyui_exporter.tracker.progress import NEARLY
from watch.in_memory import World

Key = tuple[str, float]

TWICE = ("00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b")
IDS = st.sampled_from([None, None, None, *TWICE, "", "a/../b"])
NUMBERS = st.sampled_from([None, None, None, None, -1.0, 3.0, 7.5])
CLIENTS = st.sampled_from([None, "browser"])
ACTIONS = (
    "submit",
    "submit_of_client",
    "start",
    "step",
    "finish",
    "fail",
    "interrupt",
    "delete",
    "clear",
    "delete_history",
    "clear_history",
)


class Interleaving(RuleBasedStateMachine):
    """ComfyUI acts, the watcher polls, and frames arrive up to one cycle late."""

    @initialize(
        profile=st.sampled_from(["0.3.64", "0.8.0", "0.38"]),
        history_size=st.sampled_from([4, 10_000]),
        before=st.integers(0, 6),
        bridged=st.booleans(),
    )
    def begin(self, profile: str, history_size: int, before: int, bridged: bool) -> None:
        self.world = World(profile, history_size, bridged=bridged)
        self.late_frames = 0
        self.percents: dict[str, float] = {}
        for _ in range(before):
            self.world.submit()
            self.world.comfy.start_next()
            self.world.comfy.finish()

    # What ComfyUI does

    def act(
        self,
        action: str,
        prompt_id: str | None = None,
        number: float | None = None,
        front: bool = False,
        client_id: str | None = None,
    ) -> None:
        comfy = self.world.comfy
        if not comfy.alive:
            return
        match action:
            case "submit" | "submit_of_client":
                if self.world.restarts < comfy.ledger.restarts:
                    # Numbers begin anew, so an id that is sent again before we look would pass for the job of before.
                    prompt_id = None
                client_id = "browser" if action == "submit_of_client" else client_id
                body = {"prompt_id": prompt_id, "number": number, "front": front or None, "client_id": client_id}
                self.world.submit(**{key: value for key, value in body.items() if value is not None})
            case "start":
                comfy.start_next()
            case "step" if comfy.execution is not None:
                _take_a_step(comfy.execution)
            case "finish" | "fail" | "interrupt" if comfy.execution is not None:
                outcome: Outcome = INTERRUPTED if action == "interrupt" else COMPLETED
                comfy.finish(outcome)
            case "delete":
                pending = [run for run in comfy.ledger.runs if run.place == "pending"]
                with suppress(TypeError):  # ComfyUI's heap cannot compare twins, and answers 500
                    comfy.delete_pending([run.prompt_id for run in pending[-1:]])
            case "clear":
                comfy.clear_pending()
            case "delete_history":
                standing = [run for run in comfy.ledger.runs if run.place == "history"]
                comfy.delete_history([run.prompt_id for run in standing[-1:]])
            case "clear_history":
                comfy.clear_history()
            case _:
                pass

    @rule(prompt_id=IDS, number=NUMBERS, front=st.booleans(), client_id=CLIENTS)
    def submit(self, prompt_id: str | None, number: float | None, front: bool, client_id: str | None) -> None:
        self.act("submit", prompt_id, number, front, client_id)

    @rule(action=st.sampled_from(ACTIONS[2:]))
    def something_happens(self, action: str) -> None:
        self.act(action)

    @rule(times=st.integers(1, 8))
    def jobs_come_and_go(self, times: int) -> None:
        for _ in range(times):
            for action in ("submit", "start", "step", "finish"):
                self.act(action)

    @rule(up_at_once=st.booleans())
    def it_dies(self, up_at_once: bool) -> None:
        if not self.world.poller.looked:
            return  # to us, a server begins with our first look
        self.world.die()
        if up_at_once:
            self.world.comfy.restart()

    @precondition(lambda self: not self.world.comfy.alive)
    @rule()
    def it_comes_back(self) -> None:
        self.world.comfy.restart()

    # What we do

    @rule()
    def the_socket_opens(self) -> None:
        self.world.open_socket()

    @rule()
    def the_socket_closes(self) -> None:
        self.world.close_socket()

    @rule(
        between=st.lists(st.lists(st.sampled_from(ACTIONS), max_size=3), max_size=6),
        failing=st.lists(st.booleans(), max_size=3),
        ask=st.booleans(),
        frames=st.one_of(st.none(), st.integers(0, 3)),
        wait=st.sampled_from([0.1, 2.0, 2.0, 40.0]),
    )
    def poll(
        self, between: Sequence[Sequence[str]], failing: list[bool], ask: bool, frames: int | None, wait: float
    ) -> None:
        world = self.world
        world.deliver_frames(self.late_frames)
        self.late_frames = len(world.frames)
        world.deliver_frames(frames)
        self.late_frames = min(self.late_frames, len(world.frames))
        world.now += wait
        world.source.before_read.extend(self._all(actions) for actions in between)
        world.source.failing.extend(failing)
        world.poll(ask=ask)
        world.source.before_read.clear()
        world.source.failing.clear()

    def _all(self, actions: Sequence[str]) -> Callable[[], None]:
        def act() -> None:
            for action in actions:
                self.act(action)

        return act

    # What must hold

    @invariant()
    def nothing_is_counted_twice(self) -> None:
        submissions = Counter(run.run_id for run in self.world.submitted())
        ends = Counter(run.run_id for run in self.world.ended())
        assert all(count == 1 for count in (*submissions.values(), *ends.values()))
        assert set(ends) <= set(submissions)
        for run in self.world.ended():
            assert run.duration is None or run.duration >= 0
            assert run.queue_wait is None or run.queue_wait >= 0

    @invariant()
    def progress_never_goes_backwards_nor_reaches_the_end(self) -> None:
        for run in self.world.tracker.open_runs:
            assert self.percents.get(run.run_id, 0.0) <= run.progress.percent <= NEARLY
            self.percents[run.run_id] = run.progress.percent

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        if not world.comfy.alive:
            world.comfy.restart()
        world.settle()
        check_against_ledger(world)


def _take_a_step(execution: Execution) -> None:
    """The next thing that happens to a node of what runs: it starts, takes its step or is done."""
    for node_id in execution.item.graph:
        node = execution.nodes.get(node_id)
        if node is None:
            execution.start_node(node_id)
            execution.announce(node_id)
            return
        if node.state != "finished":
            if node.value < 1:
                execution.step(node_id, 1, 2)
            else:
                execution.finish_node(node_id)
            return


def check_against_ledger(world: World) -> None:
    """Every run as the ledger says that an ideal observer must report it."""
    expected: dict[Key, list[Expectation]] = defaultdict(list)
    for run in world.comfy.ledger.runs:
        expectation = expect(run, world.comfy.ledger)
        if not run.before_first_history and not expectation.unknowable:
            expected[run.prompt_id, run.number].append(expectation)
    reported: dict[Key, list[str | None]] = defaultdict(list)
    ends = {run.run_id: run.state.value for run in world.ended()}
    for run in world.submitted():
        reported[run.prompt_id, run.number].append(ends.get(run.run_id))
    for key in {*expected, *reported}:
        # A server that lost its connection and all that we knew of it counts as restarted, rightly or not: then what
        # left its queue unseen is lost instead of cancelled.
        mistaken = world.mistaken
        ends_of_key = ["cancelled" if mistaken and end == "lost" else end for end in reported[key]]
        expected_of_key = [_lenient(one) for one in expected[key]] if mistaken else expected[key]
        assert _agree(ends_of_key, expected_of_key), (key, ends_of_key, expected_of_key)


def _lenient(one: Expectation) -> Expectation:
    return replace(one, end="cancelled", accepts=("cancelled",)) if one.end == "lost" else one


def _agree(reported: list[str | None], expected: list[Expectation]) -> bool:
    if len(expected) > 1 or any(one.hidden for one in expected):
        # Twins of one prompt_id and number, of which one may never have been named: whose end an entry tells, and
        # whose entry it overwrote, nobody can say. But none may be made up.
        possible = Counter(end for one in expected for end in {one.end, *one.accepts})
        needed = any(not one.hidden for one in expected)
        return needed <= len(reported) <= len(expected) and not Counter(reported) - possible
    if len(reported) != len(expected):
        return False
    return all(end == one.end or end in one.accepts for end, one in zip(reported, expected, strict=True))


Interleaving.TestCase.settings = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "150")),
    # What runs before every commit gives the same answer twice; `make fuzz` looks further.
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestEveryInterleaving = Interleaving.TestCase
