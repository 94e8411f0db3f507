"""promtool of the installed version finds the configuration, the rules and their behaviour right."""

from __future__ import annotations

import re

import pytest
import yaml

from prometheus.shipped import ALL, FOLDER, RULE_FILES, TEST_FILES, promtool

OLDEST = (2, 42)
"""Of Debian 12, and the first that knows keep_firing_for."""


def test_promtool_is_of_a_version_that_we_support():
    said = promtool("--version")
    found = re.search(r"version (\d+)\.(\d+)\.", said)
    assert found, said
    assert (int(found[1]), int(found[2])) >= OLDEST


def test_the_configuration_and_all_rules_are_valid():
    said = promtool("check", "config", FOLDER / "prometheus.yml")
    assert f"{len(RULE_FILES)} rule files found" in said


def test_the_rules_are_without_lint():
    promtool("check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES)


def test_what_is_commented_out_for_fleets_is_valid_once_it_is_not(tmp_path):
    text = (FOLDER / "prometheus.yml").read_text().replace("rules/*.yml", f"{FOLDER}/rules/*.yml")
    used = re.sub(r"^(  )# (- job_name|  |    - )", r"\1\2", text, flags=re.MULTILINE)
    used = used.replace("  # external_labels", "  external_labels").replace("   # on all alerts", "   # on all")
    jobs = {job["job_name"]: job for job in yaml.safe_load(used)["scrape_configs"]}
    assert list(jobs) == ["comfyui", "prometheus", "alertmanager", "dcgm", "comfyui-fleet"]
    assert jobs["comfyui-fleet"]["honor_labels"] is True
    assert jobs["comfyui-fleet"]["http_sd_configs"][0]["url"].endswith("/sd")
    assert yaml.safe_load(used)["global"]["external_labels"]
    file = tmp_path / "prometheus.yml"
    file.write_text(used)
    promtool("check", "config", file)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("file", TEST_FILES, ids=lambda file: file.stem)
def test_the_rules_do_what_their_tests_say(file):
    promtool("test", "rules", file)


@pytest.mark.parametrize("file", TEST_FILES, ids=lambda file: file.stem)
def test_each_group_is_evaluated_after_those_that_it_reads(file):
    """promtool evaluates groups that it is told no order of in any; Prometheus does so at once, again and again."""
    order = yaml.safe_load(file.read_text())["group_eval_order"]
    assert sorted(order) == sorted({rule.group for rule in ALL})
