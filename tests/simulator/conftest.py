"""Fixtures of the simulator's tests."""

from __future__ import annotations

import pytest

from simulator.bench import Bench


@pytest.fixture
def bench():
    return Bench()


@pytest.fixture
def make_bench():
    return Bench
