"""What a real ComfyUI answered is read whole, and says what happened."""

from __future__ import annotations

import json

import pytest

from comfyui.recorded import RECORDINGS, frames, gets, history_of, known_none
from comfyui_exporter.comfyui.events import OtherEvent, StatusEvent, read_frame
from comfyui_exporter.comfyui.history import read_history
from comfyui_exporter.comfyui.queue import read_prompt, read_queue
from comfyui_exporter.comfyui.submission import SubmissionReader
from comfyui_exporter.comfyui.system import read_system_stats
from comfyui_exporter.tracker.observations import Details, Failure, Media, Outcome, Output

PLAIN = SubmissionReader()


def test_there_are_recordings_of_every_read():
    assert {get.route for get in gets()} >= {"/prompt", "/queue", "/history", "/system_stats"}


@pytest.mark.parametrize("scenario", sorted(file.stem for file in RECORDINGS.glob("*.json")))
def test_every_recorded_answer_is_read_without_a_problem(scenario):
    for get in gets(scenario):
        told = json.loads(get.body)
        match get.route:
            case "/queue":
                queue = read_queue(get.body, PLAIN, known_none)
                assert queue.problems == []
                assert [(item.number, item.prompt_id) for item in queue.running] == [
                    (item[0], item[1]) for item in told["queue_running"]
                ]
                assert [(item.number, item.prompt_id) for item in queue.pending] == [
                    (item[0], item[1]) for item in told["queue_pending"]
                ]
                assert all(item.details is not None for item in queue.running + queue.pending)
            case "/history":
                history = read_history(get.body, PLAIN)
                assert history.problems == []
                assert history.size == len(told)
                assert [(entry.prompt_id, entry.number) for entry in history.entries] == [
                    (prompt_id, entry["prompt"][0]) for prompt_id, entry in told.items()
                ]
                assert all(entry.started_ms and entry.ended_ms for entry in history.entries)
                assert all(entry.started_ms <= entry.ended_ms for entry in history.entries)
            case "/prompt":
                assert read_prompt(get.body) == told["exec_info"]["queue_remaining"]
            case "/system_stats":
                stats = read_system_stats(get.body)
                assert stats.version == "0.3.64"
                assert stats.ram_total == told["system"]["ram_total"]
                assert [(device.name, device.type) for device in stats.devices] == [("0", "cpu")]
                assert stats.devices[0].vram_free == told["devices"][0]["vram_free"]


@pytest.mark.parametrize("scenario", sorted(file.stem for file in RECORDINGS.glob("*.json")))
def test_no_recorded_history_entry_contradicts_its_own_status(scenario):
    for get in gets(scenario):
        if get.route != "/history":
            continue
        told = json.loads(get.body)
        for entry in read_history(get.body, PLAIN).entries:
            status = told[entry.prompt_id]["status"]
            events = {event for event, _ in status["messages"]}
            if "execution_interrupted" in events:
                assert (entry.outcome, entry.failure) == (Outcome.INTERRUPTED, None)
            elif status["status_str"] == "error":
                assert entry.outcome is Outcome.FAILED
                assert entry.failure is not None
                assert entry.failure.exception_type
            else:
                assert (entry.outcome, entry.failure) == (Outcome.COMPLETED, None)


def test_every_recorded_frame_is_read():
    statuses = 0
    for frame in frames():
        kind, event = read_frame(json.dumps(frame))
        assert kind == frame["type"]
        if kind == "status":
            statuses += 1
            assert event == StatusEvent(frame["data"]["status"]["exec_info"]["queue_remaining"])
        else:
            # `executing` without prompt_id greets a socket of the submitter's id, and a blocked node's error is no end.
            unread = kind == "feature_flags" or "prompt_id" not in frame["data"] or "timestamp" not in frame["data"]
            assert not isinstance(event, StatusEvent)
            assert unread or not isinstance(event, OtherEvent)
    assert statuses > 100


def test_stills_animations_videos_and_text_are_told_apart_and_previews_are_left_out():
    (entry,) = history_of("output_kinds")
    assert entry.output_counts == {Media.IMAGES: 2, Media.VIDEO: 2, Media.TEXT: 1}
    assert len(entry.outputs) == 5
    assert {output.type for output in entry.outputs} == {"output"}
    endings = sorted((output.media, output.filename.rpartition(".")[2]) for output in entry.outputs)
    assert [media for media, _ in endings] == ["images", "images", "text", "video", "video"]
    assert {ending for media, ending in endings if media is Media.VIDEO} == {"webp", "mp4"}


def test_a_cached_rerun_produced_nothing():
    first, again = history_of("cached_rerun")
    assert first.output_counts == {Media.IMAGES: 1}
    assert (first.nodes_executed, first.nodes_cached) == (2, 0)
    assert again.output_counts == {}
    assert again.outputs == ()
    assert (again.nodes_executed, again.nodes_cached) == (0, 2)


def test_outputs_of_cached_nodes_are_not_counted_again():
    entries = history_of("cached_and_partly_cached")
    assert [(entry.nodes_executed, entry.nodes_cached) for entry in entries] == [
        (3, 0),
        (0, 3),
        (0, 3),
        (0, 3),
        (2, 1),
        (0, 3),
    ]
    assert [entry.output_counts.get(Media.IMAGES, 0) for entry in entries] == [1, 0, 0, 0, 1, 0]
    assert entries[4].outputs == (Output("3", Media.IMAGES, "probe_00010_.png"),)


@pytest.mark.parametrize(
    "scenario",
    [
        "interrupt_running",
        "interrupt_no_client_id",
        "receivers_interrupt_of_nobody",
        "receivers_interrupt_of_observer",
        "receivers_interrupt_of_stranger",
        "receivers_interrupt_of_submitter",
    ],
)
def test_an_interrupt_is_no_failure(scenario):
    assert {(entry.outcome, entry.failure) for entry in history_of(scenario)} == {(Outcome.INTERRUPTED, None)}


def test_out_of_memory_as_torch_says_it():
    (entry,) = history_of("fail_oom_torch")
    assert entry.outcome is Outcome.FAILED
    assert entry.failure == Failure(
        "2",
        "ProbeFail",
        "torch.OutOfMemoryError",
        "Allocation on device 0 would exceed allowed memory. (out of memory)\nThis error means you ran out of memory "
        "on your GPU.\n\nTIPS: If the workflow worked before you might have accidentally set the batch_size to a large "
        "number.",
    )


def test_out_of_memory_as_a_runtime_error():
    (entry,) = history_of("fail_oom_runtime")
    assert entry.outcome is Outcome.FAILED
    assert entry.failure == Failure(
        "2",
        "ProbeFail",
        "RuntimeError",
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.64 GiB of which 1.10 GiB is "
        "free.",
    )


@pytest.mark.parametrize("who", ["nobody", "observer", "stranger", "submitter"])
def test_a_job_with_a_blocked_node_is_completed(who):
    entries = history_of(f"receivers_blocked_of_{who}")
    assert entries
    assert {(entry.outcome, entry.failure) for entry in entries} == {(Outcome.COMPLETED, None)}


def test_a_failed_job_keeps_what_its_earlier_nodes_put_out():
    (entry,) = history_of("receivers_error_of_nobody")
    assert entry.outcome is Outcome.FAILED
    assert entry.output_counts == {}  # in the recording it is a preview
    assert entry.nodes_executed == 4


def test_tags_are_read_from_the_queue_and_from_the_history_alike():
    given = Details(job_id=123, job_type="video", batch_id="b-1")
    seen = {
        item.prompt_id: item.details
        for get in gets("tags_in_extra_data")
        if get.route == "/queue"
        for item in read_queue(get.body, PLAIN, known_none).running
    }
    later = {entry.prompt_id: entry.details for entry in history_of("tags_in_extra_data")}
    assert sorted(seen.values(), key=str) == sorted(later.values(), key=str)
    assert seen == later
    assert list(later.values()).count(given) == 2
    assert list(later.values()).count(Details()) == len(later) - 2


def test_what_was_not_asked_for_is_not_kept_of_extra_data():
    shown = [
        repr(read_queue(get.body, PLAIN, known_none) if get.route == "/queue" else read_history(get.body, PLAIN))
        for get in gets("tags_in_extra_data")
        if get.route in {"/queue", "/history"}
    ]
    submitted = [
        step["request"]["body"]["extra_data"]
        for step in json.loads((RECORDINGS / "tags_in_extra_data.json").read_text())["steps"]
        if step["kind"] == "http" and "extra_data" in (step["request"].get("body") or {})
    ]
    secrets = {
        value
        for extra in submitted
        for key, value in extra.items()
        if isinstance(value, str) and key not in {"job_id", "job_type", "batch_id"}
    }
    assert secrets
    assert not [secret for secret in secrets for text in shown if secret in text]


def test_extra_data_that_is_a_list_is_no_obstacle():
    failed = history_of("extra_data_list")[0]
    assert failed.details == Details()
    assert failed.failure == Failure("2", "SaveImage", "AttributeError", "'list' object has no attribute 'get'")


def test_a_job_whose_extra_data_is_null_is_seen_running():
    bodies = [get.body for get in gets("worker_dies_extra_data_null") if get.route == "/queue"]
    running = {item for body in bodies for item in read_queue(body, PLAIN, known_none).running}
    assert [(item.number, item.details) for item in running] == [(0.0, Details())]


def test_a_reused_prompt_id_is_two_runs_by_number_and_start():
    runs = [entry for entry in history_of("client_prompt_id_reused") if entry.prompt_id.startswith("610bd966")]
    assert [run.number for run in runs] == [56.0, 57.0]
    assert len({run.started_ms for run in runs}) == 2
    assert len({run.identity for run in runs}) == 2


def test_the_inner_nodes_of_an_expanding_node_are_not_in_the_graph_and_not_counted():
    assert {entry.nodes_executed for entry in history_of("expanding_node")} == {2}


def test_only_what_the_valid_outputs_need_is_counted_as_executed():
    partly = next(
        entry
        for get in gets("invalid_prompts_more")
        if get.route == "/history"
        for entry in read_history(get.body, PLAIN).entries
    )
    told = next(json.loads(get.body) for get in gets("invalid_prompts_more") if get.route == "/history")
    graph = told[partly.prompt_id]["prompt"][2]
    assert 0 < partly.nodes_executed < len(graph)
