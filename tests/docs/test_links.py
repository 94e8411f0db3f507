"""What the pages name is there: links, metrics, flags, variables, log lines."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click
import pytest

from comfyui_exporter.cli.main import cli
from comfyui_exporter.config.flags import COMFYUI_URL, FLAGS
from comfyui_exporter.config.relay_flags import RELAY_FLAGS
from comfyui_exporter.config.terminal_flags import INSECURE, TERMINAL_FLAGS
from comfyui_exporter.metrics.families import ALL
from comfyui_exporter.store.schema import metadata
from docs.pages import NAMES, ROOT, anchors, links

PACKAGE = ROOT / "exporter/comfyui_exporter"
METRIC = re.compile(r"(?<!:)\bcomfyui_[a-z0-9_]+\b(?!:)")  # recorded series, with colons, are for tests/prometheus
HISTOGRAM_SUFFIX = re.compile(r"_(bucket|sum|count)$")
NO_METRICS = {
    "comfyui_bridge": "the extension of ComfyUI",
    "comfyui_dashboards": "the program that writes the dashboards",
    "comfyui_exporter": "the package",
    "comfyui_version": "a key of recordings",
    "comfyui_prompt_id": "a field of jobs",
    **dict.fromkeys(metadata.tables, "a table of the store"),
}
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9.-]*[a-z0-9]")
OF_OTHERS = {
    "--listen": "ComfyUI",
    "--enable-feature": "Prometheus",
    "--strict": "mypy",
    "--url": "bench/real_progress.py",
    **dict.fromkeys(
        ("--build", "--cap-drop", "--force-recreate", "--gpus", "--health-cmd", "--name", "--read-only"), "Docker"
    ),
    "--now": "systemctl",
    **dict.fromkeys(("--from-file", "--from-literal", "--replicas", "--server-side"), "kubectl"),
    "--owner": "createdb",
    "--no-owner": "pg_restore",
    **dict.fromkeys(("--no-deps", "--require-hashes"), "pip"),
    "--healthy": "bench/drills.py",
    **dict.fromkeys(
        ("--alertmanager.url", "--annotation", "--comment", "--duration", "--inhibited", "--silenced"), "amtool"
    ),
}
VARIABLE = re.compile(r"\bCOMFYUI_[A-Z_]+\b")
LEVELS = {"debug", "info", "warning", "error", "exception"}


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def own_flags() -> set[str]:
    commands = cli.commands.values()
    # With the names of its own help option, which click remembers for whoever asks next.
    context = click.Context(cli, **cli.context_settings)
    typed = {option for command in commands for param in command.params for option in param.opts}
    of_the_group = {option for param in cli.get_params(context) for option in param.opts}
    return typed | of_the_group | {f"--{flag.name}" for flag in FLAGS}


@pytest.mark.parametrize("name", NAMES)
def test_every_link_and_anchor_resolves(name):
    page = ROOT / name
    for link in links(page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), f"{name}: {link} leaves the repository"
        assert target.exists(), f"{name}: {link} does not exist"
        if anchor:
            assert anchor in anchors(target.read_text()), f"{name}: {link} has no such heading"


def test_every_page_can_be_reached_from_the_readme():
    seen: set[Path] = set()
    to_read = [ROOT / "README.md"]
    while to_read:
        page = to_read.pop()
        if page not in seen and page.suffix == ".md":
            seen.add(page)
            to_read += [(page.parent / link.partition("#")[0]).resolve() for link in links(page.read_text())]
    assert {ROOT / name for name in NAMES} <= seen


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_that_is_named_exists(name):
    families = {family.name: family for family in ALL}
    for metric in METRIC.findall(text_of(name)):
        if metric in NO_METRICS or metric in families:
            continue
        if metric.endswith("_"):  # a prefix, as in comfyui_exporter_*
            assert any(known.startswith(metric) for known in families), f"{name}: no metric begins with {metric}"
            continue
        family = families.get(HISTOGRAM_SUFFIX.sub("", metric))
        assert family is not None, f"{name}: there is no metric {metric}"
        assert family.buckets is not None, f"{name}: {metric} is not a part of a histogram"


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_that_is_named_exists(name):
    unknown = set(FLAG.findall(text_of(name))) - own_flags() - set(OF_OTHERS)
    assert not unknown, f"{name}: there are no such flags"


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_that_is_named_exists(name):
    known = {flag.variable for flag in (*FLAGS, *RELAY_FLAGS, *TERMINAL_FLAGS, INSECURE)}
    unknown = set(VARIABLE.findall(text_of(name))) - known - {COMFYUI_URL}
    assert not unknown, f"{name}: there are no such environment variables"


def messages() -> list[str]:
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                logger = ast.unparse(node.func.value)
                if re.fullmatch(r"(self\._)?log(ger)?", logger) and isinstance(node.args[0], ast.Constant):
                    found.append(str(node.args[0].value))
    return [message for message in found if message != "%s"]


def test_everything_that_the_log_says_is_explained():
    assert len(messages()) > 10
    page = text_of("docs/troubleshooting.md")
    for message in messages():
        # The page has an example or dots in place of what is filled in, and may leave out what follows a semicolon.
        shown = r"\S+".join(re.escape(part) for part in re.split(r"%\w", message.partition(";")[0]))
        assert re.search(shown, page), f"docs/troubleshooting.md does not explain the log message {message!r}"
