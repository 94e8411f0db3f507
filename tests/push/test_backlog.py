"""What waits for one client, and in which order it goes out."""

from __future__ import annotations

from comfyui_exporter.push import backlog
from comfyui_exporter.push.backlog import Backlog
from comfyui_exporter.push.messages import SNAPSHOT_END, job_frame
from push.making import update


def jobs(*runs, **fields):
    return [job_frame(update(run, **fields)) for run in runs]


def frames(news):
    return [each.frame for each in news]


def test_answers_come_first_then_the_snapshot_then_the_news_of_since():
    waiting = Backlog()
    told, since = jobs("a", "b"), jobs("a", "c", percent=1.0)
    assert waiting.begin(iter(told)) == 0
    assert waiting.keep(since) == 0
    waiting.answer(b"answer")
    assert waiting.answers == 1
    assert waiting.piece() == [b"answer"]
    assert waiting.piece() == [*frames(told), SNAPSHOT_END, *frames(since)]
    assert not waiting


def test_a_new_snapshot_takes_the_place_of_all_news_that_wait_and_of_the_old_one():
    waiting = Backlog()
    waiting.begin(iter(jobs("old")))
    waiting.keep(jobs("a", "b"))
    waiting.keep(jobs("c", status="completed"))
    waiting.answer(b"subscribed")
    new = jobs("new")
    assert waiting.begin(iter(new)) == 3
    assert waiting.terminals == 0
    assert waiting.piece() == [b"subscribed"]
    assert waiting.piece() == [*frames(new), SNAPSHOT_END]
    assert not waiting


def test_a_snapshot_is_written_in_pieces_and_looked_through_in_pieces():
    waiting = Backlog()
    large = jobs(*(f"r{number}" for number in range(10)), error_message="x" * 30_000)
    waiting.begin(iter([*large, *[None] * 3000]))
    assert [len(waiting.piece()) for _ in range(3)] == [3, 3, 3]
    # The tenth, and what is passed over; the rest of it; the end.
    assert waiting.piece() == frames(large[9:])
    assert waiting
    assert waiting.piece() == [SNAPSHOT_END]
    assert not waiting


def test_news_are_written_in_pieces_too():
    waiting = Backlog()
    many = jobs(*(f"r{number}" for number in range(100)), status="completed", error_message="x" * 10_000)
    waiting.keep(many)
    assert waiting.terminals == 100
    written = []
    while waiting:
        piece = waiting.piece()
        assert sum(map(len, piece)) < backlog.CHUNK + 16 * 11_000
        written += piece
    assert written == frames(many)
    assert waiting.terminals == 0


def test_cleared_it_says_what_was_lost():
    waiting = Backlog()
    waiting.begin(iter(jobs("a")))
    waiting.keep(jobs("b", "c"))
    waiting.answer(b"answer")
    assert waiting.clear() == 2
    assert not waiting
    assert waiting.piece() == []
