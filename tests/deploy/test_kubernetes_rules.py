"""The rules for Kubernetes are those of prometheus/rules/; those for pairs say of two what they say of one."""

from __future__ import annotations

import importlib.util
import re

import pytest
import yaml

from deploy.kubernetes import FOLDER
from docs.pages import ROOT
from prometheus.shipped import RULE_FILES, TEST_FILES, promtool

COMPONENTS = FOLDER / "components"
SERIES_OF_EXPORTERS = re.compile(r"(comfyui_(?!gpu_)\w+|up|scrape_\w+)(\{|$)")
BOTH = ("a", "b")


def program():
    spec = importlib.util.spec_from_file_location("kubernetes_rules", ROOT / "scripts/kubernetes_rules.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PROGRAM = program()


def groups(kind, file):
    return yaml.safe_load((COMPONENTS / kind / "rules" / f"{file.stem}.yaml").read_text())["spec"]["groups"]


def test_the_committed_files_are_what_the_program_writes(tmp_path):
    PROGRAM.main(tmp_path)
    fresh = {str(file.relative_to(tmp_path)): file.read_text() for file in tmp_path.rglob("*.yaml")}
    there = {str(file.relative_to(COMPONENTS)): file.read_text() for file in COMPONENTS.glob("*/rules/*.yaml")}
    assert fresh == there, "run `make kubernetes` and commit the result"
    assert len(fresh) == 2 * len(RULE_FILES)


@pytest.mark.parametrize("kind", ["prometheus-operator", "ha"])
def test_all_files_of_rules_are_named_in_the_component(kind):
    text = (COMPONENTS / kind / "kustomization.yaml").read_text()
    assert sorted(re.findall(r"rules/([\w-]+)\.yaml", text)) == sorted(file.stem for file in RULE_FILES)


@pytest.mark.parametrize("file", RULE_FILES, ids=lambda file: file.stem)
def test_the_rules_of_the_operator_are_those_of_prometheus(file):
    assert groups("prometheus-operator", file) == yaml.safe_load(file.read_text())["groups"]


@pytest.mark.parametrize("file", RULE_FILES, ids=lambda file: file.stem)
def test_the_rules_for_pairs_differ_in_expressions_alone(file):
    def without(found):
        return [{**group, "rules": [{**rule, "expr": ""} for rule in group["rules"]]} for group in found]

    assert without(groups("ha", file)) == without(yaml.safe_load(file.read_text())["groups"])


@pytest.fixture(scope="module")
def for_pairs(tmp_path_factory):
    """The files of rules for pairs, as Prometheus reads them."""
    folder = tmp_path_factory.mktemp("rules")
    for file in RULE_FILES:
        (folder / file.name).write_text(yaml.safe_dump({"groups": groups("ha", file)}, sort_keys=False))
    return folder


def test_promtool_takes_the_rules_for_pairs(for_pairs):
    promtool("check", "rules", *sorted(for_pairs.glob("*.yml")))


def of(series, replica):
    """The series as one of a pair has it, or as it is, if it comes from nowhere else."""
    if not SERIES_OF_EXPORTERS.match(series):
        return series
    return re.sub(r"\}$", f',replica="{replica}"}}', series) if "{" in series else f'{series}{{replica="{replica}"}}'


def of_a_pair(series):
    return [
        {**each, "series": name} for each in series for name in dict.fromkeys(of(each["series"], one) for one in BOTH)
    ]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("file", TEST_FILES, ids=lambda file: file.stem)
def test_of_a_pair_that_agrees_the_rules_say_what_they_say_of_one(file, for_pairs, tmp_path):
    tests = yaml.safe_load(file.read_text())
    tests["rule_files"] = [name.replace("../rules", str(for_pairs)) for name in tests["rule_files"]]
    before = sum(len(test["input_series"]) for test in tests["tests"])
    for test in tests["tests"]:
        test["input_series"] = of_a_pair(test["input_series"])
    assert sum(len(test["input_series"]) for test in tests["tests"]) > before
    copy = tmp_path / file.name
    copy.write_text(yaml.safe_dump(tests, sort_keys=False))
    promtool("test", "rules", copy)


ORDER = yaml.safe_load(TEST_FILES[0].read_text())["group_eval_order"]
TARGET = 'job="comfyui",instance="comfyui-exporter-0"'


def judge(for_pairs, tmp_path, series, **what):
    file = tmp_path / "pair.yml"
    test = {"interval": "1m", "input_series": [{"series": name, "values": values} for name, values in series], **what}
    whole = {"rule_files": [f"{for_pairs}/*.yml"], "group_eval_order": ORDER, "evaluation_interval": "1m"}
    file.write_text(yaml.safe_dump({**whole, "tests": [test]}, sort_keys=False))
    return promtool("test", "rules", file)


def fires(*, count):
    return {
        "promql_expr_test": [
            {
                "expr": 'count(ALERTS{alertname="ComfyUIExporterDown",alertstate="firing"}) or vector(0)',
                "eval_time": "20m",
                "exp_samples": [{"labels": "{}", "value": count}],
            }
        ]
    }


def test_a_pair_of_which_one_answers_is_not_down(for_pairs, tmp_path):
    series = [(f'up{{{TARGET},replica="a"}}', "1x30"), (f'up{{{TARGET},replica="b"}}', "0x30")]
    judge(for_pairs, tmp_path, series, **fires(count=0))


def test_a_pair_of_which_none_answers_is_down_once(for_pairs, tmp_path):
    series = [(f'up{{{TARGET},replica="{one}"}}', "0x30") for one in BOTH]
    judge(for_pairs, tmp_path, series, **fires(count=1))


def test_jobs_that_both_have_counted_are_counted_once_and_one_that_comes_late_takes_none_away(for_pairs, tmp_path):
    labels = f'{TARGET},server="gpu0",job_type="video",status="completed"'
    series = [
        (f'comfyui_jobs_total{{{labels},replica="a"}}', "100+1x90"),
        # It was away, and begins with a store of its own.
        (f'comfyui_jobs_total{{{labels},replica="b"}}', "_x40 3+1x50"),
        (f'comfyui_restarts_total{{{TARGET},server="gpu0",replica="a"}}', "0x90"),
    ]
    query = {
        "expr": "round(job_type_status:comfyui_jobs:increase30m)",
        "eval_time": "80m",
        "exp_samples": [{"labels": f"{{{labels}}}", "value": 30}],
    }
    judge(for_pairs, tmp_path, series, promql_expr_test=[query])


@pytest.mark.parametrize(
    ("one", "pair"),
    [
        ("comfyui_up == 0", "max without (replica) (comfyui_up) == 0"),
        ('up{job=~".*comfyui.*"}', 'max without (replica) (up{job=~".*comfyui.*"})'),
        ("sum(rate(comfyui_jobs_total[5m]))", "sum(max without (replica) (rate(comfyui_jobs_total[5m])))"),
        (
            'count by (up) (present_over_time(comfyui_up{server="}"}[10m] offset 5m) > 1)',
            'count by (up) (max without (replica) (present_over_time(comfyui_up{server="}"}[10m] offset 5m)) > 1)',
        ),
        ("comfyui_up offset 5m or a", "max without (replica) (comfyui_up offset 5m) or a"),
        ('label_replace(x, "comfyui_up", "up", "", "")', 'label_replace(x, "comfyui_up", "up", "", "")'),
        ("server:comfyui_busy:ratio > comfyui:threshold_x", "server:comfyui_busy:ratio > comfyui:threshold_x"),
        ("prometheus_notifications_errors_total", "prometheus_notifications_errors_total"),
    ],
)  # fmt: skip
def test_what_is_scraped_is_made_one_series_and_nothing_else_is_touched(one, pair):
    assert PROGRAM.take_larger(one) == pair


def test_a_form_that_it_does_not_know_is_refused():
    with pytest.raises(ValueError, match="not the only argument"):
        PROGRAM.take_larger("quantile_over_time(0.9, comfyui_up[5m])")


@pytest.mark.parametrize("replicas", [("a",), BOTH])
def test_keda_wants_as_many_comfyuis_for_a_pair_as_for_one(replicas, for_pairs, tmp_path):
    (scaled,) = yaml.safe_load_all((COMPONENTS / "keda/scaledobject.yaml").read_text())
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    series = [
        *((f'comfyui_queue_drain_seconds{{{TARGET},server="gpu0",replica="{one}"}}', "900x5") for one in replicas),
        *((f'comfyui_queue_jobs{{{TARGET},server="gpu0",state="pending",replica="{one}"}}', "9x5") for one in replicas),
        # No estimate yet: 2 waiting jobs and a running one.
        *((f'comfyui_queue_jobs{{{TARGET},server="new",state="pending",replica="{one}"}}', "2x5") for one in replicas),
        *((f'comfyui_queue_jobs{{{TARGET},server="new",state="running",replica="{one}"}}', "1x5") for one in replicas),
    ]
    test = {"expr": query, "eval_time": "3m", "exp_samples": [{"labels": "{}", "value": 900 + 3 * 60}]}
    judge(for_pairs, tmp_path, series, promql_expr_test=[test])
