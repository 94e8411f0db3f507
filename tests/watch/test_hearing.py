"""What the watcher makes of events between its reads."""

from __future__ import annotations

import pytest

from comfyui_exporter.tracker.runs import Run, State
from comfyui_exporter.tracker.transitions import Started
from watch.in_memory import World

TWICE = "00000000-0000-4000-8000-00000000000a"


def watched(*, bridged: bool = True) -> World:
    """A watched ComfyUI that is idle, with an open socket."""
    world = World(bridged=bridged)
    world.open_socket()
    world.poll()
    return world


def run_one(world: World, **body: object) -> None:
    world.submit(**body)
    run_next(world)


def run_next(world: World) -> None:
    world.comfy.start_next()
    step(world)
    world.comfy.finish()


def step(world: World) -> None:
    execution = world.comfy.execution
    assert execution is not None
    execution.start_node("1")
    execution.announce("1")


def run_named(world: World, prompt_id: str) -> Run:
    return next(run for run in world.tracker.open_runs if run.prompt_id == prompt_id)


@pytest.mark.parametrize("client_id", [None, "browser"])
def test_an_event_shows_which_job_runs_without_a_read(client_id: str | None) -> None:
    world = watched()
    body = {} if client_id is None else {"client_id": client_id}
    world.submit(**body)
    world.submit(**body, prompt_id=TWICE, front=True)
    world.settle(1)
    reads = len(world.source.routes)
    world.comfy.start_next()
    step(world)
    world.deliver_frames()
    assert len(world.source.routes) == reads
    run = run_named(world, TWICE)
    assert (run.state, run.heard_at is not None) == (State.PROCESSING, True)
    assert run.progress.node is not None
    assert run.progress.node.node_id == "1"


def test_what_is_sent_to_the_submitter_alone_is_not_heard() -> None:
    world = watched(bridged=False)
    world.submit(client_id="browser")
    world.settle(1)
    world.comfy.start_next()
    step(world)
    world.deliver_frames()
    (run,) = world.tracker.open_runs
    assert (run.heard_at, run.progress.estimated) == (None, True)


def test_a_reused_id_in_its_old_place_is_found_by_the_name_that_was_heard() -> None:
    world = watched()
    run_one(world, prompt_id=TWICE)
    run_one(world)
    world.settle(3)
    run_one(world, prompt_id=TWICE)
    world.settle(3)
    assert [run.prompt_id for run in world.ended()].count(TWICE) == 2
    assert list(world.tracker.open_runs) == []


def test_what_is_heard_while_a_lost_connection_is_not_looked_into_waits_for_that() -> None:
    world = watched()
    world.submit()
    world.comfy.start_next()
    world.settle(1)
    world.close_socket()
    world.open_socket()
    step(world)
    before = [run.progress for run in world.tracker.open_runs]
    world.deliver_frames()
    assert [run.progress for run in world.tracker.open_runs] == before
    world.settle(1)
    (run,) = world.tracker.open_runs
    assert run.heard_at is not None
    assert run.progress.node is not None
    assert world.restarts == 0


def test_events_start_a_job_once() -> None:
    world = watched()
    world.submit()
    world.settle(1)
    world.comfy.start_next()
    step(world)
    world.settle(3)
    assert sum(isinstance(change, Started) for change in world.changes) == 1


def test_what_was_read_to_tell_a_restart_counts_although_the_server_dies_right_after() -> None:
    world = World()
    world.submit(prompt_id="")  # an id that cannot be asked for, so the tail of the history is read
    world.open_socket()
    for _ in range(3):
        world.submit()
    run_next(world)
    world.deliver_frames()
    world.poll(ask=False)
    world.close_socket()
    for _ in range(2):
        run_next(world)
    world.now += 0.1
    world.poll(ask=False)
    world.die()
    world.comfy.restart()
    world.settle()
    assert [run.state for run in world.ended()] == [State.COMPLETED, State.COMPLETED, State.LOST]


def test_a_reused_id_that_ended_before_the_first_look_is_not_counted_for_being_heard() -> None:
    world = World()
    world.open_socket()
    for body in ({"prompt_id": TWICE}, {}, {"prompt_id": TWICE, "front": True}):
        run_one(world, **body)
    world.settle()
    assert world.ended() == []


def test_the_end_of_an_open_run_in_a_tail_read_for_its_mark_proves_the_same_process() -> None:
    world = World(history_size=4)
    world.submit(prompt_id="")
    world.open_socket()
    world.submit()
    world.comfy.start_next()
    world.comfy.finish()
    world.submit(prompt_id="a/../b")
    world.deliver_frames()
    world.poll(ask=False)
    for _ in range(5):
        world.submit()
        world.comfy.start_next()
        world.comfy.finish()
    world.close_socket()
    # The mark was pushed out of the short history, and what remains of it is cleared right after it was read.
    world.source.before_read.extend([lambda: None, world.comfy.clear_history])
    world.poll(ask=False)
    world.settle()
    assert world.restarts == 0
    ends = [run.prompt_id for run in world.ended()]
    assert ends.count("a/../b") == 1
