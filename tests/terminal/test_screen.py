"""The screen of `top`, as it is read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from comfyui_exporter.jobs.update import FailureReport, OutputFile, RunningNode, ServerUpdate
from comfyui_exporter.push.messages import server_data
from comfyui_exporter.terminal.messages import Server
from comfyui_exporter.terminal.output import styled
from comfyui_exporter.terminal.plain import width
from comfyui_exporter.terminal.screen import Link, View, draw, share
from comfyui_exporter.terminal.state import State
from terminal.exporters import NOW
from terminal.test_state import alert, job, said, told

LINK = Link("http://gpubox:9188")
HOSTILE = "[bold]\x1b[2J\x1b]0;owned\x07\u202e\r\n日本" + "x" * 5000


def server(name: str, *, up: bool | None = True, running: int = 0, pending: int = 0, drain: float | None = 0.0) -> Any:
    return said("server_update", server_data(ServerUpdate(name, up, running, pending, drain)))


def busy() -> State:
    state = State()
    state.titles = {"cuda_oom": "CUDA out of memory"}
    sampling = RunningNode("3", "KSampler", 17, 40)
    told(
        state,
        server("gpu0", running=1, pending=2, drain=250.0),
        server("gpu1", up=False),
        server("gpu10"),
        server("gpu2", running=1),
        job("portrait", "processing", progress_percent=42.5, node=sampling),
        job("slow", "processing", server="gpu2", stalled=True, progress_percent=5.0),
        job("next", "queued", estimated_completion=NOW + timedelta(minutes=4)),
        job("last", "queued", queue_position=2, estimated_completion=None),
        job("bad", "failed", failure=FailureReport("cuda_oom", "3", "KSampler", "torch.OutOfMemoryError")),
        job("good", "completed", outputs=(OutputFile("9", "a.png", "", "output", "images"),)),
        said("batch_update", {"batch_id": "tonight", "total": 2, "counts": {"queued": 2}, "progress_percent": 10.0}),
        said(
            "alert",
            {
                "status": "firing",
                "labels": {"alertname": "ComfyUIDown", "severity": "critical", "server": "gpu1"},
                "annotations": {"summary": "gpu1 is down"},
                "startsAt": (NOW - timedelta(minutes=2)).isoformat(),
            },
        ),
    )
    return state


def screen(state: State, size: tuple[int, int] = (80, 24), view: View | None = None, link: Link = LINK) -> list[str]:
    """What a terminal of that size shows of it."""
    console = Console(record=True, width=size[0], height=size[1], file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(styled(draw(state, view or View(), link, NOW, size)), soft_wrap=True, end="")
    console.file.close()
    return [line.rstrip() for line in console.export_text(styles=False).split("\n")]


GOLDEN = """\
ComfyUI  http://gpubox:9188                                     ● live  CLOCK
3 of 4 up · 1 alert · 1 stalled · 2 running · 2 waiting · 1 of 2 failed in 1 h

ALERTS 1                                               SERVER         SINCE
critical    gpu1 is down                               gpu1           2 min ago
SERVERS 4          STATE         WAITING  EMPTY          JOB
gpu0               running             2  in 4 min 10 s  portrait 42%
gpu1               down                0  -
gpu2               stalled             0  any moment     slow 5%
gpu10              idle                0  now
RUNNING 2     SERVER        PROGRESS            NODE                READY
portrait      gpu0          ━━━━━───────   42%  KSampler 17/40      in 2 min
slow          gpu2          ╸───────────    5%                      stalled
BATCHES 1         PROGRESS             JOBS                         READY
tonight           ━╸───────────   10%  2 waiting                    -
WAITING 2     SERVER             PLACE  FOR         STARTS         READY
next          gpu0                   1  1 min 30 s  in 2 min       in 4 min
last          gpu0                   2  1 min 30 s  in 4 min       -
RESULTS 2     SERVER        STATUS       ENDED       RESULT
good          gpu0          completed    20 s ago    a.png
bad           gpu0          failed       20 s ago    CUDA out of memory, KSampl…


q quit  / server  a all  s servers  r running  w waiting  e results"""


def test_a_terminal_of_24_lines_shows_all_parts():
    clock = NOW.astimezone().strftime("%H:%M:%S")
    assert "\n".join(screen(busy())) == GOLDEN.replace("CLOCK", clock)


def test_what_has_no_room_in_the_summary_is_left_out_as_a_whole():
    assert screen(busy(), (130, 24))[1].endswith(" · 1 of 2 failed in 1 h · empty in 4 min 10 s")
    assert screen(busy(), (40, 24))[1] == "3 of 4 up · 1 alert · 1 stalled"


def test_servers_that_do_not_all_fit_are_sorted_by_who_needs_somebody():
    assert [line.split()[0] for line in screen(busy(), (80, 14)) if line.startswith("gpu")] == ["gpu1"]
    assert [line.split()[0] for line in screen(busy(), (80, 7), View(only="servers"))[4:6]] == ["gpu1", "…"]


def test_of_many_failures_it_does_not_say_that_they_are_all_of_an_hour():
    state = State()
    told(state, *(job(str(number), "failed") for number in range(100)))
    assert screen(state)[1].startswith("0 of 0 up · 0 running · 0 waiting · 100 of the last 100 failed")


def test_servers_are_sorted_as_people_count():
    names = [line.split()[0] for line in screen(busy()) if line.startswith("gpu")]
    assert names == ["gpu0", "gpu1", "gpu2", "gpu10"]


def test_a_failure_says_why_where_there_is_room():
    line = next(line for line in screen(busy(), (170, 40)) if line.startswith("bad"))
    assert line.endswith("CUDA out of memory, KSampler, node 3, torch.OutOfMemoryError")


def test_what_is_unusual_of_a_running_job_stands_where_its_end_was():
    state = busy()
    told(
        state,
        server("gpu0", up=False),
        job("cut off", "processing"),
        job("late", "timeout", server="gpu1"),
        job("done soon", "completing", server="gpu2"),
    )
    shown = {line[:9].strip(): line.split("  ")[-1].strip() for line in screen(state)}
    assert (shown["cut off"], shown["late"], shown["done soon"]) == ("server down", "over time", "finishing")


def test_a_waiting_job_has_its_place_and_when_it_starts():
    line = next(line for line in screen(busy(), (120, 40)) if line.startswith("next"))
    assert line.split() == ["next", "gpu0", "1", "image", "1", "min", "30", "s", "in", "2", "min", "in", "4", "min"]


def test_memory_and_version_come_with_a_wide_screen():
    state = busy()
    device = {"name": "RTX", "vram_total": 24 * 2**30, "vram_free": 6 * 2**30}
    state.learn([msgspec.convert({"server": "gpu0", "version": "0.3.64", "devices": [device]}, Server)])
    line = next(line for line in screen(state, (160, 40)) if line.startswith("gpu0"))
    assert "18.0/24 GiB" in line
    assert line.endswith("0.3.64")
    assert "GiB" not in "\n".join(screen(state))


def many() -> State:
    state = State()
    servers = [server(f"gpu{number}", running=int(number % 10 == 0), pending=number % 10) for number in range(200)]
    servers[7] = server("gpu7", up=False)
    servers[8] = server("gpu8")
    told(state, *servers, *(job(str(number), "queued", queue_position=number + 1) for number in range(1000)))
    return state


def test_of_two_hundred_servers_those_that_are_down_and_busiest_come_first():
    shown = screen(many())
    assert shown[3].startswith("SERVERS 200")
    assert [line.split()[0] for line in shown[4:7]] == ["gpu7", "gpu9", "gpu19"]
    assert [line for line in shown if line.startswith("…")] == ["… 194 more", "… 995 more"]
    assert "WAITING 1000" in "\n".join(shown)


def test_idle_servers_are_folded_away_when_there_are_many():
    state = State()
    told(state, *(server(f"gpu{number}", running=int(number < 2)) for number in range(50)))
    assert screen(state)[4:7] == [
        "gpu0               running             0  any moment",
        "gpu1               running             0  any moment",
        "… 48 idle",
    ]


def test_one_section_can_have_the_screen_and_be_scrolled_to_its_end():
    view = View(only="servers")
    shown = screen(many(), view=view)
    assert shown[3].startswith("SERVERS 200")
    assert shown[22] == "… 182 more"
    view.skipped = 10_000
    shown = screen(many(), view=view)
    assert shown[21].startswith("gpu191")
    assert shown[22] == "… 1 idle"
    assert view.skipped == 181


def test_words_choose_servers_with_their_jobs():
    text = "\n".join(screen(busy(), (120, 40), View(words="GPU2")))
    assert "slow" in text
    assert "portrait" not in text
    assert "1 of 1 up" in text
    assert "servers with “GPU2”" in text
    assert "no server has such a name" in "\n".join(screen(busy(), view=View(words="none")))


def test_what_is_being_typed_is_shown():
    assert screen(busy(), view=View(words="gp", typing=True))[-1].startswith("Servers with: gp▏")


def test_hostile_names_can_neither_write_elsewhere_nor_look_like_something_else():
    state = State()
    told(
        state,
        server(HOSTILE, running=1),
        job(HOSTILE, "processing", server=HOSTILE, job_type=HOSTILE, node=RunningNode("1", HOSTILE, 1, 2)),
        job("x" + HOSTILE, "failed", error_message=HOSTILE, failure=FailureReport(*[HOSTILE] * 4), server=HOSTILE),
        said("batch_update", {"batch_id": HOSTILE, "total": 2, "counts": {HOSTILE: 1}}),
        alert(severity=HOSTILE, server=HOSTILE),
    )
    for size in ((80, 24), (200, 50)):
        lines = draw(state, View(), Link(HOSTILE, HOSTILE), NOW, size)
        assert len(lines) == size[1]
        console = Console(width=size[0], force_terminal=True, color_system=None)
        with console.capture() as capture:
            console.print(styled(lines), soft_wrap=True, end="")
        written = capture.get().split("\n")
        assert len(written) == size[1]
        assert all(line.isprintable() for line in written)
        assert "[bold]�[2J" in capture.get()


def test_a_lost_connection_says_why_and_since_when_and_what_is_known_stays():
    link = Link("http://gpubox:9188", "it closed", 3.4, NOW)
    shown = screen(busy(), (120, 40), link=link)
    clock = NOW.astimezone().strftime("%H:%M:%S")
    assert f"● lost since {clock}, next try in 3 s: it closed" in shown[0]
    assert any(line.startswith("portrait") for line in shown)


def test_before_the_first_snapshot_it_says_what_it_waits_for():
    assert "waiting for the first look" in "\n".join(screen(State()))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 220), st.integers(1, 70), st.sampled_from(["", "servers", "waiting", "results", "alerts"]))
def test_whatever_the_size_there_are_as_many_lines_and_none_is_wider(columns, rows, only):
    for state in (busy(), State()):
        lines = draw(state, View(only=only), LINK, NOW, (columns, rows))
        assert len(lines) == rows
        assert all(sum(width(text) for text, _ in line) <= columns for line in lines)


def test_rows_are_shared_fairly():
    assert share(10, [3, 100, 100], [2, 3, 3]) == [3, 4, 3]
    assert share(4, [3, 3, 3], [2, 2, 2]) == [2, 1, 1]
    assert share(2, [3, 3, 3], [2, 2, 2]) == [1, 1, 0]
    assert share(100, [3, 1], [1, 1]) == [3, 1]
