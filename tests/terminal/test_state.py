"""What a terminal knows, as the push socket tells it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from comfyui_exporter.jobs.update import ServerUpdate
from comfyui_exporter.push.messages import job_data, server_data
from comfyui_exporter.terminal.messages import Job, Message, Server
from comfyui_exporter.terminal.state import State, expected_starts
from terminal.exporters import NOW, update


def said(kind: str, data: Any = None) -> Message:
    return msgspec.json.decode(msgspec.json.encode({"type": kind, "data": data}), type=Message)


def told(state: State, *messages: Message) -> None:
    """A connection, and what its snapshot tells."""
    state.connected()
    for message in (*messages, said("snapshot_end")):
        state.hear(message, NOW)


def job(name: str, status: str, **fields: Any) -> Message:
    return said("progress_update", job_data(update(name, status, **fields)))


def server(name: str) -> Message:
    return said("server_update", server_data(ServerUpdate(name, up=True, running=0, pending=0, drain_seconds=0.0)))


def alert(status: str = "firing", **labels: str) -> Message:
    return said("alert", {"status": status, "labels": {"alertname": "A", **labels}, "annotations": {}})


def test_a_snapshot_replaces_all_that_goes_on_and_until_it_is_over_nothing_goes():
    state = State()
    batch = said("batch_update", {"batch_id": "b", "total": 2, "counts": {"queued": 2}})
    told(state, server("gpu0"), server("gpu1"), job("stays", "queued"), job("goes", "queued"), batch, alert())
    state.connected()
    state.hear(server("gpu1"), NOW)
    state.hear(job("stays", "processing"), NOW)
    assert (list(state.servers), list(state.open)) == (["gpu0", "gpu1"], ["r-stays", "r-goes"])
    assert state.hear(said("snapshot_end"), NOW)
    assert (list(state.servers), list(state.open), state.batches, state.alerts) == (["gpu1"], ["r-stays"], {}, {})
    assert state.open["r-stays"].status == "processing"


def test_a_job_that_ends_becomes_a_result_and_stays_one_when_it_is_removed():
    state = State()
    told(state, job("a", "processing"))
    state.hear(job("a", "completed"), NOW)
    state.hear(said("job_removed", {"run_id": "r-a"}), NOW)
    assert (state.open, list(state.results)) == ({}, ["r-a"])


def test_a_job_that_is_removed_and_a_server_that_is_watched_no_more_vanish():
    state = State()
    told(state, job("a", "queued"), server("gpu0"))
    state.hear(said("job_removed", {"run_id": "r-a"}), NOW)
    state.hear(said("server_removed", {"server": "gpu0"}), NOW)
    assert (state.open, state.servers) == ({}, {})


def test_results_of_an_exporter_of_before_go_when_the_history_does_not_have_them():
    state = State()
    told(state, job("kept", "completed"), job("forgotten", "failed"))
    told(state)
    assert sorted(state.results) == ["r-forgotten", "r-kept"]
    older = msgspec.convert(job_data(update("older", "failed")), Job)
    state.remember([msgspec.convert(job_data(update("kept", "completed")), Job), older])
    assert sorted(state.results) == ["r-kept", "r-older"]


def test_an_alert_that_is_over_is_shown_for_five_minutes_and_one_that_never_fired_is_not():
    state = State()
    told(state, alert(server="gpu0"))
    state.hear(alert("resolved", server="gpu0"), NOW)
    state.hear(alert("resolved", server="gpu0"), NOW + timedelta(minutes=4))
    state.hear(alert("resolved", server="never"), NOW)
    state.tidy(NOW + timedelta(minutes=5))
    assert [known.resolved_at for known in state.alerts.values()] == [NOW]
    state.tidy(NOW + timedelta(minutes=5, seconds=1))
    assert state.alerts == {}


def test_what_is_not_known_is_passed_over_and_what_is_damaged_is_an_error():
    state = State()
    told(state, said("from_the_future", {"x": 1}), said("snapshot_begins"))
    with pytest.raises(ValueError, match="run_id"):
        state.hear(said("progress_update", {}), NOW)
    with pytest.raises(ValueError, match="Expected `str`"):
        state.hear(said("server_update", {"server": 7}), NOW)


def test_only_the_newest_results_are_kept():
    state = State()
    ends = [NOW + timedelta(seconds=number) for number in range(400)]
    told(state, *(job(str(number), "completed", ended_at=end) for number, end in enumerate(ends)))
    state.tidy(NOW)
    assert len(state.results) == 300
    assert "r-399" in state.results
    assert "r-99" not in state.results


def test_a_waiting_job_starts_when_the_one_before_it_is_done():
    jobs = [
        update("running", "processing", estimated_completion=NOW + timedelta(minutes=1)),
        update("second", "queued", queue_position=2, estimated_completion=NOW + timedelta(minutes=3)),
        update("first", "queued", queue_position=1, estimated_completion=NOW + timedelta(minutes=2)),
        update("elsewhere", "queued", queue_position=1, server="gpu1"),
        update("runs there", "processing", server="gpu1", estimated_completion=None),
    ]
    assert expected_starts(msgspec.convert(job_data(job), Job) for job in jobs) == {
        "r-first": NOW + timedelta(minutes=1),
        "r-second": NOW + timedelta(minutes=2),
        "r-elsewhere": None,
    }


def test_a_server_of_the_api_may_have_more_than_we_know():
    read = msgspec.convert({"server": "a", "up": None, "new": 1, "devices": [{"name": "g", "new": 2}]}, Server)
    assert (read.server, read.up, read.idle) == ("a", None, False)
