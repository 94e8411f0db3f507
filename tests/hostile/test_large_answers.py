"""Answers of ComfyUI that are small on the wire and enormous once they are read, or enormous for nothing."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import pytest
from aiohttp import web

from comfyui.servers import http_server
from comfyui_exporter.comfyui import values
from comfyui_exporter.comfyui.client import ComfyUIClient
from comfyui_exporter.comfyui.errors import ErrorKind, ReadError
from comfyui_exporter.comfyui.events import MOST_TEXT, read_frame
from comfyui_exporter.comfyui.history import read_history
from comfyui_exporter.comfyui.json import MOST_VALUES, PayloadError
from comfyui_exporter.comfyui.queue import read_jobs, read_queue
from comfyui_exporter.comfyui.submission import SubmissionReader

PLAIN = SubmissionReader()
ONES = b"1," * (MOST_VALUES + 10) + b"1"
GOOD = b'[2,"good",{},{},[]]'


def queue(pending: bytes) -> bytes:
    return b'{"queue_running": [], "queue_pending": [' + pending + b"]}"


def none_known(*_: object) -> int:
    return 0


@pytest.mark.parametrize("more", [b"", b",NaN", b"," + b"[" * 5_000 + b"]" * 5_000])
def test_a_queue_of_a_million_values_that_are_no_jobs_is_refused_as_a_whole(more: bytes) -> None:
    with pytest.raises(PayloadError, match="has more than 1000000 values"):
        read_queue(queue(ONES + more), PLAIN, none_known)


@pytest.mark.parametrize(
    "body",
    [b'{"jobs": [' + ONES + b"]}", b'{"a": 1, ' + b",".join(b'"k%d":1' % n for n in range(MOST_VALUES + 9)) + b"}"],
)
def test_so_is_a_list_of_jobs_or_a_history(body: bytes) -> None:
    read = read_jobs if body.startswith(b'{"jobs"') else lambda given: read_history(given, PLAIN)
    with pytest.raises(PayloadError, match="has more than 1000000 values"):
        read(body)


@pytest.mark.parametrize("unusable", [0, 1, 7])
def test_jobs_are_read_up_to_a_number_beyond_which_no_queue_is_one(unusable: int) -> None:
    items = [b"1"] * unusable + [b'[1,"a"]'] * (values.MOST_ITEMS - unusable)
    read = read_queue(queue(b",".join(items)), PLAIN, none_known)
    assert len(read.pending) == values.MOST_ITEMS - unusable
    with pytest.raises(PayloadError, match="has more than 20000 items"):
        read_queue(queue(b",".join([*items, b'[1,"a"]'])), PLAIN, none_known)


@pytest.mark.parametrize(
    "read", [lambda body: read_queue(queue(body), PLAIN, none_known), lambda body: read_jobs(b'{"jobs": [%s]}' % body)]
)
def test_there_are_not_more_of_those_that_cannot_be_used(read: Callable[[bytes], object]) -> None:
    with pytest.raises(PayloadError, match="has more than 20000 items"):
        read(b",".join([b"1"] * (values.MOST_ITEMS + 1)))
    with pytest.raises(PayloadError, match="has more than 20000 items"):
        read_history(b"{" + b",".join(b'"%d":1' % number for number in range(values.MOST_ITEMS + 1)) + b"}", PLAIN)


def test_a_history_entry_and_a_listed_job_are_counted_too() -> None:
    most = values.MOST_ITEMS
    entries = b",".join(b'"%d":{"prompt":[1,"a"]}' % number for number in range(most + 1))
    with pytest.raises(PayloadError, match="has more than 20000 items"):
        read_history(b"{" + entries + b"}", PLAIN)
    with pytest.raises(PayloadError, match="has more than 20000 items"):
        read_jobs(b'{"jobs": [' + b",".join([b'{"id":"","status":""}'] * (most + 1)) + b"]}")


def test_what_cannot_be_used_is_reported_so_often_and_no_oftener() -> None:
    read = read_queue(queue(b"1," * 5_000 + GOOD), PLAIN, none_known)
    assert len(read.problems) == values.MOST_PROBLEMS
    assert [item.prompt_id for item in read.pending] == ["good"]


@pytest.mark.parametrize(
    "part",
    [b'"outputs": {"1": {"images": [%s]}}', b'"status": {"messages": [%s]}', b'"outputs": {%s}'],
)
def test_what_is_in_an_entry_costs_only_itself(part: bytes) -> None:
    inner = ONES if b"{%s}" not in part else b",".join(b'"%d":{}' % number for number in range(MOST_VALUES + 10))
    read = read_history(b'{"a": {"prompt": [1, "a", {}, {}, []], ' + part % inner + b"}}", PLAIN)
    assert [entry.prompt_id for entry in read.entries] == ["a"]
    assert read.entries[0].outputs == ()


def test_a_large_queue_of_jobs_with_large_graphs_is_read_also_with_numbers_that_are_none() -> None:
    graph = {str(node): {"class_type": "A", "inputs": {"x": ["1", 0], "text": "a, b, c"}} for node in range(2_000)}
    item = json.dumps([1, "p", graph, {"extra_pnginfo": {"a": [1, 2, 3] * 3_000}}, ["1"]])
    odd = item.replace("a, b, c", "\\ud800 NaN", 1).replace("[1, 2, 3,", "[NaN, -Infinity, 3,", 1)
    body = queue(b",".join([item.encode()] * 60 + [odd.encode()]))
    assert body.count(b",") > MOST_VALUES
    read = read_queue(body, PLAIN, none_known)
    assert len(read.pending) == 61
    assert read.problems == []
    assert all(each.details is not None and each.details.graph is not None for each in read.pending)


def test_a_text_frame_that_no_comfyui_sends_is_not_looked_into() -> None:
    with pytest.raises(PayloadError, match="a text of"):
        read_frame('{"type": "' + "x" * MOST_TEXT + '"}')


async def test_what_does_not_begin_as_an_answer_does_is_cut_off_at_once() -> None:
    sent = asyncio.Event()

    async def garbage(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for _ in range(2_000):
                await response.write(b"garbage!" * 12_500)
        except ConnectionError:
            sent.set()
        return response

    async with http_server(garbage) as asked, ComfyUIClient(asked.url) as client:
        with pytest.raises(ReadError) as raised:
            await client.queue(none_known)
        assert raised.value.kind is ErrorKind.PAYLOAD
        assert str(raised.value) == "GET /queue: it is no JSON object"
        assert client.last.received_bytes < 2_000_000
        await asyncio.wait_for(sent.wait(), 10)


async def test_a_page_of_the_history_has_a_bound_of_its_own() -> None:
    async def huge(_: web.Request) -> web.StreamResponse:
        return web.StreamResponse(headers={"Content-Length": str(65 * 1024 * 1024)})

    async with http_server(huge) as asked, ComfyUIClient(asked.url) as client:
        with pytest.raises(ReadError, match="over the limit"):
            await client.history_page(1, lambda _: False)


def test_garbage_that_begins_as_json_is_not_tried_again_with_copies_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfyui_exporter.comfyui.json._made_strict", None)
    with pytest.raises(PayloadError, match="not readable as JSON"):
        read_queue(b'{"queue_running": [' + bytes(range(32, 122)) * 10_000, PLAIN, none_known)


def test_nesting_without_end_is_given_up() -> None:
    began = time.process_time()
    with pytest.raises(PayloadError):
        read_queue(queue(b"[" * 3_000_000), PLAIN, none_known)
    assert time.process_time() - began < 10
