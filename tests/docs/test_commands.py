"""Every command that a page tells people to type is run here, or stands in a list of those that cannot be, with the
reason."""

from __future__ import annotations

import re
import subprocess

import click
import pytest
import yaml

from comfyui_exporter.cli.main import cli
from docs.blocks import ALL, PAGES_WITH_COMMANDS, Block, Command, commands, program
from docs.kinds import ELSEWHERE, NOT_HERE, RUN, is_elsewhere, is_typed
from docs.pages import ROOT, inline
from docs.world import CLONED, World

GO_ON = {
    "run": r"msg=watching",
    "relay": r"msg=relaying|snapshot",
    "demo": r"Ctrl-C ends all of it",
    "top": r"live",
    "simulate": r"simulated ComfyUI",
    "uvicorn": r"Uvicorn running",
    "python": r"\S",
}
"""What programs that do not end by themselves say once they work."""

STATUS = {
    # It is answered, and then nothing ends the connection but curl's own patience.
    ("docs/runbooks/ComfyUIEventStreamDown.md", "curl"): 28,
}
"""Exit codes other than 0 that are right."""

TYPED = [command for block in ALL if is_typed(block) for command in commands(block)]
RUN_HERE = [command for command in TYPED if program(command.text) in RUN and not is_elsewhere(command.text)]
NOT_RUN = [command for command in TYPED if command not in RUN_HERE]
# What several pages say is run once.
each_command = pytest.mark.parametrize("command", {command.text: command for command in RUN_HERE}.values(), ids=str)


@each_command
def test_it_works(command: Command, world: World) -> None:
    typed = world.here(command.text)
    if said := goes_on(command):
        words, status = world.until(typed, re.compile(said))
        assert re.search(said, words), words
        assert status in {0, 130, -2}, words
        return
    if program(command.text) == "make":
        typed = typed.replace("make ", "make -n ", 1)
    typed = re.sub(r"^curl -m \d+", "curl -m 1", typed)
    done = world.run("bash", "-c", f"set -euo pipefail\n{typed}")
    page = command.block.page
    right = [status for (where, first), status in STATUS.items() if where == page and command.text.startswith(first)]
    assert [done.returncode] == (right or [0]), f"{typed}\n{done.stdout}\n{done.stderr}"


def goes_on(command: Command) -> str | None:
    """What it says once it works, if it does not end by itself."""
    name, *words = command.words
    if name == "uvicorn":
        return GO_ON[name]
    if "push_client.py" in command.text:
        return GO_ON["python"]
    if program(name) != "comfyui-exporter":
        return None
    return GO_ON.get(words[0] if words and not words[0].startswith("-") else "run")


def test_there_is_something_to_run():
    assert len(RUN_HERE) > 40


@pytest.mark.parametrize("words", ELSEWHERE)
def test_what_is_listed_as_not_run_is_there(words):
    assert any(words in command.text for command in TYPED)


@pytest.mark.parametrize("command", TYPED, ids=str)
def test_it_is_run_or_there_is_a_reason_why_not(command):
    assert program(command.text) in {*RUN, *NOT_HERE}, f"{command}: run {command.text!r}, or say why not"


@pytest.mark.parametrize("command", NOT_RUN, ids=str)
def test_what_is_not_run_names_things_that_are_there(command):
    if program(command.text) == "comfyui-exporter":
        parse(command.words[1:])
    for word in command.words:
        path = word.rpartition("=")[2]
        if re.fullmatch(rf"(\./)?({'|'.join(CLONED)})/[\w./-]+", path):
            made_by_the_reader = path.startswith("deploy/kubernetes/studio")
            assert made_by_the_reader or (ROOT / path).exists(), f"{command}: there is no {path}"
    if "docker compose" in command.text:
        stack = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
        profiles = {profile for service in stack["services"].values() for profile in service.get("profiles", [])}
        assert set(re.findall(r"--profile (\S+)", command.text)) <= profiles
        found = re.search(r"(?:exec|stop|start|restart|logs|kill -s HUP) ((?:[a-z-]+ ?)+)", command.text)
        for name in found[1].split()[:1] if found else []:
            assert name in stack["services"], f"{command}: there is no service {name}"
    units = re.findall(r"\b(comfyui-exporter[\w-]*)(?=@|\s|$)", command.text)
    for unit in units if command.words[0] == "systemctl" else []:
        assert (ROOT / f"deploy/systemd/{unit}.service").exists(), f"{command}: there is no unit {unit}"


@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_sentences_name_things_that_are_there(page):
    for text in inline(page.read_text()):
        if text.startswith("comfyui-exporter "):
            parse(text.split()[1:])
        elif found := re.fullmatch(r"make ([a-z-]+)(?: .*)?", text):
            assert found[1] in targets(), f"{page.name}: there is no target {found[1]}"
        elif found := re.match(r"python3? ([\w/]+\.py)", text):
            assert (ROOT / found[1]).exists(), f"{page.name}: there is no {found[1]}"


def parse(words: list[str]) -> None:
    """Let the command line say whether it knows the command and its flags."""
    name = words[0] if not words[0].startswith("-") else "run"
    given = words[1:] if name == words[0] else words
    if given and given[0] in {"--version", "-h", "--help"}:
        return
    command = cli.get_command(click.Context(cli), name)
    assert command is not None, f"there is no command {name}"
    context = click.Context(command, info_name=name, resilient_parsing=True)
    try:
        command.make_parser(context).parse_args(given)
    except click.NoSuchOption as error:
        pytest.fail(f"comfyui-exporter {' '.join(words)}: {error}")
    except click.UsageError:
        pass  # it is named without what it needs


def targets() -> set[str]:
    done = subprocess.run(["make", "-C", ROOT, "-s", "help"], capture_output=True, text=True, check=True)
    return {line.split()[0] for line in done.stdout.splitlines()}


def test_a_block_of_an_unknown_kind_would_be_noticed():
    assert commands(Block("x.md", 1, "sh", "rm -rf \\\n  '/a\n b'\n\nls\n"))[1].line == 5
