"""Durations and sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.config.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("2s", 2), ("1h30m", 5400), ("15d", 1_296_000), ("1w", 604_800), ("1y", 31_536_000), ("0", 0)],
)
def test_durations_are_read_as_prometheus_writes_them(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "1.5s", "-1s", "1m1h", "1S", "s", "1s ", " 1s", "٣s", "00", "9" * 100 + "s"])
def test_what_prometheus_would_refuse_is_refused(text):
    with pytest.raises(ValueError, match="is not a duration: write whole numbers with units"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "better"), [("2", "2s"), ("1.5s", "1s500ms")])
def test_an_almost_right_duration_is_answered_with_the_right_one(text, better):
    with pytest.raises(ValueError, match=rf"; did you mean {better}\?$"):
        parse_duration(text)


@given(st.integers(0, 10**12))
def test_a_formatted_duration_reads_back_as_itself(milliseconds):
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


@given(st.integers(0, 1 << 50))
def test_a_formatted_size_reads_back_as_itself(size):
    assert parse_size(format_size(size)) == size


def test_a_decimal_unit_is_answered_with_the_binary_one():
    with pytest.raises(ValueError, match=r'^"256MB" is not a size: .*; did you mean 256MiB\?$'):
        parse_size("256MB")
