"""The protocol as clients see it, over real sockets."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from comfyui_exporter.jobs.update import (
    BatchUpdate,
    FailureReport,
    OutputFile,
    ProgressStatus,
    RunningNode,
    ServerUpdate,
)
from comfyui_exporter.push.ports import Unavailable
from push.making import NOON, later, update

RUNNING = update(
    "r9",
    percent=42.5,
    job_id=123,
    comfyui_prompt_id="p9",
    current_step=17,
    total_steps=40,
    estimated_completion=NOON,
    server="gpu0",
    job_type="video",
    node=RunningNode("3", "KSampler", 17.0, 40.0),
    submitted_at=NOON,
    started_at=NOON,
    updated_at=NOON,
)
SERVER = ServerUpdate("gpu0", up=True, running=1, pending=3, drain_seconds=41.0)
BATCH = BatchUpdate("b", 4, {ProgressStatus.COMPLETED: 1, ProgressStatus.QUEUED: 3}, 31.0, NOON)
ALERT = {"status": "firing", "labels": {"alertname": "X", "server": "gpu0"}, "annotations": {"summary": "s"}}


async def test_a_client_is_told_everything_and_that_this_was_all(service):
    service.hub.server(SERVER)
    service.hub.job(update("r1", "completed"))
    service.hub.job(RUNNING)
    service.hub.batch(BATCH)
    service.hub.alert(ALERT)
    client = await service.connect()
    told = await client.hear_until("snapshot_end")
    kinds = [each["type"] for each in told]
    assert kinds == ["server_update", "progress_update", "progress_update", "batch_update", "alert", "snapshot_end"]
    assert told[-1] == {"type": "snapshot_end"}
    assert await client.nothing_waits()


async def test_a_running_job_is_told_to_the_letter(service):
    client = await service.connect("/ws")
    await client.snapshot()
    service.hub.job(RUNNING)
    text = (await client.socket.receive()).data
    assert text == (
        '{"type":"progress_update","data":{"job_id":123,"comfyui_prompt_id":"p9","status":"processing",'
        '"progress_percent":42.5,"current_step":17,"total_steps":40,'
        '"estimated_completion":"2026-01-01T12:00:00+00:00","generation_time":null,"error_message":null,'
        '"server":"gpu0","run_id":"r9","job_type":"video","batch_id":null,"queue_position":null,'
        '"node":{"id":"3","type":"KSampler","value":17,"max":40},"stalled":false,'
        '"submitted_at":"2026-01-01T12:00:00+00:00","started_at":"2026-01-01T12:00:00+00:00","ended_at":null,'
        '"updated_at":"2026-01-01T12:00:00+00:00","outputs":null,"failure":null,'
        '"progress_estimated":false,"labels":{}}}'
    )


async def test_an_end_tells_outputs_and_failure(service):
    client = await service.connect()
    await client.snapshot()
    service.hub.job(
        update(
            "r1",
            "failed",
            job_id="123",
            error_message="no memory",
            generation_time=1.5,
            outputs=(OutputFile("9", "a.png", "", "output", "images"),),
            failure=FailureReport("cuda_oom", "3", "KSampler", "OutOfMemoryError"),
            labels={"project": "x"},
        )
    )
    data = (await client.hear())["data"]
    assert data["job_id"] == "123"
    assert data["outputs"] == [
        {"node_id": "9", "filename": "a.png", "subfolder": "", "type": "output", "media": "images"}
    ]
    assert data["failure"] == {
        "pattern": "cuda_oom",
        "node_id": "3",
        "node_type": "KSampler",
        "exception_type": "OutOfMemoryError",
    }
    assert (data["generation_time"], data["error_message"], data["labels"]) == (1.5, "no memory", {"project": "x"})


async def test_servers_batches_alerts_and_removals_are_told_to_the_letter(service):
    client = await service.connect()
    await client.snapshot()
    service.hub.server(SERVER)
    service.hub.batch(BATCH)
    service.hub.alert(ALERT)
    service.hub.job(RUNNING)
    service.hub.removed("r9")
    texts = [(await client.socket.receive()).data for _ in range(4)]
    assert texts == [
        '{"type":"server_update","data":{"server":"gpu0","up":true,"running":1,"pending":3,"drain_seconds":41.0}}',
        (
            '{"type":"batch_update","data":{"batch_id":"b","total":4,"counts":{"completed":1,"queued":3},'
            '"progress_percent":31.0,"estimated_completion":"2026-01-01T12:00:00+00:00"}}'
        ),
        json.dumps({"type": "alert", "data": ALERT}, separators=(",", ":")),
        # Of a job that went in the same moment nothing else is worth telling.
        '{"type":"job_removed","data":{"run_id":"r9"}}',
    ]


async def test_what_did_not_change_but_in_its_time_is_not_told(service):
    client = await service.connect()
    await client.snapshot()
    service.hub.server(SERVER)
    service.hub.job(RUNNING)
    await client.hear()
    await client.hear()
    service.hub.server(SERVER)
    service.hub.job(later(RUNNING))
    assert await client.nothing_waits()
    service.hub.job(later(RUNNING, progress_percent=43.0))
    assert (await client.hear())["data"]["progress_percent"] == 43.0


async def test_what_is_forgotten_is_in_no_snapshot(service):
    service.hub.server(SERVER)
    service.hub.batch(BATCH)
    service.hub.alert(ALERT)
    service.hub.alert({"status": "firing", "labels": {"alertname": "Y"}})
    service.hub.job(RUNNING)
    service.hub.server_removed("gpu0")
    service.hub.batch_removed("b")
    service.hub.alert({**ALERT, "status": "resolved"})
    service.hub.alert_removed({"alertname": "Y"})
    service.hub.removed("r9")
    assert await (await service.connect()).snapshot() == []


async def test_a_resolved_alert_is_told_to_those_who_are_there(service):
    client = await service.connect()
    await client.snapshot()
    service.hub.alert({**ALERT, "status": "resolved"})
    assert (await client.hear())["data"]["status"] == "resolved"


async def test_names_that_are_not_unicode_reach_the_client_with_a_question_mark(service):
    client = await service.connect()
    await client.snapshot()
    service.hub.job(update(error_message="caf\udce9"))
    assert (await client.hear())["data"]["error_message"] == "caf?"


async def test_clients_that_wait_for_the_first_look_get_their_snapshot_when_it_is_done(serve):
    service = await serve(held=True)
    client = await service.connect()
    assert await client.ask({"type": "ping"}) == {"type": "pong"}
    service.hub.job(RUNNING)
    assert (await client.ask({"type": "subscribe", "job_ids": [123, 5]}))["type"] == "subscribed"
    service.hub.release()
    assert await client.runs() == ["r9"]
    service.hub.job(later(RUNNING, progress_percent=50.0))
    assert (await client.hear())["data"]["progress_percent"] == 50.0
    assert await (await service.connect()).runs() == ["r9"]


# Questions


async def test_questions_are_answered_with_their_ids(service):
    service.answers.jobs = {"123": {"job_id": 123, "nodes": []}, "p": msgspec.Raw(b'{"raw":1}')}
    client = await service.connect()
    await client.snapshot()
    assert await client.ask({"type": "get_job_progress", "job_id": 123, "id": 7}) == {
        "type": "job_progress",
        "data": {"job_id": 123, "nodes": []},
        "id": 7,
    }
    assert await client.ask({"type": "get_job_progress", "job_id": "123"}) == {
        "type": "job_progress",
        "data": {"job_id": 123, "nodes": []},
    }
    assert (await client.ask({"type": "get_job_progress", "prompt_id": "p", "id": 1.5}))["data"] == {"raw": 1}
    assert await client.ask({"type": "get_job_progress", "prompt_id": "q", "id": "x"}) == {
        "type": "job_progress",
        "data": None,
        "id": "x",
    }
    assert await client.ask({"type": "get_queue_statistics", "id": -3}) == {
        "type": "queue_statistics",
        "data": {"running_jobs": 1},
        "id": -3,
    }
    assert service.answers.asked == [("123", None), ("123", None), (None, "p"), (None, "q")]


async def test_a_slow_answer_keeps_nobody_else_and_no_news_waiting(service):
    service.answers.gate = asyncio.Event()
    slow, other = await service.connect(), await service.connect()
    await slow.snapshot()
    await other.snapshot()
    for number in (1, 2):
        await slow.say({"type": "get_job_progress", "job_id": number, "id": number})
    assert await slow.ask({"type": "ping"}) == {"type": "pong"}
    assert (await other.ask({"type": "get_queue_statistics"}))["type"] == "queue_statistics"
    service.hub.job(RUNNING)
    assert (await slow.hear())["type"] == "progress_update"
    service.answers.gate.set()
    assert [(await slow.hear())["id"] for _ in range(2)] == [1, 2]


async def test_more_than_a_few_questions_at_once_are_refused(service):
    service.answers.gate = asyncio.Event()
    client = await service.connect()
    await client.snapshot()
    for number in range(9):
        await client.say({"type": "get_job_progress", "job_id": 1, "id": number})
    refused = await client.hear()
    assert (refused["error"]["code"], refused["id"]) == ("rate_limited", 8)
    service.answers.gate.set()
    assert [(await client.hear())["id"] for _ in range(8)] == list(range(8))


async def test_an_answer_that_fails_is_an_error_and_the_log_says_why(service, caplog):
    client = await service.connect()
    await client.snapshot()
    service.answers.failure = Unavailable("the upstream is away")
    assert await client.ask({"type": "get_queue_statistics", "id": 1}) == {
        "type": "error",
        "error": {"code": "unavailable", "message": "the upstream is away"},
        "id": 1,
    }
    service.answers.failure = RuntimeError("secret of ours")
    answer = await client.ask({"type": "get_job_progress", "job_id": 1, "id": 2})
    assert (answer["error"]["code"], answer["id"]) == ("internal", 2)
    assert "secret" not in json.dumps(answer)
    assert "secret of ours" in caplog.text


async def test_a_client_that_leaves_takes_its_question_along(service):
    service.answers.gate = asyncio.Event()
    client = await service.connect()
    await client.snapshot()
    await client.say({"type": "get_job_progress", "job_id": 1})
    await service.until(lambda: service.answers.asked)
    await client.socket.close()
    await service.until(lambda: service.hub.clients == 0)
    tasks = [task for task in asyncio.all_tasks() if "_answer_all" in repr(task)]
    assert not [task for task in tasks if not task.cancelling()]


# Subscriptions


@pytest.mark.parametrize(
    ("asked", "runs"),
    [
        ({"job_ids": ["1"]}, ["a"]),
        ({"job_ids": [1, 2]}, ["a", "b"]),
        ({"prompt_ids": ["p-c"]}, ["c"]),
        ({"batch_ids": ["x"]}, ["a", "c"]),
        ({"batch_ids": ["x"], "servers": ["gpu1"]}, ["c"]),
        ({"statuses": ["queued"]}, ["b", "c"]),
        ({"job_ids": [1], "statuses": ["queued"]}, []),
        ({"job_ids": []}, []),
        ({"job_ids": None}, ["a", "b", "c"]),
        ({}, ["a", "b", "c"]),
    ],
)
async def test_a_subscription_is_confirmed_followed_by_its_snapshot_and_kept_to(service, asked, runs):
    jobs = {
        "a": update("a", job_id=1, batch_id="x", server="gpu0"),
        "b": update("b", "queued", job_id="2", server="gpu0"),
        "c": update("c", "queued", batch_id="x", server="gpu1"),
    }
    for job in jobs.values():
        service.hub.job(job)
    client = await service.connect()
    await client.snapshot()
    lists = {"job_ids": None, "prompt_ids": None, "batch_ids": None, "servers": None, "statuses": None}
    assert await client.ask({"type": "subscribe", **asked, "id": "s"}) == {
        "type": "subscribed",
        "data": {**lists, **asked},
        "id": "s",
    }
    assert sorted(await client.runs()) == runs
    for job in jobs.values():
        service.hub.job(later(job, current_step=1))
    assert sorted([(await client.hear())["data"]["run_id"] for _ in runs]) == runs
    assert await client.nothing_waits()
    await client.say({"type": "unsubscribe"})
    assert (await client.hear())["data"] == lists
    assert len(await client.runs()) == 3


async def test_the_url_subscribes_before_the_snapshot(service):
    for number in (1, 2, 3):
        service.hub.job(update(f"r{number}", job_id=number, batch_id=f"b{number % 2}"))
    assert sorted(await (await service.connect("/?job_id=1&job_id=2")).runs()) == ["r1", "r2"]
    assert await (await service.connect("/ws?batch_id=b1")).runs() == ["r1", "r3"]
    assert await (await service.connect("/?prompt_id=p-r2&status=processing")).runs() == ["r2"]
    assert await (await service.connect("/?server=gpu7")).runs() == []


async def test_a_removal_is_told_to_those_who_were_told_of_the_job(service):
    service.hub.job(update("r1", job_id=1))
    one, other = await service.connect("/?job_id=1"), await service.connect("/?job_id=2")
    await one.snapshot()
    await other.snapshot()
    service.hub.removed("r1")
    assert await one.hear() == {"type": "job_removed", "data": {"run_id": "r1"}}
    assert await other.nothing_waits()


async def test_a_second_subscription_does_not_mix_with_the_first_ones_snapshot(service):
    for number in range(3000):
        service.hub.job(update(f"r{number}", "completed", error_message="x" * 500))
    client = await service.connect()
    await client.hear()
    await client.say({"type": "subscribe", "prompt_ids": ["p-r1", "p-r2"], "id": 1})
    told = await client.hear_until("subscribed")
    assert {each["type"] for each in told[:-1]} <= {"progress_update", "snapshot_end"}
    assert sorted(await client.runs()) == ["r1", "r2"]
    assert await client.nothing_waits()


async def test_a_client_that_subscribes_anew_is_told_nothing_older_than_its_snapshot(service):
    client = await service.connect()
    await client.snapshot()
    for percent in range(1, 20):
        # In the same moment: the update is on its way to the group when the client joins it again.
        service.hub.job(update("r1", percent=float(percent)))
        await client.say({"type": "unsubscribe"})
        await client.hear_until("subscribed")
        assert [each["data"]["progress_percent"] for each in await client.snapshot()] == [float(percent)]
        assert await client.nothing_waits()


async def test_ten_thousand_finished_jobs_are_told_and_what_changes_meanwhile_comes_after_them(service):
    for number in range(10_000):
        service.hub.job(update(f"r{number}", "completed"))
    clients = [await service.connect() for _ in range(3)]
    service.hub.job(update("r7", "completed", error_message="late"))
    for client in clients:
        assert len(await client.runs()) == 10_000
        assert (await client.hear())["data"]["error_message"] == "late"
