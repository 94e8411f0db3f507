"""The image: what exporter/Dockerfile promises."""

from __future__ import annotations

import fnmatch
import re

from comfyui_exporter import __version__
from comfyui_exporter.config.flags import FLAGS
from comfyui_exporter.config.relay_flags import RELAY_FLAGS
from deploy.compose import ROOT

TEXT = (ROOT / "exporter/Dockerfile").read_text()


def instructions(text):
    """Name and arguments of each, with continued lines joined."""
    joined = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


ALL = instructions(TEXT)
STARTS = [index for index, (name, _) in enumerate(ALL) if name == "FROM"]
FINAL = ALL[STARTS[-1] :]
ARGUMENTS = dict(value.split("=", 1) for name, value in ALL if name == "ARG")


def of(name, among=FINAL):
    return [value for known, value in among if known == name]


def environment():
    return dict(pair.split("=", 1) for value in of("ENV") for pair in value.split())


def test_what_builds_is_not_in_what_runs():
    assert len(STARTS) == 2
    assert "pip install" not in " ".join(of("RUN"))


def test_every_stage_begins_with_a_slim_python_of_a_fixed_version():
    for index in STARTS:
        image = ALL[index][1].split(" AS ")[0].replace("${PYTHON_VERSION}", ARGUMENTS["PYTHON_VERSION"])
        assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", image)


def test_it_runs_as_a_user_with_a_number_that_is_not_root():
    assert of("USER")[-1] == "10001:10001"
    assert "--uid 10001" in " ".join(of("RUN"))


def test_it_asks_nobody_but_the_package_index():
    for command in of("RUN", ALL):
        assert not re.search(r"\b(curl|wget|apt-get|git|ADD)\b", command)
    assert not of("ADD", ALL)


def test_its_health_check_is_the_program_itself():
    (check,) = of("HEALTHCHECK")
    assert check.endswith('CMD ["comfyui-exporter", "healthcheck"]')


def test_its_labels_say_what_it_is_in_which_version():
    (labels,) = of("LABEL")
    said = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]+)"', labels))
    assert {"title", "description", "version", "licenses"} <= set(said)
    assert said["version"] == __version__


def test_its_state_is_in_a_volume_that_its_user_owns():
    (volume,) = of("VOLUME")
    assert environment()["COMFYUI_EXPORTER_STATE_DIR"] == volume
    assert f"install -d -o 10001 -g 10001 -m 750 {volume}" in " ".join(of("RUN"))


def test_it_listens_on_every_address_of_the_container():
    known = {flag.variable for flag in (*FLAGS, *RELAY_FLAGS)}
    ours = {name: value for name, value in environment().items() if name.startswith("COMFYUI_")}
    assert set(ours) <= known
    addresses = {name: value for name, value in ours.items() if "LISTEN_ADDRESS" in name}
    assert set(addresses.values()) == {"0.0.0.0:9188", "0.0.0.0:8329"}
    assert len(addresses) == 3
    assert of("EXPOSE") == ["9188 8329"]


def test_nothing_is_installed_that_is_not_pinned_with_its_hash():
    installing = [part for line in of("RUN", ALL) for part in line.split("&&") if "pip" in part]
    installing = [" ".join(part.split()) for part in installing if " install " in part]
    assert len(installing) == 3
    for command in installing:
        assert "--require-hashes --only-binary :all: -r" in command or "--no-deps --no-index /wheels/" in command
    (building,) = (part for line in of("RUN", ALL) for part in line.split("&&") if "pip wheel" in part)
    assert "--no-deps --no-build-isolation" in building


def test_what_is_copied_is_sent_to_the_build_and_nothing_else_is():
    first, *rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert first == "*"
    sent = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    for value in of("COPY", ALL[: STARTS[-1]]):
        for source in value.split()[:-1]:
            assert any(fnmatch.fnmatch(source, f"{rule}*") for rule in sent), source
    assert sent == {"pyproject.toml", "README.md", "LICENSE", "exporter"}
