"""What the image is made of: pinned, complete, and told to programs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from deploy.compose import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
LOCK = ROOT / "exporter/requirements.txt"
BUILD_LOCK = ROOT / "exporter/requirements-build.txt"
EXTRAS = re.findall(r"--extra (\w+)", (ROOT / "scripts/lock").read_text())
LOCKS = {
    LOCK: [*PROJECT["dependencies"], *(text for extra in EXTRAS for text in PROJECT["optional-dependencies"][extra])],
    BUILD_LOCK: PYPROJECT["build-system"]["requires"],
}
each = pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)


@dataclass(frozen=True)
class Pinned:
    version: Version
    hashes: frozenset[str]
    wanted_by: frozenset[str]


def read(lock):
    """What is pinned, by name. Anything that is no pin, hash or remark is a mistake."""
    pinned = {}
    for block in re.split(r"\n(?=\S)", "\n".join(re.sub(r"\A(#.*\n)+", "", lock.read_text()).splitlines())):
        head = re.match(r"([a-z0-9-]+)==([0-9a-z.]+) \\\n", block)
        assert head, block[:200]
        hashes = re.findall(r"^    --hash=sha256:([0-9a-f]{64})(?: \\)?$", block, re.MULTILINE)
        wanted_by = re.findall(r"^    #   (?:via )?(\S+)|^    # via (\S+)", block, re.MULTILINE)
        assert len(hashes) + len(wanted_by) + 1 + block.count("    # via\n") == len(block.splitlines()), block[:200]
        assert head[1] not in pinned
        pinned[head[1]] = Pinned(Version(head[2]), frozenset(hashes), frozenset(map("".join, wanted_by)))
    return pinned


def requirements_of(name):
    """What an installed package asks for on Linux, its extras aside."""
    for text in metadata.requires(name) or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


def test_the_page_says_which_optional_parts_the_image_has():
    page = (ROOT / "docs/docker.md").read_text()
    assert f"has the extras {' and '.join(f'`{extra}`' for extra in EXTRAS)}." in " ".join(page.split())


@each
def test_it_satisfies_what_the_project_asks_for(lock):
    pinned = read(lock)
    for requirement in map(Requirement, LOCKS[lock]):
        assert pinned[canonicalize_name(requirement.name)].version in requirement.specifier, requirement


@each
def test_it_is_complete(lock):
    """pip itself refuses a package that is missing. What asks for what is known of the versions that are here."""
    pinned = read(lock)
    known = 0
    for name, pin in pinned.items():
        try:
            here = Version(metadata.version(name))
        except metadata.PackageNotFoundError:
            continue
        if here.release[:2] != pin.version.release[:2]:
            continue
        known += 1
        for requirement in requirements_of(name):
            needed = canonicalize_name(requirement.name)
            assert needed in pinned, f"{name} needs {requirement}"
            if here == pin.version:
                assert pinned[needed].version in requirement.specifier, f"{name} needs {requirement}"
    assert known >= len(pinned) // 2
    assert lock != LOCK or "greenlet" in pinned  # of sqlalchemy[asyncio]


@each
def test_nothing_is_in_it_that_nobody_asks_for(lock):
    pinned = read(lock)
    asked = {canonicalize_name(requirement.name) for requirement in map(Requirement, LOCKS[lock])}
    for name, pin in pinned.items():
        assert name in asked or (pin.wanted_by and pin.wanted_by <= pinned.keys()), name


@each
def test_each_is_held_to_hashes_and_comes_from_wherever_pip_is_set_up_to_ask(lock):
    for name, pin in read(lock).items():
        assert pin.hashes, name
    assert "://" not in lock.read_text()
    assert "--index" not in lock.read_text()


def test_compiled_packages_have_wheels_for_many_machines_and_versions():
    """A hash for each: Linux on two kinds of machine and two libraries, for several versions of Python."""
    pinned = read(LOCK)
    for name in (
        "aiohttp",
        "asyncpg",
        "bcrypt",
        "greenlet",
        "msgspec",
        "pydantic-core",
        "pyyaml",
        "sqlalchemy",
        "yarl",
    ):
        assert len(pinned[name].hashes) >= 8, name


def sbom(tmp_path):
    file = tmp_path / "sbom.json"
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(LOCK)]
    arguments = ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible", "--output-file", str(file)]
    subprocess.run([*command, *arguments], check=True, capture_output=True)
    return json.loads(file.read_text())


def test_the_bill_of_materials_names_all_that_is_pinned_with_versions_and_hashes(tmp_path):
    told = sbom(tmp_path)
    assert told["bomFormat"] == "CycloneDX"
    assert told["metadata"]["component"]["name"] == PROJECT["name"]
    pinned = read(LOCK)
    assert {part["name"]: part["version"] for part in told["components"]} == {
        name: str(pin.version) for name, pin in pinned.items()
    }
    for part in told["components"]:
        assert part["purl"].startswith(f"pkg:pypi/{part['name']}@{part['version']}")
        references = part["externalReferences"]
        assert {one["content"] for reference in references for one in reference.get("hashes", ())} == pinned[
            part["name"]
        ].hashes


def test_make_sbom_is_what_is_tested_here():
    (line,) = re.findall(r"\t\$\(BIN\)/cyclonedx-py (.*)", (ROOT / "Makefile").read_text())
    assert line.startswith("requirements exporter/requirements.txt --pyproject pyproject.toml --output-reproducible ")
