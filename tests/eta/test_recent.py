"""What jobs of one kind took lately."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.eta.recent import Recent, weighted_median


def learned(*values: float) -> Recent[str]:
    recent = Recent[str]()
    for value in values:
        recent.learn("a", value)
    return recent


def test_nothing_is_usual_before_anything_was_learned() -> None:
    assert Recent[str]().median("a") is None
    assert Recent[str]().count("a") == 0
    assert learned(1.0).median("b") is None


@pytest.mark.parametrize(
    ("values", "usual"),
    [([3.0], 3.0), ([3.0, 3.0, 90.0], 3.0), ([1.0, 2.0, 3.0], 2.0), ([9.0, 9.0, 1.0, 1.0, 1.0], 1.0)],
)
def test_the_usual_value_is_the_middle_one(values: list[float], usual: float) -> None:
    assert learned(*values).median("a") == usual


def test_of_two_halves_the_later_one_counts() -> None:
    assert learned(*[100.0] * 5, *[10.0] * 5).median("a") == 10.0


def test_values_and_kinds_are_bounded() -> None:
    recent = Recent[str](kinds=2, values=3)
    for value in range(10):
        recent.learn("a", value)
    assert recent.count("a") == 3
    assert recent.median("a") == 8
    recent.learn("b", 1.0)
    recent.learn("a", 1.0)
    recent.learn("c", 1.0)
    assert [recent.count(kind) for kind in "abc"] == [3, 0, 1]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_the_usual_value_is_within_what_was_seen(values: list[float]) -> None:
    assert min(values) <= weighted_median(values) <= max(values)
