"""Which reads the poller makes, and which it saves."""

from __future__ import annotations

from collections import Counter

import pytest

from comfyui_exporter.watch.budget import ReadBudget
from watch.in_memory import World


def settled_world(profile: str = "0.3.64", history: int = 0, pending: int = 0, graph_bytes: int = 0) -> World:
    """A watcher with an open socket that knows all there is."""
    world = World(profile, graph_bytes=graph_bytes)
    for _ in range(history):
        world.submit()
        world.comfy.start_next()
        world.comfy.finish()
    for _ in range(pending):
        world.submit()
    if pending:
        world.comfy.start_next()
    world.open_socket()
    world.settle(6)
    forget_reads(world)
    return world


def forget_reads(world: World) -> None:
    world.source.routes.clear()
    world.source.received.clear()
    world.changes.clear()


def frame(world: World) -> None:
    """A status frame comes in and is acted upon at once."""
    world.deliver_frames()
    world.poll(ask=False)


def test_an_idle_server_with_an_open_socket_is_only_asked_for_its_number() -> None:
    world = settled_world(history=5)
    for _ in range(30):
        world.now += 2
        world.poll()
    assert world.source.routes == ["/prompt"] * 30
    assert sum(world.source.received.values()) == 30 * 37


def test_the_end_of_the_running_job_is_one_read_of_one_entry() -> None:
    world = settled_world(pending=10)
    world.comfy.finish()
    world.comfy.start_next()
    frame(world)
    assert world.source.routes == ["/history/{id}"]
    assert [run.state.value for run in world.ended()] == ["completed"]


def test_a_chain_of_ends_needs_no_look_at_the_queue() -> None:
    world = settled_world(pending=20)
    for _ in range(10):
        world.comfy.finish()
        world.comfy.start_next()
        frame(world)
        world.now += 6
        world.poll()
    assert len(world.ended()) == 10
    assert world.source.routes.count("/history/{id}") == 10
    assert "/queue" not in world.source.routes
    assert "/history" not in world.source.routes


def test_an_end_does_not_wait_for_the_budget_of_a_deep_queue() -> None:
    world = settled_world(pending=10)
    world.submit()
    frame(world)  # the queue is read, which uses up the budget
    assert "/queue" in world.source.routes
    forget_reads(world)
    world.comfy.finish()
    frame(world)
    assert world.source.routes == ["/history/{id}"]
    assert len(world.ended()) == 1


def test_a_new_submission_waits_for_the_budget() -> None:
    world = settled_world(pending=10)
    for _ in range(5):
        world.submit()
        frame(world)
    assert world.source.routes.count("/queue") == 1
    world.now += 60
    world.poll()
    assert world.source.routes.count("/queue") == 2
    assert len(world.submitted()) == 5


def test_a_job_that_came_and_went_unseen_is_found_as_the_newest_entry() -> None:
    world = settled_world(history=3)
    world.submit()
    world.comfy.start_next()
    world.comfy.finish()
    frame(world)
    assert [run.state.value for run in world.ended()] == ["completed"]
    assert world.source.routes[0] == "/history"


def test_a_deletion_is_found_in_the_queue() -> None:
    world = settled_world(pending=4)
    victim = next(run for run in world.comfy.ledger.runs if run.place == "pending")
    world.comfy.delete_pending([victim.prompt_id])
    frame(world)
    assert "/queue" in world.source.routes
    world.settle(4)
    assert [(run.prompt_id, run.state.value) for run in world.ended()] == [(victim.prompt_id, "cancelled")]


def test_without_the_socket_the_newest_entry_is_compared_in_every_cycle() -> None:
    world = settled_world(history=3)
    world.close_socket()
    world.settle(2)
    forget_reads(world)
    for _ in range(5):
        world.now += 2
        world.poll()
    assert world.source.routes == ["/prompt", "/history"] * 5


def test_without_the_socket_one_in_and_one_out_is_noticed() -> None:
    world = settled_world(pending=2)
    world.close_socket()
    world.settle(2)
    world.comfy.finish()
    world.submit()
    world.comfy.start_next()
    world.now += 2
    forget_reads(world)
    world.poll()
    world.now += 60
    world.poll()
    assert len(world.ended()) == 1
    assert len(world.submitted()) == 1


def test_catching_up_reads_small_pages_and_never_the_whole_history() -> None:
    world = settled_world(history=3)
    world.close_socket()
    for _ in range(300):
        world.submit()
        world.comfy.start_next()
        world.comfy.finish()
    largest = 0
    for _ in range(60):
        world.now += 20
        before = world.source.received.get("/history", 0)
        world.poll()
        largest = max(largest, world.source.received.get("/history", 0) - before)
    assert len(world.ended()) == 300
    entry = len(str(world.comfy.history(1).body))
    assert largest < 80 * entry


def test_the_first_look_reads_one_entry_of_a_long_history() -> None:
    world = World()
    for _ in range(200):
        world.submit()
        world.comfy.start_next()
        world.comfy.finish()
    world.open_socket()
    world.settle(3)
    assert world.ended() == []
    assert world.source.received["/history"] < 6 * len(str(world.comfy.history(1).body))


def test_a_socket_that_is_open_but_deaf_hides_nothing() -> None:
    world = settled_world(history=3, pending=2)
    for _ in range(4):
        world.comfy.finish()  # one that we know ends, one that we don't comes and goes
        world.submit(front=True)
        world.comfy.start_next()
        world.comfy.finish()
        world.comfy.start_next()
        world.submit()
        world.submit()
        world.frames.clear()
        world.now += 20
        world.poll()
    world.frames.clear()
    world.settle(4)
    assert len(world.ended()) == 8


def test_a_restart_is_noticed_by_a_history_that_knows_nothing_of_ours() -> None:
    world = settled_world(history=2, pending=3)
    world.die()
    assert not world.poll()
    world.comfy.restart()
    world.settle(6)
    assert world.restarts == 1
    assert {run.state.value for run in world.ended()} == {"lost"}
    assert len(world.ended()) == 3


def test_a_lost_connection_alone_is_no_restart() -> None:
    world = settled_world(history=2, pending=3)
    for _ in range(5):
        world.close_socket()
        world.signals.connection_broke()
        world.settle(1)
        world.open_socket()
        world.settle(1)
    assert world.restarts == 0
    assert world.ended() == []


def test_a_deleted_newest_entry_and_a_lost_connection_are_no_restart() -> None:
    world = settled_world()
    for _ in range(2):
        world.submit()
        world.comfy.start_next()
        world.comfy.finish()
        world.settle(3)
    world.comfy.delete_history([world.ended()[-1].prompt_id])
    world.close_socket()
    world.settle(3)
    assert world.restarts == 0
    assert len(world.ended()) == 2


def test_a_cleared_history_with_an_open_socket_is_no_restart() -> None:
    world = settled_world(history=5)
    world.comfy.clear_history()
    world.settle(3)
    assert world.restarts == 0


def test_a_restart_of_a_server_that_had_done_nothing_is_known_by_the_refused_connection() -> None:
    world = settled_world()
    world.die()
    world.poll()
    world.comfy.restart()
    world.settle(2)
    assert world.restarts == 1


def test_a_restart_is_not_concluded_before_the_server_answers_again() -> None:
    world = settled_world()
    world.die()
    for _ in range(3):
        assert not world.poll()
        assert not world.poll(ask=False)
    assert world.restarts == 0
    world.comfy.restart()
    world.settle(2)
    assert world.restarts == 1


def test_a_newest_entry_that_cannot_be_asked_for_is_recognised_all_the_same() -> None:
    world = settled_world()
    world.submit(prompt_id="")
    world.comfy.start_next()
    world.comfy.finish()
    world.settle(2)
    world.close_socket()
    world.settle(2)
    assert world.restarts == 0
    assert [run.state.value for run in world.ended()] == ["completed"]


def test_the_end_of_a_job_that_cannot_be_asked_for_is_recognised_all_the_same() -> None:
    world = World()
    world.settle(1)
    world.submit(prompt_id="")
    world.settle(1)
    world.comfy.start_next()
    world.comfy.finish()
    world.signals.connection_broke()
    world.settle(3)
    assert world.restarts == 0
    assert [run.state.value for run in world.ended()] == ["completed"]


def test_newer_comfyuis_are_asked_for_the_list_and_the_new_job_alone() -> None:
    world = settled_world("0.38", pending=30, graph_bytes=30_000)
    for _ in range(3):
        world.submit(extra_data={"job_type": "video", "job_id": 7})
        world.now += 10
        frame(world)
    assert "/queue" not in world.source.routes
    assert world.source.routes.count("/api/jobs/{id}") == 3
    assert {(run.details.job_type, run.details.job_id) for run in world.submitted()} == {("video", 7)}


def test_the_list_of_jobs_does_not_wait_for_what_the_whole_queue_cost() -> None:
    world = World("0.38", graph_bytes=30_000)
    for _ in range(30):
        world.submit()
    world.comfy.start_next()
    world.open_socket()
    world.poll()  # the first look reads the whole queue, since everything in it is new
    assert "/queue" in world.source.routes
    world.submit()
    world.now += 0.1
    frame(world)
    assert len(world.submitted()) == 31


def test_a_listed_job_whose_details_cannot_be_read_is_counted_all_the_same() -> None:
    world = settled_world("0.38", pending=30, graph_bytes=30_000)
    world.submit(extra_data={"job_type": "video"})
    world.deliver_frames()
    world.source.failing.extend([False, True])
    world.poll(ask=False)
    assert world.source.routes == ["/api/jobs", "/api/jobs/{id}"]
    assert world.submitted() == []
    world.comfy.clear_pending()
    world.settle(4)
    listed = [run for run in world.submitted() if run.number == 30]
    assert [run.details.job_type for run in listed] == ["unknown"]
    assert Counter(run.state.value for run in world.ended()) == {"cancelled": 30}


def test_details_that_failed_once_are_asked_for_again() -> None:
    world = settled_world("0.38", pending=30, graph_bytes=30_000)
    world.submit(extra_data={"job_type": "video"})
    world.deliver_frames()
    world.source.failing.extend([False, True])
    world.poll(ask=False)
    world.now += 2
    world.poll()
    assert [run.details.job_type for run in world.submitted()] == ["video"]
    assert "/queue" not in world.source.routes


def test_a_job_that_ends_before_its_details_were_read_gets_them_from_the_history() -> None:
    world = settled_world("0.38", pending=30, graph_bytes=30_000)
    world.submit(front=True, extra_data={"job_type": "video"})
    world.deliver_frames()
    world.source.failing.extend([False, True])
    world.poll(ask=False)
    world.comfy.finish()
    world.comfy.start_next()
    world.comfy.finish()
    world.settle(3)
    assert [run.details.job_type for run in world.submitted()] == ["video"]
    assert Counter(run.details.job_type for run in world.ended()) == {"video": 1, "unknown": 1}


def test_a_list_with_too_many_new_jobs_is_taken_in_before_the_queue_is_read() -> None:
    world = World("0.38", graph_bytes=30_000)
    for _ in range(10):
        world.submit()
    world.comfy.start_next()
    world.open_socket()
    world.settle(3)
    world.poll()
    for _ in range(40):
        world.submit()
    world.deliver_frames(1)  # one more is heard of, so the list seems cheap
    world.poll(ask=False)
    world.comfy.clear_pending()
    world.settle(4)
    assert len(world.submitted()) == 50


@pytest.mark.parametrize("profile", ["0.3.64", "0.8.0"])
def test_an_api_jobs_that_is_no_help_does_not_let_the_queue_be_read_too_soon(profile: str) -> None:
    world = World(profile, graph_bytes=30_000)
    for _ in range(30):
        world.submit()
    world.comfy.start_next()
    world.open_socket()
    world.poll()
    world.submit()
    world.now += 0.1
    frame(world)
    assert world.source.routes.count("/queue") == 1
    world.now += 10
    world.poll()
    assert world.source.routes.count("/queue") == 2
    assert len(world.submitted()) == 31


@pytest.mark.parametrize("profile", ["0.3.64", "0.8.0"])
def test_where_api_jobs_is_absent_or_tells_no_workflow_the_queue_is_read(profile: str) -> None:
    world = settled_world(profile, pending=30, graph_bytes=30_000)
    world.submit(extra_data={"job_type": "video"})
    world.now += 60
    frame(world)
    world.now += 2
    world.poll()
    assert "/queue" in world.source.routes
    assert [run.details.job_type for run in world.submitted()] == ["video"]


@pytest.mark.parametrize(("size", "wait"), [(15_000_000, 75.5), (300_000, 2.0), (42, 0.5002)])
def test_an_expensive_read_waits_five_hundred_times_its_cost(size: int, wait: float) -> None:
    budget = ReadBudget()
    assert budget.ready(100.0)
    budget.charge(100.0, size)
    assert not budget.ready(100.0 + wait - 0.001)
    assert budget.ready(100.0 + wait + 0.001)
