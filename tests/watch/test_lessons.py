"""Reading what ended before our first look, for estimates alone."""

from __future__ import annotations

import pytest

from watch.in_memory import World


def world_with(history: int, wanted: int = 200, graph_bytes: int = 0) -> World:
    """A ComfyUI with so many finished jobs, named by their place, and a watcher that never saw it."""
    world = World(lessons_wanted=wanted, graph_bytes=graph_bytes)
    for place in range(history):
        finish(world, f"old{place}")
    world.open_socket()
    return world


def finish(world: World, prompt_id: str) -> None:
    world.submit(prompt_id=prompt_id)
    world.comfy.start_next()
    world.comfy.finish()


def names(world: World) -> list[str]:
    return [run.prompt_id for run in world.recalled]


def test_the_newest_of_what_was_there_are_recalled_oldest_first() -> None:
    world = world_with(history=500)
    world.settle(80)
    recalled = names(world)
    assert recalled[-200:] == [f"old{place}" for place in range(300, 500)]
    # Where the history ends is found only nearly.
    assert 200 <= len(recalled) <= 210


@pytest.mark.parametrize("history", [1, 9, 10, 11, 150, 200, 201, 211, 400])
def test_a_history_of_any_length_is_recalled_each_job_once(history: int) -> None:
    world = world_with(history)
    world.settle(80)
    wanted = [f"old{place}" for place in range(max(0, history - 200), history)]
    assert names(world)[-len(wanted) :] == wanted
    assert len(set(names(world))) == len(world.recalled)


def test_what_is_recalled_has_what_estimates_need_and_nothing_more() -> None:
    world = world_with(history=3)
    world.settle(20)
    for run in world.recalled:
        assert run.state.value == "completed"
        assert run.duration is not None
        assert run.details.features is not None
        assert run.details.features.steps == 1
        assert run.details.graph is None
        assert run.entry is not None
        assert run.entry.outputs == ()


def test_what_is_recalled_is_never_counted() -> None:
    world = world_with(history=250)
    world.settle(80)
    assert len(world.recalled) >= 200
    assert world.submitted() == world.ended() == []


def test_what_ends_after_the_first_look_is_counted_and_not_recalled() -> None:
    world = world_with(history=30)
    world.settle(2)
    finish(world, "new")
    world.settle(30)
    assert [run.prompt_id for run in world.ended()] == ["new"]
    assert names(world) == [f"old{place}" for place in range(30)]


def test_no_lessons_wanted_no_reads_of_them() -> None:
    world = world_with(history=50, wanted=0)
    world.settle(1)
    world.source.routes.clear()
    world.settle(20)
    assert world.recalled == []
    assert "/history" not in world.source.routes


def test_an_empty_history_is_not_looked_for() -> None:
    world = world_with(history=0)
    world.settle(3)
    world.source.routes.clear()
    finish(world, "new")
    world.settle(10)
    assert world.recalled == []


def test_it_is_read_once_and_then_never_again() -> None:
    world = world_with(history=40)
    world.settle(40)
    world.source.routes.clear()
    world.settle(20)
    assert world.source.routes == ["/prompt"] * 20


def test_each_read_waits_for_the_budget() -> None:
    world = world_with(history=100, graph_bytes=30_000)
    world.settle(2)
    world.source.routes.clear()
    for _ in range(5):
        world.now += 0.1
        world.poll()
    assert "/history" not in world.source.routes
    world.now += 0.2  # an entry of 30 kB is worth 0.65 s
    world.poll()
    assert world.source.routes.count("/history") == 1


def test_a_page_is_small_enough_that_the_queue_need_not_wait_long() -> None:
    world = world_with(history=100, graph_bytes=30_000)
    sizes = []
    for _ in range(40):
        before = world.source.received.get("/history", 0)
        world.settle(1)
        sizes.append(world.source.received["/history"] - before)
    assert len(world.recalled) == 100
    assert 300_000 < max(sizes[1:]) < 400_000


def test_a_queue_that_waits_to_be_read_goes_first() -> None:
    world = world_with(history=100)
    world.settle(1)
    world.source.routes.clear()
    world.submit()
    world.comfy.start_next()
    world.settle(1)
    assert "/queue" in world.source.routes
    assert "/history" not in world.source.routes


def test_reads_that_fail_are_tried_again_three_times_in_all() -> None:
    world = world_with(history=20)
    world.settle(1)
    for _ in range(2):
        world.source.failing.extend([False, True])  # /prompt answers, the history does not
        world.now += 100
        assert world.poll()
    world.settle(10)
    assert names(world) == [f"old{place}" for place in range(20)]


def test_a_server_that_does_not_tell_its_history_is_watched_all_the_same() -> None:
    world = world_with(history=20)
    world.settle(1)
    for _ in range(3):
        world.source.failing.extend([False, True])
        world.now += 100
        assert world.poll()
    world.source.routes.clear()
    finish(world, "new")
    world.settle(10)
    assert world.recalled == []
    assert [run.prompt_id for run in world.ended()] == ["new"]


def test_a_history_that_is_cleared_meanwhile_ends_the_lesson() -> None:
    world = world_with(history=100)
    world.settle(4)
    world.comfy.clear_history()
    world.settle(30)
    world.source.routes.clear()
    world.settle(5)
    assert "/history" not in world.source.routes
