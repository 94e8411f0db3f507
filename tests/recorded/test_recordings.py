"""Every recording of a real ComfyUI, watched over HTTP: what a scrape shows at the end, exactly.

The expectations were read from the captures, never from what the code under test makes of them. A recording that does
not show how a job ended is served up to that moment, and `not_shown` names the job.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest

from recorded.server import RECORDINGS, Recording, Replay
from recorded.watching import INTERVAL, Samples, Watcher

Failure = tuple[str, str, str]
"""pattern, node_type, exception_type"""


@dataclass(frozen=True)
class Shown:
    """What is to be seen of a recording once it is over; job_type is "unknown" unless a key says `video/...`."""

    submitted: dict[str, int] = field(default_factory=lambda: {"unknown": 1})
    ran_ms: dict[str, list[int]] = field(default_factory=dict)
    """By status of the end: from start to end of each run that ran, in ms, by the timestamps in its messages."""
    cancelled: int = 0
    lost: int = 0
    failure: Failure | None = None
    outputs: dict[str, int] = field(default_factory=dict)
    executed: int = 0
    cached: int = 0
    queue: tuple[int, int] | None = (0, 0)
    """running, pending; None: no answer, so nothing is shown."""
    restarts: int = 0
    not_shown: str | None = None


def success(*ms: int, **more: object) -> Shown:
    """Jobs of two nodes that saved an image each."""
    usual: dict[str, object] = {
        "submitted": {"unknown": len(ms)},
        "ran_ms": {"completed": list(ms)},
        "outputs": {"images": len(ms)},
        "executed": 2 * len(ms),
    }
    return Shown(**{**usual, **more})  # type: ignore[arg-type]


def failed(ms: int, failure: Failure, executed: int = 3) -> Shown:
    """One job that failed."""
    return Shown(ran_ms={"failed": [ms]}, failure=failure, executed=executed)


def interrupted(ms: int) -> Shown:
    """One job of two nodes that was interrupted in its first."""
    return Shown(ran_ms={"interrupted": [ms]}, executed=2)


def preview(ms: int, executed: int = 2) -> Shown:
    """A job that only previews, or whose SaveImage was blocked: its file is temporary and no output."""
    return Shown(ran_ms={"completed": [ms]}, executed=executed)


def still_running(prompt_id: str) -> Shown:
    """One job that runs when the recording stops telling."""
    return Shown(queue=(1, 0), not_shown=prompt_id)


WRONG_CHANNELS: Failure = ("shape_mismatch", "ProbeFail", "ValueError")
"""Its message: Expected 4 channels, got 3"""

RECORDED: dict[str, Shown] = {
    # Three jobs ended before the capture begins: what the first look finds in the history is not counted.
    "basics": Shown(submitted={}),
    # 32 ran whole; of 33, 34, 35 and 37 all three nodes were cached, of 36 the first.
    "cached_and_partly_cached": success(469, 1, 0, 0, 170, 1, outputs={"images": 2}, executed=3 + 2, cached=4 * 3 + 1),
    "cached_rerun": success(302, 0, outputs={"images": 1}, executed=2, cached=2),
    # 22, 23, 24 were cleared while 21 ran.
    "clear_queue": success(1005, submitted={"unknown": 4}, cancelled=3),
    "client_id_null": Shown(
        {"unknown": 2}, {"completed": [26], "interrupted": [21]}, outputs={"images": 1}, executed=4
    ),
    "client_id_number": Shown(
        {"unknown": 2}, {"completed": [23], "interrupted": [20]}, outputs={"images": 1}, executed=4
    ),
    # 56 and 57 are two runs of one id, the second in the first one's place; "not-a-uuid" is the third.
    "client_prompt_id_reused": success(122, 123, 12),
    # 0 ended, 1 ran and 2 waited when it was killed; one more after the restart.
    "crash_and_restart": success(105, 104, submitted={"unknown": 4}, lost=2, restarts=1),
    # 19 was deleted.
    "delete_pending": success(1506, 503, submitted={"unknown": 3}, cancelled=1),
    # 11 runs and 12 waits; the deletion of both hits only 12.
    "delete_running_and_pending": success(1206, 103, submitted={"unknown": 3}, cancelled=1),
    "endpoints": success(13),
    # The inner nodes are not in the submitted graph: two nodes each.
    "expanding_node": success(247, 244),
    # extra_data is [1]: SaveImage fails on it; the job after it was interrupted.
    "extra_data_list": Shown(
        {"unknown": 2},
        {"failed": [24], "interrupted": [21]},
        failure=("unknown", "SaveImage", "AttributeError"),
        executed=4,
    ),
    "extra_data_tags": success(503, submitted={"video": 1}, ran_ms={"video/completed": [503]}),
    "fail_file": failed(105, ("missing_file", "ProbeFail", "FileNotFoundError")),
    "fail_no_client_id": failed(106, ("unknown", "ProbeFail", "ValueError")),
    "fail_oom_runtime": failed(112, ("cuda_oom", "ProbeFail", "RuntimeError")),
    "fail_oom_torch": failed(104, ("cuda_oom", "ProbeFail", "torch.OutOfMemoryError")),
    # "Connection timeout"
    "fail_timeout": failed(105, ("connection", "ProbeFail", "TimeoutError")),
    "fail_value": failed(105, WRONG_CHANNELS),
    # In 2 ms, between two looks: never in /queue.
    "fast_job": success(2),
    "feature_flags": still_running("262c3472-1603-4a79-a63a-272a8f2d6814"),
    "front_insert_and_order": success(804, 102, 102),
    # Both ended; then one was deleted from the history and the history cleared.
    "history_clear_and_delete": success(102, 104),
    "interrupt_no_client_id": interrupted(803),
    "interrupt_running": interrupted(904),
    "invalid_prompts": Shown(submitted={}),
    # Thirteen were refused (two of them with 500); one ran although one of its output nodes was invalid.
    "invalid_prompts_more": success(42),
    # Two stills saved (and two previewed), an animation and a video under `images`, one text.
    "output_kinds": success(52, outputs={"images": 2, "video": 2, "text": 1}, executed=7),
    # One id three times (the last fails, with a preview), "not a uuid/../x", "", "None", "17".
    "prompt_id_of_client": Shown(
        {"unknown": 7},
        {"completed": [403, 202, 23, 22, 22, 22], "failed": [126]},
        failure=WRONG_CHANNELS,
        outputs={"images": 6},
        executed=6 * 2 + 4,
    ),
    "queue_order_and_front": success(1205, 22, 21, 22, 22, 22, 22, 22, 25),
    "quiet_node": success(1502),
    "receivers_blocked_of_nobody": preview(123, executed=4),
    "receivers_blocked_of_observer": preview(122, executed=4),
    "receivers_blocked_of_stranger": preview(125, executed=4),
    "receivers_blocked_of_submitter": preview(123, executed=4),
    "receivers_error_of_nobody": failed(131, WRONG_CHANNELS, executed=4),
    "receivers_error_of_observer": failed(128, WRONG_CHANNELS, executed=4),
    "receivers_error_of_stranger": failed(128, WRONG_CHANNELS, executed=4),
    "receivers_error_of_submitter": failed(177, WRONG_CHANNELS, executed=4),
    "receivers_interrupt_of_nobody": interrupted(704),
    "receivers_interrupt_of_observer": interrupted(704),
    "receivers_interrupt_of_stranger": interrupted(704),
    "receivers_interrupt_of_submitter": interrupted(703),
    "receivers_preview_of_nobody": preview(362),
    "receivers_preview_of_observer": preview(369),
    "receivers_preview_of_stranger": preview(362),
    "receivers_preview_of_submitter": preview(362),
    "receivers_success_of_nobody": success(362),
    "receivers_success_of_observer": success(363),
    "receivers_success_of_stranger": success(362),
    "receivers_success_of_submitter": success(381),
    "same_client_id_takeover": still_running("ea23f4fd-20eb-42b5-ace6-a91d3983a469"),
    "same_client_id_twice": success(304),
    # The second twin's entry replaced the first one's before the history was read, so the first one's end is not shown.
    "same_number_and_prompt_id_twice": success(
        808, submitted={"unknown": 3}, queue=(1, 1), not_shown="ca8c075e-8f79-43c2-a070-1f2accf598e3"
    ),
    # The process exits with the job in its queue and never comes back: it is not lost as long as nobody answers.
    "server_exits_client_id_object": Shown(queue=None),
    "socket_joins_and_leaves_midway": still_running("de711659-618f-422f-863d-bad5a0b330c9"),
    # 4 and 5 deleted, 6 to 8 cleared; then 3 is interrupted, and its entry deleted before anybody read it.
    "status_when_it_fires": Shown(
        {"unknown": 6}, cancelled=5, queue=(1, 0), not_shown="5bae4110-deb2-4223-926a-de5a44ba1ee7"
    ),
    "success_addressed_to_observer": success(503),
    "success_no_client_id": success(504),
    "success_own_client": success(505),
    # The third has no tags of its own.
    "tags_in_extra_data": success(
        317,
        304,
        22,
        submitted={"video": 2, "unknown": 1},
        ran_ms={"video/completed": [317, 304], "completed": [22]},
    ),
    # Of twenty entries the capture has four, not the first one's; the tiny ones end while others are still submitted.
    "twenty_jobs": Shown({"unknown": 20}, queue=(1, 19), not_shown="9745d361-a9f9-439d-8f3d-1e88e996631c"),
    "twenty_tiny_jobs": Shown({"unknown": 9}, queue=(1, 8), not_shown="281183d2-fbd0-47ce-a681-3f6f8bf5c9b6"),
    "two_samplers": success(1007, executed=3),
    # extra_data is null: the worker is dead, all else answers.
    "worker_dies_extra_data_null": Shown({"unknown": 2}, queue=(1, 1)),
}

LOOKED_AT_BEFORE_AND_AFTER: dict[str, Shown] = {
    # Deleted while pending, and in no history.
    "clear_queue": success(1005),
    "delete_pending": success(1506, 503),
    "delete_running_and_pending": success(1206, 103),
    "status_when_it_fires": Shown(queue=(1, 0)),
    # Overwritten in the history: 56 by 57; 50 and 51 by 52, which failed.
    "client_prompt_id_reused": success(123, 12),
    "prompt_id_of_client": Shown(
        {"unknown": 5},
        {"completed": [23, 22, 22, 22], "failed": [126]},
        failure=WRONG_CHANNELS,
        outputs={"images": 4},
        executed=4 * 2 + 4,
    ),
    "history_clear_and_delete": Shown(submitted={}),
    # Nothing was known of the process that died, and nobody was refused: it may have been the same all the while.
    "crash_and_restart": success(104),
    "server_exits_client_id_object": Shown(submitted={}, queue=None),
}
"""What is left to be found when nobody looked meanwhile, where that is less than the recording tells."""

with_and_without_socket = pytest.mark.parametrize("socket", [True, False], ids=["socket", "polling"])


def by_label(samples: Samples) -> dict[str, float]:
    """Join the labels; job_type, which is the first, only where it is not "unknown". Without what stands at 0."""
    return {"/".join(key).removeprefix("unknown/"): value for key, value in samples.items() if value}


def check(watcher: Watcher, shown: Shown) -> None:
    """Compare a scrape with what is to be seen."""
    durations = {status: sum(ms) / 1000 for status, ms in shown.ran_ms.items()}
    ran = {status: len(ms) for status, ms in shown.ran_ms.items()}
    vanished = {"cancelled": shown.cancelled, "lost": shown.lost}
    jobs = {**ran, **{status: number for status, number in vanished.items() if number}}
    types = ("job_type", "status")
    assert by_label(watcher.samples("comfyui_jobs_submitted_total", "job_type")) == shown.submitted
    assert by_label(watcher.samples("comfyui_jobs_total", *types)) == jobs
    assert by_label(watcher.samples("comfyui_job_duration_seconds_count", *types)) == ran
    assert by_label(watcher.samples("comfyui_job_duration_seconds_sum", *types)) == pytest.approx(durations, abs=1e-9)
    failures = {} if shown.failure is None else {shown.failure: 1.0}
    patterns = {} if shown.failure is None else {("unknown", shown.failure[0]): 1.0}
    seen = watcher.samples("comfyui_job_failures_total", "job_type", "pattern")
    assert {key: value for key, value in seen.items() if value} == patterns
    details = ("pattern", "node_type", "exception_type")
    assert watcher.samples("comfyui_job_failure_details_total", *details) == failures
    outputs = watcher.samples("comfyui_job_outputs_total", "media")
    assert {media: number for (media,), number in outputs.items() if number} == shown.outputs
    nodes = watcher.samples("comfyui_job_nodes_total", "result")
    assert (nodes["executed",], nodes["cached",]) == (shown.executed, shown.cached)
    queue = {} if shown.queue is None else {("running",): shown.queue[0], ("pending",): shown.queue[1]}
    assert watcher.samples("comfyui_queue_jobs", "state") == queue
    assert watcher.samples("comfyui_up") == {(): float(shown.queue is not None)}
    assert watcher.samples("comfyui_restarts_total") == {(): shown.restarts}


def replay_of(name: str) -> Replay:
    return Replay(Recording(name))


def test_every_recording_is_listed() -> None:
    assert sorted(RECORDED) == sorted(path.stem for path in RECORDINGS.glob("*.json"))


@pytest.mark.parametrize("name", RECORDED)
def test_a_replay_goes_through_the_states_that_the_recorded_answers_show(name: str) -> None:
    replay = replay_of(name)
    for _ in replay.moments():
        pass
    assert replay.disagreements == []
    assert replay.not_shown == RECORDED[name].not_shown


@with_and_without_socket
@pytest.mark.parametrize("name", RECORDED)
async def test_a_scrape_after_a_recording_shows_what_it_tells(name: str, socket: bool) -> None:
    async with Watcher(replay_of(name), socket=socket) as watcher:
        await watcher.replay_all()
        check(watcher, RECORDED[name])


@pytest.mark.parametrize("name", RECORDED)
async def test_a_scrape_shows_the_same_when_frames_wake_the_watcher_in_the_time_of_the_recording(name: str) -> None:
    async with Watcher(replay_of(name), socket=True) as watcher:
        await watcher.replay_in_time()
        check(watcher, RECORDED[name])


@pytest.mark.parametrize("name", RECORDED)
async def test_what_came_and_went_between_two_polls_is_found_in_the_history(name: str) -> None:
    async with Watcher(replay_of(name), socket=False) as watcher:
        await watcher.look()
        for _ in watcher.replay.moments():
            pass
        await watcher.settle()
        check(watcher, LOOKED_AT_BEFORE_AND_AFTER.get(name, RECORDED[name]))


@pytest.mark.parametrize(
    "name",
    ["crash_and_restart", "delete_pending", "history_clear_and_delete", "prompt_id_of_client", "success_own_client"],
)
async def test_an_open_socket_that_hears_nothing_hides_nothing_that_polls_show(name: str) -> None:
    async with Watcher(replay_of(name), socket=True, deaf=True) as watcher:
        await watcher.replay_all()
        check(watcher, RECORDED[name])


@with_and_without_socket
@pytest.mark.parametrize(
    ("name", "begin", "shown"),
    [
        # 21 runs, 22 to 24 wait.
        ("clear_queue", 157, RECORDED["clear_queue"]),
        # 42, -48 and -47 have ended, -3.0 runs, five wait.
        ("queue_order_and_front", 1357, success(22, 22, 22, 22, 22, 25)),
        # The first run of the reused id has ended; then the second takes its place.
        ("client_prompt_id_reused", 279, success(123, 12)),
        ("history_clear_and_delete", 363, Shown(submitted={})),
    ],
)
async def test_a_watcher_that_comes_later_counts_what_is_in_the_queue_then_and_no_history_before(
    name: str, begin: int, shown: Shown, socket: bool
) -> None:
    async with Watcher(replay_of(name), socket=socket) as watcher:
        for ms in watcher.replay.moments():
            if ms >= begin:
                await watcher.look()
        await watcher.settle()
        check(watcher, shown)


@with_and_without_socket
async def test_of_jobs_whose_entries_nobody_read_the_running_one_is_lost_and_the_waiting_one_cancelled(
    socket: bool,
) -> None:
    async with Watcher(replay_of("history_clear_and_delete"), socket=socket) as watcher:
        for ms in watcher.replay.moments():
            if ms <= 205:  # 25 runs, 26 waits
                await watcher.look()
        await watcher.settle()
        check(watcher, Shown({"unknown": 2}, cancelled=1, lost=1))


@with_and_without_socket
async def test_a_front_insertion_runs_before_what_waits(socket: bool) -> None:
    async with Watcher(replay_of("front_insert_and_order"), socket=socket) as watcher:
        await watcher.replay_all()
        assert [prompt_id[:8] for prompt_id in watcher.ran] == ["91c50540", "bf9de4db", "aa0a44ea"]  # 27, -29, 28


@with_and_without_socket
async def test_jobs_run_in_the_order_of_their_numbers_whatever_the_queue_lists_first(socket: bool) -> None:
    async with Watcher(replay_of("queue_order_and_front"), socket=socket) as watcher:
        await watcher.replay_all()
        # 42, then -48, -47, -3.0, 7.5, 43, 44, 45, 46
        assert [prompt_id[:4] for prompt_id in watcher.ran] == [
            *("2f39", "aff1", "43b6", "b863", "3e03", "067c", "a875", "9d11", "5bb5")
        ]


@with_and_without_socket
async def test_a_deleted_job_is_cancelled_only_after_the_grace(socket: bool) -> None:
    async with Watcher(replay_of("delete_pending"), socket=socket) as watcher:
        for _ in watcher.replay.moments():
            await watcher.look(0.5)  # 24 moments: the whole recording is shorter than the grace
        status = ("job_type", "status")
        assert by_label(watcher.samples("comfyui_jobs_total", *status)) == {"completed": 2}
        await watcher.settle()
        assert by_label(watcher.samples("comfyui_jobs_total", *status)) == {"completed": 2, "cancelled": 1}


@with_and_without_socket
async def test_running_and_waiting_jobs_are_lost_only_once_the_restarted_server_answers(socket: bool) -> None:
    async with Watcher(replay_of("crash_and_restart"), socket=socket) as watcher:
        for _ in watcher.replay.moments():
            await watcher.look()
            if not watcher.replay.up:
                await watcher.settle()
                assert watcher.samples("comfyui_up") == {(): 0}
                assert watcher.samples("comfyui_queue_jobs", "state") == {}
                assert by_label(watcher.samples("comfyui_jobs_total", "job_type", "status")) == {"completed": 1}
        await watcher.settle()
        check(watcher, RECORDED["crash_and_restart"])


@with_and_without_socket
async def test_a_job_of_a_dead_worker_runs_on_and_is_flagged_after_six_stall_timeouts(socket: bool) -> None:
    stalled = {("8e0e0134-0b6d-4e81-aa9e-fc4446cbd44f",): 1.0}
    async with Watcher(replay_of("worker_dies_extra_data_null"), socket=socket) as watcher:
        for _ in watcher.replay.moments():
            await watcher.look()
        started = watcher.samples("comfyui_job_start_timestamp_seconds", "prompt_id")
        assert started.keys() == stalled.keys()
        (since,) = started.values()
        await watcher.look(since + 6 * 600 - watcher.now)
        assert watcher.samples("comfyui_job_stalled", "prompt_id") == {}
        await watcher.look(INTERVAL)
        assert watcher.samples("comfyui_job_stalled", "prompt_id") == stalled
        check(watcher, RECORDED["worker_dies_extra_data_null"])


@with_and_without_socket
async def test_what_is_deleted_from_the_history_after_it_was_read_stays_counted_once(socket: bool) -> None:
    async with Watcher(replay_of("history_clear_and_delete"), socket=socket) as watcher:
        for _ in watcher.replay.moments():
            await watcher.look()
        assert watcher.replay.history == {}
        before = by_label(watcher.samples("comfyui_jobs_total", "job_type", "status"))
        await watcher.settle()
        assert by_label(watcher.samples("comfyui_jobs_total", "job_type", "status")) == before == {"completed": 2}


@with_and_without_socket
async def test_the_second_run_of_a_reused_prompt_id_is_counted_when_it_takes_the_first_ones_place(socket: bool) -> None:
    reused = "610bd966-4d1e-4f87-81ad-91735e5b3017"
    async with Watcher(replay_of("client_prompt_id_reused"), socket=socket) as watcher:
        numbers = Counter[float]()
        for _ in watcher.replay.moments():
            await watcher.look()
            if reused in watcher.replay.history:
                numbers[watcher.replay.history[reused]["prompt"][0]] += 1
        assert sorted(numbers) == [56, 57]
        await watcher.settle()
        check(watcher, RECORDED["client_prompt_id_reused"])


@with_and_without_socket
async def test_two_jobs_of_one_number_and_prompt_id_are_two_although_the_second_was_answered_by_500(
    socket: bool,
) -> None:
    twin = "ca8c075e-8f79-43c2-a070-1f2accf598e3"
    async with Watcher(replay_of("same_number_and_prompt_id_twice"), socket=socket) as watcher:
        most = 0.0
        for _ in watcher.replay.moments():
            await watcher.look()
            most = max(most, watcher.samples("comfyui_queue_jobs", "state").get(("pending",), 0.0))
        assert most == 2
        assert watcher.samples("comfyui_job_start_timestamp_seconds", "prompt_id").keys() == {(twin,)}
        await watcher.settle()
        check(watcher, RECORDED["same_number_and_prompt_id_twice"])


@pytest.mark.parametrize("name", ["extra_data_tags", "tags_in_extra_data"])
async def test_the_job_id_tag_of_a_running_job_is_shown_and_no_secret_is(name: str) -> None:
    seen = set[tuple[str, ...]]()
    async with Watcher(replay_of(name), socket=True) as watcher:
        for _ in watcher.replay.moments():
            await watcher.look()
            seen |= watcher.samples("comfyui_job_start_timestamp_seconds", "job_id", "job_type").keys()
            assert "secret" not in watcher.scrape()
    assert ("123", "video") in seen
    assert seen <= {("123", "video"), ("", "unknown")}


@with_and_without_socket
async def test_the_failed_job_is_shown_by_name_and_the_interrupted_one_is_not(socket: bool) -> None:
    async with Watcher(replay_of("extra_data_list"), socket=socket) as watcher:
        await watcher.replay_all()
        named = watcher.samples("comfyui_job_failed_timestamp_seconds", "prompt_id", "pattern", "node_type")
        assert named.keys() == {("8c87eaa8-3e05-492a-bd17-efb3a84b726f", "unknown", "SaveImage")}
