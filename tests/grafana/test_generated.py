"""The dashboards are those that the program makes."""

from __future__ import annotations

from comfyui_dashboards.all import rendered
from grafana.boards import BOARDS, FILES


def test_the_files_are_what_the_program_writes():
    assert {file.name: file.read_text() for file in FILES} == rendered(), "run `make dashboards` and commit the result"


def test_there_is_one_for_each_kind_of_reader():
    assert {uid: board["uid"] for uid, board in BOARDS.items()} == {
        uid: uid
        for uid in ("comfyui-overview", "comfyui-jobs", "comfyui-failures", "comfyui-capacity", "comfyui-exporter")
    }
