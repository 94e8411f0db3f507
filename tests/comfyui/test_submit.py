"""Submitting a workflow: what ComfyUI is sent, and what its answers and silences become."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from aiohttp import web

from comfyui.servers import answer_prompt, http_server, raw_server
from comfyui_exporter.comfyui.client import ComfyUIClient
from comfyui_exporter.comfyui.connection import Access
from comfyui_exporter.simulator import Simulation

WORKFLOW = {
    "1": {"class_type": "ProbeSteps", "inputs": {"steps": 1, "step_ms": 0, "seed": 1}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}
SECRET = {"api_key_comfy_org": "hidden-key"}


class Taken:
    """Answers POST /prompt and keeps what was posted."""

    def __init__(self, body=b'{"prompt_id": "p1", "number": 0, "node_errors": {}}', status=200):
        self.posted = []
        self._body = body
        self._status = status

    async def __call__(self, request):
        if request.method == "GET":
            return await answer_prompt(request)
        self.posted.append((request.path, await request.json()))
        return web.Response(body=self._body, status=self._status, content_type="application/json")


async def submitted(taken, **options):
    async with http_server(taken) as server, ComfyUIClient(server.url) as client:
        return await client.submit_workflow(WORKFLOW, **options)


async def test_a_workflow_is_posted_and_its_prompt_id_given():
    taken = Taken()
    assert await submitted(taken) == "p1"
    assert taken.posted == [("/prompt", {"prompt": WORKFLOW})]


async def test_client_id_and_extra_data_are_sent_as_they_are_given():
    taken = Taken()
    await submitted(taken, client_id="me", extra_data={"job_id": 7})
    assert taken.posted[0][1] == {"prompt": WORKFLOW, "client_id": "me", "extra_data": {"job_id": 7}}


async def test_a_refusal_gives_none_and_the_log_says_why_without_what_was_submitted(caplog):
    refusal = {
        "error": {"type": "bad_type", "message": "Bad\nnews", "details": "hidden-key", "extra_info": {}},
        "node_errors": {
            "3": {
                "class_type": "KSampler",
                "errors": [{"type": "too_big", "message": "Too big", "details": "hidden-key"}],
            }
        },
    }
    taken = Taken(json.dumps(refusal).encode(), 400)
    assert await submitted(taken, extra_data=SECRET) is None
    (record,) = [record for record in caplog.records if record.name == "comfyui_exporter"]
    assert record.getMessage() == (
        "ComfyUI refused the workflow (status 400): bad_type: Bad news; node 3 (KSampler): too_big: Too big"
    )


async def test_a_refusal_of_any_length_is_a_short_line_in_the_log(caplog):
    errors = [{"type": "t" * 9000, "message": "m" * 9000}]
    nodes = {"n" * 9000 + str(number): {"class_type": "c" * 9000, "errors": errors} for number in range(50)}
    taken = Taken(json.dumps({"error": errors[0], "node_errors": nodes}).encode(), 400)
    assert await submitted(taken) is None
    assert len(caplog.text) < 5000
    assert "and 47 more nodes" in caplog.text


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"{}"),
        (200, b'{"prompt_id": 5}'),
        (200, b"[]"),
        (200, b"no json"),
        (200, b"[" * 100_000),
        (302, b""),
        (400, b'{"error": "no prompt", "node_errors": []}'),
        (400, b'{"error": {}, "node_errors": {"1": null}}'),
        (500, b"500 Internal Server Error"),
    ],
)
async def test_an_answer_that_says_of_no_prompt_gives_none_and_is_logged(caplog, status, body):
    assert await submitted(Taken(body, status)) is None
    assert "the workflow" in caplog.text


async def test_a_workflow_of_which_some_outputs_are_wrong_is_submitted_with_a_warning(caplog):
    errors = {"4": {"class_type": "SaveImage", "errors": [{"type": "gone", "message": "No images"}]}}
    assert await submitted(Taken(json.dumps({"prompt_id": "p2", "node_errors": errors}).encode())) == "p2"
    assert "takes only a part of the workflow of prompt p2: node 4 (SaveImage): gone: No images" in caplog.text


async def test_where_nobody_listens_none_is_given_and_logged(caplog):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with ComfyUIClient(f"http://127.0.0.1:{port}") as client:
            assert await client.submit_workflow(WORKFLOW, extra_data=SECRET) is None
    assert f"cannot connect to 127.0.0.1:{port}" in caplog.text
    assert "hidden-key" not in caplog.text


async def test_a_server_that_says_nothing_is_given_up_and_the_log_leaves_it_open(caplog):
    async with raw_server(close=False) as url, ComfyUIClient(url, request_timeout=0.05) as client:
        assert await client.submit_workflow(WORKFLOW) is None
    assert "may or may not be submitted" in caplog.text


async def test_a_connection_that_breaks_gives_none(caplog):
    async with raw_server() as url, ComfyUIClient(url) as client:
        assert await client.submit_workflow(WORKFLOW) is None
    assert "not submitted" in caplog.text


async def test_secrets_that_cannot_be_read_give_none_and_nothing_is_sent(caplog):
    def unreadable():
        raise OSError("the file is gone")

    taken = Taken()
    async with http_server(taken) as server, ComfyUIClient(server.url, Access(headers=unreadable)) as client:
        assert await client.submit_workflow(WORKFLOW) is None
    assert "the file is gone" in caplog.text
    assert taken.posted == []


async def test_secrets_are_sent_as_they_are_at_that_moment():
    secrets = iter(["one", "two"])
    access = Access(headers=lambda: {"Authorization": next(secrets)})
    async with http_server(Taken()) as server, ComfyUIClient(server.url, access) as client:
        await client.submit_workflow(WORKFLOW)
        await client.submit_workflow(WORKFLOW)
    assert [headers["Authorization"] for headers in server.headers] == ["one", "two"]


async def test_a_redirect_is_a_refusal_and_is_not_followed():
    async def redirect(_):
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with http_server(redirect) as server, ComfyUIClient(server.url) as client:
        assert await client.submit_workflow(WORKFLOW) is None
    assert server.paths == ["/prompt"]


async def test_a_submission_does_not_wait_for_a_slow_read():
    asked, answer = asyncio.Event(), asyncio.Event()
    taken = Taken()

    async def handle(request):
        if request.method == "GET":
            asked.set()
            await answer.wait()
        return await taken(request)

    async with http_server(handle) as server, ComfyUIClient(server.url) as client:
        reading = asyncio.create_task(client.queue_remaining())
        await asked.wait()
        assert await client.submit_workflow(WORKFLOW) == "p1"
        assert not reading.done()
        answer.set()
        assert await reading == 2


async def test_a_workflow_that_is_no_json_is_a_mistake_of_the_caller():
    async with ComfyUIClient("http://127.0.0.1:1") as client:
        with pytest.raises(TypeError):
            await client.submit_workflow({"1": object()})


@pytest.mark.parametrize(
    ("given", "environment", "url"),
    [
        (None, None, "http://127.0.0.1:8188"),
        (None, "", "http://127.0.0.1:8188"),
        (None, "http://gpu0:8188/", "http://gpu0:8188/"),
        ("http://gpu1:8188", "http://gpu0:8188", "http://gpu1:8188"),
    ],
)
async def test_the_address_is_the_one_given_or_that_of_the_environment_or_the_usual(
    monkeypatch, given, environment, url
):
    monkeypatch.delenv("COMFYUI_URL", raising=False)
    if environment is not None:
        monkeypatch.setenv("COMFYUI_URL", environment)
    assert ComfyUIClient(given).url == url


async def test_the_simulated_comfyui_queues_what_is_submitted():
    async with Simulation() as comfy, ComfyUIClient(comfy.url) as client:
        prompt_id = await client.submit_workflow(WORKFLOW, client_id="me", extra_data={"job_type": "video"})
    assert [run.job_type for run in comfy.ledger.runs if run.prompt_id == prompt_id] == ["video"]


async def test_the_simulated_comfyui_refuses_a_workflow_without_outputs(caplog):
    async with Simulation() as comfy, ComfyUIClient(comfy.url) as client:
        assert await client.submit_workflow({"1": WORKFLOW["1"]}) is None
    assert "prompt_no_outputs" in caplog.text
