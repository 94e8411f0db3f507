"""Hostile files: configurations, server files and web config files, read as the exporter reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from comfyui_exporter.config.errors import ConfigError
from comfyui_exporter.config.load import parse
from comfyui_exporter.config.server_files import read_servers
from comfyui_exporter.config.web_config import parse_web_config
from hostile import seeds
from hostile.mutate import Mutator
from hostile.tally import Tally

ACCEPTED, REFUSED = "accepted as valid", "listed problems"


def configs(inputs: int, rng: Random, folder: Path) -> Tally:
    """Feed configuration files."""
    mutator = Mutator(rng)
    tally = Tally("configuration files")

    def read(content: bytes) -> None:
        parse(content, "comfyui.yml", folder)

    for _ in range(inputs):
        _read(tally, mutator.lines(rng.choice(seeds.CONFIGS)), read)
    return tally


def web_configs(inputs: int, rng: Random, folder: Path) -> Tally:
    """Feed web config files."""
    mutator = Mutator(rng)
    tally = Tally("web config files")

    def read(content: bytes) -> None:
        parse_web_config(content, "web.yml", folder)

    for _ in range(inputs):
        _read(tally, mutator.lines(rng.choice(seeds.WEB_CONFIGS)), read)
    return tally


def server_files(inputs: int, rng: Random, folder: Path) -> Tally:
    """Feed server files, half of them JSON."""
    mutator = Mutator(rng)
    tally = Tally("server files")
    names = {True: folder / "servers.json", False: folder / "servers.yml"}
    for number in range(inputs):
        as_json = bool(number % 2)
        if as_json:
            content = mutator.json(rng.choice(seeds.SERVER_FILES_JSON))
        else:
            content = mutator.lines(rng.choice(seeds.SERVER_FILES_YAML))
        name = names[as_json]
        name.write_bytes(content)
        _read(tally, content, lambda _, name=str(name): list(read_servers(name)))
    return tally


def _read(tally: Tally, content: bytes, read: Callable[[bytes], object]) -> None:
    with tally.input(content):
        told = _told(read, content, by_error=tally.channel == "server files")
        for problem in told:
            assert len(problem) < 3_000, problem
            assert problem.isprintable(), problem
        tally.count(REFUSED if told else ACCEPTED)


def _told(read: Callable[[bytes], object], content: bytes, *, by_error: bool) -> list[str]:
    """What is said to be wrong with it. Server files are refused by a ValueError; those of libraries are others."""
    try:
        read(content)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    except ValueError as error:
        if by_error and type(error) is ValueError:
            return [str(error)]
        raise
    return []
