"""Upper bounds of the histograms' buckets: the defaults and what is allowed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

Bounds = tuple[float, ...]
"""Upper bounds of a histogram's buckets, rising, without +Inf."""

DEFAULTS: Mapping[str, Bounds] = {
    # From a one-step preview (1 s) to a long video (2 h), each bound about twice the last: a quantile is off by a
    # factor of two at worst, with 14 buckets per job type and status.
    "job_duration": (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200),
    # An idle server starts a job within 0.1 s; an overnight backlog is hours.
    "job_queue": (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600),
    # Nodes reach from passing a string on (10 ms) to sampling a video (1 h). Steps of about three: there are many node
    # classes, and what is asked is which node is slow, not how slow to the second.
    "node_duration": (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1800, 3600),
    # A distilled model on a fast card takes 10 ms a step, a large video model a minute.
    "step_duration": (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60),
    # Around 1 (the estimate was right): every bound below 1 is the reciprocal of one above, so that "twice too long"
    # and "twice too short" weigh the same.
    "estimate": (0.1, 0.25, 0.5, 0.67, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 4, 10),
    # ComfyUI answers in 0.4 ms when idle and in seconds while a model load holds its interpreter; 10 s is the default
    # request timeout.
    "request_duration": (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
}


def resolve(configured: Mapping[str, Sequence[float]] | None) -> dict[str, Bounds]:
    """The bounds of every key: the configured ones, else the defaults.

    Raises:
        ValueError: a key is unknown, or its bounds are not finite numbers above 0 in rising order.
    """
    bounds = {key: tuple(float(bound) for bound in default) for key, default in DEFAULTS.items()}
    for key, values in (configured or {}).items():
        if key not in DEFAULTS:
            msg = f"unknown buckets {key!r}; there are {', '.join(DEFAULTS)}"
            raise ValueError(msg)
        chosen = tuple(float(value) for value in values)
        rising = all(low < high for low, high in itertools.pairwise(chosen))
        if not chosen or not rising or chosen[0] <= 0 or not all(math.isfinite(bound) for bound in chosen):
            msg = f"buckets {key!r} must be finite numbers above 0 in rising order"
            raise ValueError(msg)
        bounds[key] = chosen
    return bounds
