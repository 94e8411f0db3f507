"""How the nodes of a prompt are executed, beyond what the recordings show."""

from __future__ import annotations

import json

import pytest

from comfyui_exporter.simulator.executor import accident_in
from comfyui_exporter.simulator.failures import FAILURES
from comfyui_exporter.simulator.node_classes import NODE_CLASSES
from comfyui_exporter.simulator.nodes import Task
from comfyui_exporter.simulator.validation import validate
from comfyui_exporter.simulator.worker import run_to_end, work_on
from comfyui_exporter.simulator.workflows import KINDS


def events(bench, name):
    return [data for event, data, _ in bench.events if event == name]


@pytest.mark.parametrize("kind", KINDS)
def test_every_workflow_is_valid_and_shows_files(bench, kind):
    for _ in range(5):
        workflow = KINDS[kind](bench.comfy.rng)
        assert validate(workflow.graph).node_errors == {}
        bench.comfy.submit({"prompt": workflow.graph})
        run_to_end(bench.comfy)
        (entry,) = list(bench.comfy.history(1).body.values())
        assert entry["status"]["completed"]
        assert '"type": "output"' in json.dumps(entry["outputs"])


@pytest.mark.parametrize("name", FAILURES)
def test_every_failure_happens_in_a_workflow_that_can_fail_like_it(bench, name):
    for kind in KINDS.values():
        bench.comfy.submit({"prompt": kind(bench.comfy.rng).graph})
        execution = bench.comfy.start_next()
        accident = accident_in(execution, name, bench.comfy.rng)
        for _ in work_on(bench.comfy, execution, accident):
            pass
        run = bench.comfy.ledger.runs[-1]
        assert run.exception_type == (FAILURES[name].exception_type if accident else None)
    assert "failed" in {run.truth for run in bench.comfy.ledger.runs}


def test_a_model_is_loaded_once_and_again_after_another_one(bench):
    machine = bench.comfy.machine
    assert machine.load_ms("a", 2) > 0
    assert machine.load_ms("a", 2) == 0
    assert machine.load_ms("b", 4) > 0
    assert machine.load_ms("a", 2) > 0


def test_larger_and_longer_videos_take_longer(bench):
    def step_ms(width, length):
        graph = {
            "1": {"class_type": "EmptyHunyuanLatentVideo", "inputs": {"width": width, "height": 480, "length": length}},
            "2": {"class_type": "KSampler", "inputs": {"steps": 20, "latent_image": ["1", 0]}},
        }
        return NODE_CLASSES["KSampler"].work(Task("2", graph["2"]["inputs"], graph, bench.comfy.machine)).step_ms

    assert step_ms(832, 81) > step_ms(832, 49) > step_ms(416, 49) > 0


def test_a_rerun_is_cached_only_while_nothing_else_ran(bench):
    graph = bench.graph()
    for prompt in (graph, graph, bench.graph(), graph):
        bench.comfy.submit({"prompt": prompt, "client_id": "me"})
        run_to_end(bench.comfy)
    assert [data["nodes"] for data in events(bench, "execution_cached")] == [[], ["1", "2"], [], []]


def test_nothing_is_cached_after_a_restart(bench):
    graph = bench.graph()
    for _ in range(2):
        bench.comfy.submit({"prompt": graph, "client_id": "me"})
        run_to_end(bench.comfy)
        bench.comfy.restart()
    assert [data["nodes"] for data in events(bench, "execution_cached")] == [[], []]


def test_newer_versions_say_that_a_model_is_loading(make_bench):
    bench = make_bench(profile="0.38")
    bench.comfy.submit({"prompt": KINDS["image"](bench.comfy.rng).graph})
    run_to_end(bench.comfy)
    activities = [node["activity"] for data in events(bench, "progress_state") for node in data["nodes"].values()]
    assert "loading" in activities
    assert None in activities


def test_a_nested_expansion_keeps_the_ids_of_its_parents(bench):
    graph = bench.graph()
    graph["1"] = {"class_type": "ProbeExpand", "inputs": {"count": 3}}
    bench.comfy.submit({"prompt": graph})
    run_to_end(bench.comfy)
    inner = events(bench, "progress_state")[-1]["nodes"]["1.0.0.3"]
    assert (inner["parent_node_id"], inner["display_node_id"], inner["real_node_id"]) == ("1", "1", "1")


def test_an_interrupt_leaves_outputs_of_finished_nodes_in_the_history(bench):
    graph = {
        **bench.graph(),
        "3": {"class_type": "ProbeSteps", "inputs": {"steps": 3, "step_ms": 1, "seed": 9, "image": ["1", 0]}},
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
    }
    bench.comfy.submit({"prompt": graph})
    execution = bench.comfy.start_next()
    for _ in work_on(bench.comfy, execution):
        if "2" in execution.executed:
            bench.comfy.interrupt()
    (entry,) = bench.comfy.history().body.values()
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"
    assert list(entry["outputs"]) == ["2"]
