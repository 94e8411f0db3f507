"""The page about the terminal shows what the commands print, and says what they do."""

from __future__ import annotations

import re

import click
import pytest

from comfyui_exporter.cli.main import cli
from comfyui_exporter.config.terminal_flags import INSECURE, TERMINAL_FLAGS
from comfyui_exporter.terminal.listing import job_lines, server_lines
from comfyui_exporter.terminal.screen import KEYS
from comfyui_exporter.terminal.table import text_of
from comfyui_exporter.terminal.waiting import Outcome
from docs.pages import ROOT, fenced
from terminal.exporters import NOW
from terminal.test_screen import busy, screen

PAGE = (ROOT / "docs/terminal.md").read_text()
TOP, STATUS, JOBS, BARS, ENDS = fenced(PAGE, "text")


def section(name: str) -> str:
    return PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def codes(text: str) -> set[str]:
    """Exit codes of a table, or of the end of a help text."""
    listed = re.findall(r"^(?:\| ([\d, ]+) \||  (\d+)  )", text, re.MULTILINE)
    return {code.strip() for pair in listed for code in "".join(pair).split(",")}


def test_the_heads_are_those_that_are_printed():
    assert STATUS.split("\n")[0].split() == text_of(server_lines([], [], NOW, None)[0]).split()
    assert JOBS.split("\n")[0].split() == text_of(job_lines([], NOW, {}, None)[0]).split()


def test_each_part_of_the_screen_is_shown_with_its_columns():
    def heads(lines):
        words = (re.sub(r"\d+", "N", line).split() for line in lines)
        return [line for line in words if re.fullmatch("[A-Z]{4,}", line[0] if line else "")]

    assert heads(TOP.splitlines()) == heads(screen(busy(), (90, 40)))


def test_the_example_has_its_bar_and_its_end():
    assert re.search(r"━+─+ +\d+%", BARS)
    assert re.search(r"^805 completed on gpu0 after .*\n  \S+\.png$", ENDS, re.MULTILINE)


@pytest.mark.parametrize("name", ["status", "wait"])
def test_exit_codes_are_those_of_the_help(name):
    epilog = cli.commands[name].epilog
    assert epilog is not None
    told = codes(epilog) | ({"143"} if "143 SIGTERM" in epilog else set())
    assert codes(section(name)) == told


def test_each_outcome_of_wait_has_its_code_and_its_word():
    assert {str(outcome.code) for outcome in Outcome} <= codes(section("wait"))
    assert [outcome.word for outcome in Outcome if f"`{outcome.word}`" not in section("For programs")] == []


def test_keys_are_those_that_do_something():
    assert set(KEYS) == {"a", "s", "r", "w", "e"}
    assert "| s, r, w, e | " in PAGE
    assert [name for name in KEYS.values() if name not in "all servers, running jobs, waiting jobs or results"] == []


def test_flags_and_defaults_are_those_of_the_commands():
    for flag in (*TERMINAL_FLAGS, INSECURE):
        assert f"`--{flag.name}" in PAGE
        assert f"`{flag.variable}`" in PAGE
    for option in cli.commands["wait"].params:
        if isinstance(option, click.Option) and option.name in {"appear_timeout", "away_timeout"}:
            assert f"| `{option.opts[0]} DURATION` | `{option.default}` |" in PAGE
