"""Rows that fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.terminal.plain import width
from comfyui_exporter.terminal.table import Bar, Column, bar, lay_out, text_of

COLUMNS = (Column("NAME", 4, 20), Column("N", 3, right=True), Column("WIDE", 5, show_from=40), Column("REST", 6, 60))


def read(*arguments, **options):
    return [text_of(line) for line in lay_out(*arguments, **options)]


def test_columns_are_as_wide_as_what_is_in_them_and_numbers_end_below_each_other():
    rows = [["gpu0", "7", "x", "first"], ["a longer name", "123", "", "second"]]
    assert read(COLUMNS, rows) == [
        "NAME             N  WIDE  REST",
        "gpu0             7  x     first",
        "a longer name  123        second",
    ]


def test_when_space_is_short_optional_columns_go_and_the_widest_are_cut():
    rows = [["a name of 18 cells", "123", "x", "and a rest that is long"]]
    for line in read(COLUMNS, rows, 30):
        assert len(line) <= 30
        assert "WIDE" not in line


def test_steady_columns_stay_where_they_are_whatever_is_in_them():
    def places(name):
        head, row = read(COLUMNS, [[name, "1", "x", "rest"]], 60, steady=True)
        return head.index("REST"), row.index("rest")

    assert places("a") == places("a very long name that is cut")


def test_a_bar_fills_its_column_in_half_cells():
    assert text_of(bar(0, 4)) == "────"
    assert text_of(bar(100, 4)) == "━━━━"
    assert text_of(bar(37.5, 4)) == "━╸──"
    assert text_of(bar(250, 4)) == "━━━━"
    head, row = read((Column("P", 5, 10), Column("X", 1)), [[Bar(50), "x"]], 40, steady=True)
    assert (row, head.index("X")) == ("━━━━━─────  x", 12)


@given(st.lists(st.lists(st.text(max_size=50), min_size=4, max_size=4), max_size=4), st.integers(1, 90), st.booleans())
def test_no_line_is_wider_than_the_space(rows, space, steady):
    for line in lay_out(COLUMNS, rows, space, steady=steady):
        assert sum(width(text) for text, _ in line) <= space
