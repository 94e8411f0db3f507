"""Text of strangers on a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.terminal.plain import cut, lines, padded, plain, width


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "�[31mred�[0m"),
        ("\x9b31mred", "�31mred"),
        ("\x1b]0;title\x07", "�]0;title�"),
        ("two\nlines\r\nand\ttabs\x0b\u2028\x85", "two lines and tabs"),
        ("right\u202eto left\u2066\u200f", "right�to left��"),
        ("zero\u200bwidth\ufeff", "zero�width�"),
        ("half a pair \ud800", "half a pair �"),
        ("[red]markup[/red] :smile:", "[red]markup[/red] :smile:"),
        ("  spaces   around  ", "spaces around"),
        ("日本語.png", "日本語.png"),
        ("e\u0301" + "\u0301" * 100 + "x", "é\u0301\u0301x"),
    ],
)
def test_what_a_terminal_would_obey_is_replaced_and_the_rest_stays(given, shown):
    assert plain(given) == unicodedata.normalize("NFC", shown)


def test_long_texts_are_cut_and_say_so():
    assert plain("x" * 100_000_000, 10) == "xxxxxxxxx…"
    assert plain("12345", 5) == "12345"


def test_a_message_keeps_its_lines_and_their_indentation_and_of_many_the_first():
    assert lines("Traceback:\n  File \x1b[2J\n") == ["Traceback:", "  File �[2J"]
    assert lines("\n".join("abc"), most=2) == ["a", "b", "… 1 more lines"]


def test_wide_characters_take_two_cells():
    assert (width("日本"), width("e\u0301"), width("ab")) == (4, 1, 2)
    assert (cut("日本語", 4), cut("日本語", 6), cut("ab", 0)) == ("日…", "日本語", "")
    assert (padded("日本語", 5), padded("a", 3, right=True)) == ("日本…", "  a")


@given(st.text(), st.integers(1, 50))
def test_whatever_comes_what_goes_out_is_one_line_that_fits(text, cells):
    shown = plain(text, 40)
    assert len(shown) <= 40
    assert shown.isprintable()
    assert width(padded(shown, cells)) == cells
