"""Single blocks of lines, to the letter."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.metrics import exposition, families
from comfyui_exporter.metrics.family import Family, Kind
from comfyui_exporter.metrics.series import Exemplar, Histogram


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (5.0, "5"),
        (-3.0, "-3"),
        (0.1, "0.1"),
        (1_700_000_000.25, "1700000000.25"),
        (25_383_206_912.0, "25383206912"),
        (1e300, "1e+300"),
        (5e-324, "5e-324"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_numbers_are_written_without_needless_digits(value, text):
    assert exposition.number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_read_back_as_the_same_float(value):
    assert float(exposition.number(value)) == value


def test_a_counter_is_named_with_total_in_text_and_without_in_openmetrics():
    assert exposition.metadata(families.JOBS, openmetrics=False) == (
        b"# HELP comfyui_jobs_total Finished jobs by how they ended.\n# TYPE comfyui_jobs_total counter\n"
    )
    assert exposition.metadata(families.JOBS, openmetrics=True) == (
        b"# HELP comfyui_jobs Finished jobs by how they ended.\n# TYPE comfyui_jobs counter\n"
    )


def test_help_escapes_quotes_in_openmetrics_only():
    family = Family("x", Kind.GAUGE, 'a "b" \\ c\nd', "")
    assert exposition.metadata(family, openmetrics=False) == b'# HELP x a "b" \\\\ c\\nd\n# TYPE x gauge\n'
    assert exposition.metadata(family, openmetrics=True) == b'# HELP x a \\"b\\" \\\\ c\\nd\n# TYPE x gauge\n'


def test_label_values_are_escaped():
    assert exposition.scalars("x", ("a",), 's%s"', {('"\\\n%d',): 1.0}) == (b'x{server="s%s\\"",a="\\"\\\\\\n%d"} 1\n')


def test_a_series_without_labels_has_no_braces():
    assert exposition.scalars("x", (), None, {(): 2.0}) == b"x 2\n"


def test_a_histogram_counts_its_buckets_up():
    histogram = Histogram(2)
    histogram.counts = [1, 2, 3]
    histogram.sum = 12.5
    assert exposition.histograms("x", ("a",), "s", {("v",): histogram}, (0.5, 1.0)) == (
        b'x_bucket{server="s",a="v",le="0.5"} 1\n'
        b'x_bucket{server="s",a="v",le="1.0"} 3\n'
        b'x_bucket{server="s",a="v",le="+Inf"} 6\n'
        b'x_sum{server="s",a="v"} 12.5\n'
        b'x_count{server="s",a="v"} 6\n'
    )


def test_a_histogram_without_labels_has_braces_for_its_buckets_only():
    assert exposition.histograms("x", (), None, {(): Histogram(1)}, (1e6,)) == (
        b'x_bucket{le="1e+06"} 0\nx_bucket{le="+Inf"} 0\nx_sum 0\nx_count 0\n'
    )


def test_an_exemplar_follows_its_sample():
    exemplar = Exemplar({"prompt_id": 'a"b'}, 1.0, 1_700_000_000.25)
    assert exposition.scalars("x_total", (), None, {(): 2.0}, {(): exemplar}) == (
        b'x_total 2 # {prompt_id="a\\"b"} 1 1700000000.25\n'
    )


@pytest.mark.parametrize(("length", "shown"), [(119, True), (120, False)])
def test_an_exemplar_of_more_than_128_characters_is_left_out(length, shown):
    exemplar = Exemplar({"prompt_id": "ä" * length}, 1.0, 1.0)
    line = exposition.scalars("x_total", (), None, {(): 2.0}, {(): exemplar})
    assert (b"#" in line) is shown


def test_a_lone_surrogate_does_not_cost_the_scrape():
    assert exposition.scalars("x", ("a",), None, {("\ud800",): 1.0}) == b'x{a="?"} 1\n'
