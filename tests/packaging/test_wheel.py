"""What `python -m build` makes installs by itself and runs, far from the repository."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import urllib.error
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from comfyui_exporter import __version__
from docs.pages import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
BROUGHT_ALONG: dict[str, str] = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"].get("force-include", {})
"""What is not in the package's folder and yet in the wheel, and where there."""
PACKAGE = ROOT / "exporter/comfyui_exporter"
PART_OF = {"pydantic_core": "pydantic", "yarl": "aiohttp"}
"""Packages that always come with another one, as part of what it takes and gives."""


@dataclass(frozen=True)
class Built:
    """What was built, and where the wheel is installed."""

    source: list[str]
    wheel: list[str]
    metadata: str
    programs: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of the programs there, in a folder where nothing is."""
        command = [self.programs / arguments[0], *arguments[1:]]
        return subprocess.run(
            command, cwd=self.programs, env=_environment(), capture_output=True, text=True, check=False
        )


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COMFYUI", "PYTHON"))}
    return kept | {"PYTHONDONTWRITEBYTECODE": "1"}


def _done(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Builds the sdist, the wheel from it, and installs that into an environment of its own.

    Its dependencies are those of this environment, so that nothing is downloaded; that all of them are declared is a
    test of its own.
    """
    folder = tmp_path_factory.mktemp("built")
    _done(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    (source,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv/bin/python"
    _done(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    (packages,) = (folder / "venv/lib").glob("python*/site-packages")
    # A path in a .pth file adds that folder and not what its own .pth files name: our editable install stays out.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    with tarfile.open(source) as archive:
        files = [name.partition("/")[2] for name in archive.getnames()]
    with zipfile.ZipFile(wheel) as archive:
        inside = archive.namelist()
        metadata = archive.read(f"comfyui_exporter-{__version__}.dist-info/METADATA").decode()
    return Built(files, inside, metadata, folder / "venv/bin")


def test_what_runs_is_what_was_installed(built):
    said = built.run("python", "-c", "import comfyui_exporter; print(comfyui_exporter.__file__)")
    assert Path(said.stdout.strip()).is_relative_to(built.programs.parent), said


def test_it_says_its_version(built):
    said = built.run("comfyui-exporter", "--version")
    assert (said.returncode, said.stdout.splitlines()[0]) == (0, f"comfyui-exporter, version {__version__}")


def test_it_checks_a_configuration(built):
    said = built.run("comfyui-exporter", "check-config", str(ROOT / "examples/comfyui-exporter.yml"))
    assert said.returncode == 0, said.stderr
    refused = built.run("comfyui-exporter", "check-config", str(ROOT / "pyproject.toml"))
    assert refused.returncode == 1


def test_the_wheel_is_the_package_and_what_it_brings_along_and_nothing_else(built):
    here = set(_files(PACKAGE, "comfyui_exporter"))
    for source, place in BROUGHT_ALONG.items():
        here |= set(_files(ROOT / source, place))
    there = {name for name in built.wheel if ".dist-info/" not in name}
    assert there == here
    assert {"comfyui_exporter/py.typed", "comfyui_exporter/web/page/page.js"} <= there
    assert f"comfyui_exporter-{__version__}.dist-info/licenses/LICENSE" in built.wheel


def _files(source: Path, place: str) -> list[str]:
    if source.is_file():
        return [place]
    found = [path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return [f"{place}/{path.relative_to(source)}" for path in found]


def test_the_sdist_has_what_a_wheel_is_built_from_and_no_more_of_the_repository(built):
    tops = {name.partition("/")[0] for name in built.source if name}
    named = {"CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "exporter"}
    named |= {source.partition("/")[0] for source in BROUGHT_ALONG}
    assert named <= tops <= named | {"PKG-INFO", ".gitignore"}


def test_the_metadata_tell_what_it_is(built):
    assert "License-Expression: Apache-2.0" in built.metadata
    assert "Requires-Python: >=3.11" in built.metadata
    assert "# comfyui-exporter" in built.metadata, "the README is its description"
    for extra in PROJECT["optional-dependencies"]:
        assert f"Provides-Extra: {extra}" in built.metadata


def test_every_package_that_the_code_imports_is_declared():
    declared = [
        *PROJECT["dependencies"],
        *(each for extra in PROJECT["optional-dependencies"].values() for each in extra),
    ]
    names = {_canonical(re.split(r"[\[<>=!~ ;]", requirement)[0]) for requirement in declared}
    distributions = packages_distributions()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module]
            for module in modules:
                top = module.partition(".")[0]
                if top in sys.stdlib_module_names or top == "comfyui_exporter":
                    continue
                of = {_canonical(each) for each in distributions.get(top, [])} | {PART_OF.get(top, "")}
                assert of & names, f"{file.relative_to(ROOT)} imports {module}, which pyproject.toml does not name"


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_it_watches_a_simulated_comfyui_and_serves_metrics_and_page(built, tmp_path):
    with _listening(built, "simulate", "--port", "0", "--rate", "60") as simulated:
        flags = ["--comfyui.url", f"gpu0={simulated}", "--state.dir", str(tmp_path), "--push.listen-address", ""]
        with _listening(built, "run", "--web.listen-address", "127.0.0.1:0", *flags) as exporter:
            while _status(f"{exporter}/-/ready") != 200:
                pass
            assert 'comfyui_up{server="gpu0"} 1' in _text(f"{exporter}/metrics")
            page = _text(f"{exporter}/")
            for name in ("page.css", "page.js"):
                assert name in page
                assert _status(f"{exporter}/{name}") == 200


@contextmanager
def _listening(built: Built, *arguments: str) -> Iterator[str]:
    command = [built.programs / "comfyui-exporter", *arguments]
    process = subprocess.Popen(
        command, cwd=built.programs, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := re.search(r"(127\.0\.0\.1:\d+)", line):
                yield f"http://{found[1]}"
                break
        else:
            pytest.fail(f"{arguments[0]} did not say where it listens")
    finally:
        process.kill()
        process.communicate()


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        return error.code


def _text(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
        return body.decode()
