"""When calls are tried again."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.webhooks.schedule import GIVE_UP, LONGEST_REQUESTED, Schedule


def test_waits_grow_from_seconds_to_hours():
    schedule = Schedule(Random(0))
    waits = [schedule.next_try(attempts, 0.0, 0.0) for attempts in range(1, 10)]
    assert waits == sorted(waits[:7]) + waits[7:]
    for wait, nominal in zip(waits, [10, 30, 60, 300, 900, 3600, 10_800, 10_800, 10_800], strict=True):
        assert 0.8 * nominal <= wait <= 1.2 * nominal


def test_calls_that_failed_together_do_not_come_back_together():
    schedule = Schedule(Random(0))
    assert len({schedule.next_try(1, 0.0, 0.0) for _ in range(100)}) == 100


def test_what_waited_for_a_day_while_the_exporter_was_down_is_tried_once_more():
    assert Schedule(Random(0)).next_try(1, 0.0, 2 * GIVE_UP) is None


@given(st.integers(0, 10_000), st.floats(0, 2 * GIVE_UP), st.none() | st.floats(0, 1e12), st.integers())
def test_the_next_try_is_later_and_within_the_day(attempts, at, retry_after, seed):
    next_at = Schedule(Random(seed)).next_try(attempts, 0.0, at, retry_after)
    if at >= GIVE_UP:
        assert next_at is None
    else:
        assert at < next_at <= min(GIVE_UP, at + 1.2 * LONGEST_REQUESTED)
