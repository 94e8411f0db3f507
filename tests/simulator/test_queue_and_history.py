"""The queue and the history: what stands where, in which order, and what removes it."""

from __future__ import annotations

import pytest

from comfyui_exporter.simulator.answer import ComfyUIDownError
from comfyui_exporter.simulator.execution import failed


def test_deleting_the_only_pending_prompt_fires_two_events_and_one_of_several_fires_one(bench):
    first, second = bench.submit(), bench.submit()
    bench.events.clear()
    bench.comfy.delete_pending([first])
    assert bench.names() == ["status"]
    bench.comfy.delete_pending([second])
    assert bench.names() == ["status"] * 3
    assert bench.comfy.queue_remaining == 0


def test_clearing_fires_one_event_even_when_nothing_is_pending(bench):
    bench.submit()
    bench.submit()
    bench.events.clear()
    bench.comfy.clear_pending()
    bench.comfy.clear_pending()
    assert bench.names() == ["status", "status"]


def test_unknown_and_running_prompts_cannot_be_deleted(bench):
    running = bench.submit()
    bench.comfy.start_next()
    bench.events.clear()
    bench.comfy.delete_pending([running, "unknown", 5, None])
    assert bench.names() == []
    assert bench.running == [running]


def test_one_id_in_a_deletion_removes_one_of_the_prompts_that_share_it(bench):
    bench.submit(prompt_id="twice")
    bench.submit(prompt_id="twice")
    bench.comfy.delete_pending(["twice"])
    assert bench.pending == ["twice"]


def test_a_reused_id_overwrites_its_entry_in_the_old_place(bench):
    bench.run(prompt_id="a")
    bench.run(prompt_id="b")
    bench.run(prompt_id="a")
    history = bench.comfy.history().body
    assert [(prompt_id, entry["prompt"][0]) for prompt_id, entry in history.items()] == [("a", 2), ("b", 1)]


@pytest.mark.parametrize(
    ("max_items", "offset", "expected"),
    [
        (None, -1, "abcd"),
        (2, -1, "cd"),
        (99, -1, "abcd"),
        (0, -1, ""),
        (-1, -1, ""),
        (2, 0, "ab"),
        (2, 1, "bc"),
        (0, 0, "a"),
        (None, 3, "d"),
        (None, 4, ""),
    ],
)
def test_a_stretch_of_the_history_is_counted_from_either_end(bench, max_items, offset, expected):
    for prompt_id in "abcd":
        bench.run(prompt_id=prompt_id)
    assert list(bench.comfy.history(max_items, offset).body) == list(expected)


def test_the_history_holds_one_entry_more_than_its_limit(make_bench):
    bench = make_bench(maximum_history_size=3)
    for prompt_id in "abcdef":
        bench.run(prompt_id=prompt_id)
    assert list(bench.comfy.history().body) == ["c", "d", "e", "f"]
    assert [run.removal for run in bench.comfy.ledger.runs] == ["evicted", "evicted", None, None, None, None]


def test_deleting_from_the_history_fires_no_event(bench):
    first, second = bench.run(), bench.run()
    bench.events.clear()
    bench.comfy.delete_history([first, "unknown"])
    assert list(bench.comfy.history().body) == [second]
    bench.comfy.clear_history()
    assert bench.comfy.history().body == {}
    assert bench.events == []


def test_an_entry_exists_before_the_status_event_that_tells_of_the_end(make_bench):
    bench = make_bench()
    seen = []
    bench.comfy.listener = lambda event, *_: seen.append((event, len(bench.comfy.history().body)))
    bench.run(client_id="me")
    assert seen[-3:] == [("execution_success", 0), ("status", 1), ("executing", 1)]


def test_a_new_process_knows_nothing_and_counts_from_0(bench):
    bench.run()
    bench.submit()
    bench.comfy.restart()
    assert bench.comfy.queue_remaining == 0
    assert bench.comfy.history().body == {}
    assert bench.comfy.submit({"prompt": bench.graph()})[1]["number"] == 0


def test_nobody_answers_while_it_is_down(bench):
    bench.comfy.kill()
    for ask in (bench.comfy.queue, bench.comfy.history, bench.comfy.prompt_info, bench.comfy.start_next, bench.submit):
        with pytest.raises(ComfyUIDownError):
            ask()


def test_extra_data_null_ends_the_worker_and_leaves_the_prompt_running_for_ever(bench):
    dead = bench.submit(extra_data=None)
    assert bench.comfy.start_next() is None
    waiting = bench.submit()
    bench.comfy.interrupt()
    assert bench.comfy.start_next() is None
    assert (bench.running, bench.pending) == ([dead], [waiting])
    bench.comfy.restart()
    bench.run()
    assert bench.comfy.ledger.runs[-1].truth == "completed"


def test_a_client_id_that_is_an_object_makes_the_process_exit(bench):
    bench.submit(client_id={"a": 1})
    assert bench.comfy.start_next() is None
    assert bench.comfy.exiting
    bench.comfy.kill()
    assert bench.comfy.ledger.runs[0].truth == "lost"


def test_an_interrupt_asked_for_while_idle_does_not_hit_the_next_prompt(bench):
    bench.comfy.interrupt()
    bench.run()
    assert bench.comfy.ledger.runs[0].truth == "completed"


def test_an_interrupt_of_another_prompt_is_ignored(bench):
    prompt_id = bench.submit()
    bench.comfy.start_next()
    bench.comfy.interrupt("another")
    assert not bench.comfy.take_interrupt()
    bench.comfy.interrupt(prompt_id)
    bench.comfy.finish()
    assert bench.comfy.ledger.runs[0].truth == "interrupted"


def test_a_failure_given_by_hand_is_told_as_comfyui_tells_it(bench):
    prompt_id = bench.submit()
    bench.comfy.start_next()
    bench.comfy.finish(failed("torch.OutOfMemoryError", "out of memory"))
    status = bench.comfy.history_one(prompt_id).body[prompt_id]["status"]
    assert (status["status_str"], status["completed"]) == ("error", False)
    event, data = status["messages"][-1]
    assert event == "execution_error"
    assert data["exception_message"].startswith("out of memory\nThis error means you ran out of memory on your GPU.")
    assert bench.comfy.ledger.runs[0].exception_type == "torch.OutOfMemoryError"
