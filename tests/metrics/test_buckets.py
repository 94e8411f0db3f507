"""Default buckets span what the design says; configured ones are checked."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from comfyui_exporter.metrics.buckets import DEFAULTS, resolve


@pytest.mark.parametrize(
    ("key", "first", "last", "step"),
    [
        ("job_duration", 1, 7200, 2.5),
        ("job_queue", 0.1, 21600, 2.5),
        ("node_duration", 0.01, 3600, 3.4),
        ("step_duration", 0.01, 60, 3),
    ],
)
def test_default_buckets_span_what_they_measure(key, first, last, step):
    bounds = DEFAULTS[key]
    assert (bounds[0], bounds[-1]) == (first, last)
    assert all(1 < high / low <= step for low, high in pairwise(bounds))


def test_the_estimate_buckets_lie_around_one_alike_on_both_sides():
    bounds = DEFAULTS["estimate"]
    assert 1 in bounds
    assert [round(1 / bound, 1) for bound in reversed(bounds)] == [round(bound, 1) for bound in bounds]


def test_configured_buckets_replace_the_default_of_their_key_only():
    bounds = resolve({"job_duration": [10, 20.5]})
    assert bounds["job_duration"] == (10.0, 20.5)
    assert bounds["job_queue"] == tuple(map(float, DEFAULTS["job_queue"]))


def test_an_unknown_key_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match="unknown buckets 'jobs'; there are job_duration, job_queue"):
        resolve({"jobs": [1]})


@pytest.mark.parametrize("bounds", [[], [2, 1], [1, 1], [0, 1], [-1, 1], [1, math.inf], [math.nan], [1, math.nan, 3]])
def test_buckets_that_are_no_buckets_are_refused(bounds):
    with pytest.raises(ValueError, match="buckets 'job_queue' must be finite numbers above 0 in rising order"):
        resolve({"job_queue": bounds})
