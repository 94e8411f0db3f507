"""The extension for ComfyUI: who hears what with it, and that ComfyUI does not notice it."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import sys
from pathlib import Path

import pytest

from bridge.prompt_server import ComfyUI, PromptServer, as_module, unload
from simulator.bench import until

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "exporter" / "comfyui_bridge"
JOB = "38a634d9-029f-4c9c-b4fe-7f607878625f"
PREVIEW_IMAGE = 1
NEWER_NODE = {
    "value": 0.0,
    "max": 1.0,
    "state": "running",
    "node_id": "1",
    "prompt_id": JOB,
    "display_node_id": "1",
    "parent_node_id": None,
    "real_node_id": "1",
    "activity": "loading",
}
EVENTS = [
    ("execution_start", {"prompt_id": JOB, "timestamp": 1}),
    ("execution_cached", {"nodes": ["7"], "prompt_id": JOB, "timestamp": 2}),
    ("progress_state", {"prompt_id": JOB, "nodes": {"1": NEWER_NODE}}),
    ("executing", {"node": "1", "display_node": "1", "prompt_id": JOB}),
    ("progress", {"value": 1, "max": 2, "prompt_id": JOB, "node": "1"}),
    ("executed", {"node": "1", "display_node": "1", "prompt_id": JOB}),
    ("execution_error", {"prompt_id": JOB, "node_id": "1", "node_type": "KSampler", "exception_type": "ValueError"}),
    ("execution_interrupted", {"prompt_id": JOB, "node_id": "1", "node_type": "KSampler", "timestamp": 3}),
    ("execution_success", {"prompt_id": JOB, "timestamp": 4}),
    ("executing", {"node": None, "prompt_id": JOB}),
]
LEFT_OUT = {
    "executed": {"output": {"text": ["secret"]}},
    "execution_error": {
        "executed": ["1"],
        "exception_message": "secret",
        "traceback": ["secret"],
        "current_inputs": {"text": ["secret"]},
        "current_outputs": ["1"],
    },
    "execution_interrupted": {"executed": ["1"]},
}


def load(name="comfyui_bridge_under_test"):
    """Load the folder as ComfyUI loads what it finds in custom_nodes: from its place, under a name of its own."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        unload(name)
    return module


@pytest.fixture
async def comfyui(monkeypatch):
    async with ComfyUI() as comfyui:
        monkeypatch.setitem(sys.modules, "server", as_module(PromptServer))
        yield comfyui


@pytest.fixture
def install(comfyui, monkeypatch):
    """Install a bridge whose patience is so long."""

    def install(patience):
        monkeypatch.setitem(sys.modules, "server", None)
        module = load()
        module.Bridge(comfyui.server, patience).install()

    return install


def text(event, data):
    return json.dumps({"type": event, "data": data})


def recordings():
    """What a real ComfyUI with the bridge said of each kind of job, to the submitter and to an exporter."""
    for path in sorted((Path(__file__).parent / "recordings").glob("*.json")):
        recording = json.loads(path.read_text())
        for kind, heard in recording["scenarios"].items():
            yield pytest.param(heard, id=f"{kind} in {recording['comfyui_version']}")


@pytest.mark.parametrize("submitter", ["browser", "closed-tab", 5])
async def test_every_exporter_hears_each_event_of_a_job_once_and_in_order_with_its_submitter_there_or_not(
    comfyui, submitter
):
    load()
    for client_id in ("browser", "comfyui-exporter-1", "comfyui-exporter-gpu0-2"):
        await comfyui.connect(client_id)
    for event, data in EVENTS:
        comfyui.server.send_sync(event, data, submitter)
    heard = await comfyui.everything_heard()
    expected = [text(*event) for event in EVENTS]
    assert heard["comfyui-exporter-1"] == expected
    assert heard["comfyui-exporter-gpu0-2"] == expected
    assert heard["browser"] == (expected if submitter == "browser" else [])


@pytest.mark.parametrize("recording", list(recordings()))
async def test_of_a_real_job_each_hears_what_was_recorded(comfyui, recording):
    load()
    await comfyui.connect("browser")
    await comfyui.connect("comfyui-exporter-1")
    for frame in recording["submitter"]:
        if "binary" in frame:
            comfyui.server.send_sync(frame["event"], bytes(frame["binary"] - 4), "browser")
        else:
            comfyui.server.send_sync(frame["type"], frame["data"], "browser")
    heard = await comfyui.everything_heard()
    assert heard["browser"] == [frame.get("binary") or json.dumps(frame) for frame in recording["submitter"]]
    assert heard["comfyui-exporter-1"] == [json.dumps(frame) for frame in recording["exporter"]]


async def test_nothing_that_a_submitter_typed_and_nothing_huge_travels(comfyui):
    load()
    await comfyui.connect("comfyui-exporter-1")
    for event, data in EVENTS:
        comfyui.server.send_sync(event, {**data, **LEFT_OUT.get(event, {})}, "browser")
    heard = await comfyui.everything_heard()
    assert not [frame for frame in heard["comfyui-exporter-1"] if "secret" in frame]
    assert [json.loads(frame) for frame in heard["comfyui-exporter-1"]] == [
        {"type": event, "data": data} for event, data in EVENTS
    ]


async def test_a_client_that_is_no_exporter_hears_only_what_is_for_all(comfyui):
    load()
    for client_id in ("someone-else", "my-comfyui-exporter", "comfyui", ""):
        await comfyui.connect(client_id)
    await comfyui.connect("comfyui-exporter")
    status = ("status", {"status": {"exec_info": {"queue_remaining": 1}}})
    comfyui.server.send_sync(*status)
    for event, data in EVENTS:
        comfyui.server.send_sync(event, data, "browser")
    heard = await comfyui.everything_heard()
    assert len(heard.pop("comfyui-exporter")) == len(EVENTS) + 1
    assert list(heard.values()) == [[text(*status)]] * 4


async def test_what_comfyui_broadcasts_is_not_sent_twice(comfyui):
    load()
    await comfyui.connect("comfyui-exporter-1")
    for event, data in EVENTS:
        comfyui.server.send_sync(event, data, None)
    heard = await comfyui.everything_heard()
    assert heard["comfyui-exporter-1"] == [text(*event) for event in EVENTS]


@pytest.mark.parametrize("receiver", [None, "comfyui-exporter-1"])
async def test_what_comfyui_says_after_an_event_comes_after_it(comfyui, receiver):
    load()
    await comfyui.connect("comfyui-exporter-1")
    said = [*EVENTS[:-1], ("status", {"status": {"exec_info": {"queue_remaining": 0}}}), EVENTS[-1]]
    # All at once, as after a node that kept Python to itself.
    for event, data in said:
        comfyui.server.messages.put_nowait((event, data, receiver if event == "status" else "browser"))
    heard = await comfyui.everything_heard()
    assert heard["comfyui-exporter-1"] == [text(*event) for event in said]


async def test_the_job_of_an_exporter_is_told_to_that_exporter_alone(comfyui):
    load()
    await comfyui.connect("comfyui-exporter-1")
    await comfyui.connect("comfyui-exporter-2")
    for event, data in EVENTS:
        comfyui.server.send_sync(event, data, "comfyui-exporter-1")
    heard = await comfyui.everything_heard()
    assert heard == {"comfyui-exporter-1": [text(*event) for event in EVENTS], "comfyui-exporter-2": []}


async def test_previews_and_what_is_no_event_of_a_job_stay_with_whom_they_are_for(comfyui):
    load()
    await comfyui.connect("browser")
    await comfyui.connect("comfyui-exporter-1")
    comfyui.server.send_sync(PREVIEW_IMAGE, b"picture", "browser")
    comfyui.server.send_sync("feature_flags", {"supports_preview_metadata": True}, "browser")
    comfyui.server.send_sync("an-extension.speaks", {"prompt_id": JOB}, "browser")
    comfyui.server.send_sync("progress", {"value": 1, "max": 2}, "browser")
    comfyui.server.send_sync("executed", "no object", "browser")
    heard = await comfyui.everything_heard()
    assert len(heard["browser"]) == 5
    assert heard["comfyui-exporter-1"] == []


async def test_what_a_client_is_told_when_it_connects_is_told_to_nobody_else(comfyui):
    load()
    await comfyui.connect("comfyui-exporter-1")
    comfyui.server.client_id, comfyui.server.last_node_id = "browser", "4"
    await comfyui.connect("browser")
    heard = await comfyui.everything_heard()
    assert heard == {"comfyui-exporter-1": [], "browser": [text("executing", {"node": "4"})]}


async def test_without_an_exporter_events_are_not_even_looked_into(comfyui):
    class Untouched(dict):
        def __contains__(self, key):
            raise AssertionError(key)

    load()
    await comfyui.connect("browser")
    comfyui.server.send_sync("progress", Untouched(prompt_id=JOB), "browser")
    heard = await comfyui.everything_heard()
    assert heard == {"browser": [text("progress", {"prompt_id": JOB})]}
    assert comfyui.server.comfyui_exporter_bridge._outboxes == {}
    assert not comfyui.server.comfyui_exporter_bridge._complained


async def test_two_copies_of_it_forward_once(comfyui, caplog):
    caplog.set_level(logging.INFO)
    load("comfyui_bridge")
    load("comfyui_bridge_of_last_year")
    await comfyui.connect("comfyui-exporter-1")
    comfyui.server.send_sync(*EVENTS[0], "browser")
    heard = await comfyui.everything_heard()
    assert heard["comfyui-exporter-1"] == [text(*EVENTS[0])]
    assert "installed twice" in caplog.text


async def test_an_exporter_that_is_gone_is_no_error_and_the_others_hear_on(comfyui, caplog):
    load()
    await comfyui.connect("comfyui-exporter-1")
    gone = await comfyui.freeze("comfyui-exporter-2")
    gone.close()
    for event, data in EVENTS * 20:
        comfyui.server.send_sync(event, data, "browser")
    heard = await comfyui.everything_heard()
    assert len(heard["comfyui-exporter-1"]) == 20 * len(EVENTS)
    assert caplog.messages == []


class Gone:
    """The socket of a closed TLS connection, which does not even know any more what is below it."""

    def get_extra_info(self, _):
        raise AttributeError("'NoneType' object has no attribute '_get_extra_info'")

    async def send_str(self, _):
        raise ConnectionResetError("Cannot write to closing transport")


async def test_an_exporter_that_is_gone_is_no_error_over_tls_either(comfyui, caplog):
    load()
    comfyui.server.sockets["comfyui-exporter-1"] = Gone()
    comfyui.server.send_sync(*EVENTS[0], "browser")
    await comfyui.everything_heard()
    del comfyui.server.sockets["comfyui-exporter-1"]
    assert comfyui.server.comfyui_exporter_bridge._outboxes == {}
    assert caplog.messages == []


class Broken:
    """A socket that this bridge does not understand."""

    def get_extra_info(self, _):
        return None

    async def send_str(self, _):
        raise ArithmeticError("not today")


@pytest.mark.parametrize("trouble", [{"comfyui-exporter-2": Broken()}, {5: Broken()}])
async def test_an_error_is_logged_once_and_the_submitter_hears_everything(comfyui, caplog, trouble):
    load()
    await comfyui.connect("browser")
    comfyui.server.sockets.update(trouble)
    for event, data in EVENTS:
        comfyui.server.send_sync(event, data, "browser")
    await until(lambda: caplog.messages)
    for sid in trouble:
        del comfyui.server.sockets[sid]
    heard = await comfyui.everything_heard()
    assert heard["browser"] == [text(*event) for event in EVENTS]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_an_error_of_comfyui_is_still_comfyuis(comfyui, caplog):
    load()
    await comfyui.connect("comfyui-exporter-1")
    # ComfyUI exits with this, with the bridge or without.
    with pytest.raises(TypeError, match="unhashable"):
        await comfyui.server.send_json("execution_start", {"prompt_id": JOB}, {"a": 1})
    with pytest.raises(TypeError, match="positional argument"):
        await comfyui.server.send_json()
    assert len(caplog.messages) == 1


async def test_names_of_arguments_and_what_is_returned_are_as_before(comfyui):
    async def send_json(event, data, sid=None, *, urgent=False):
        return event, data, sid, urgent

    await comfyui.connect("comfyui-exporter-1")
    comfyui.server.send_json = send_json
    load()
    returned = await comfyui.server.send_json(data={"prompt_id": JOB}, event="executing", sid="browser", urgent=True)
    assert returned == ("executing", {"prompt_id": JOB}, "browser", True)


async def test_a_call_from_another_event_loop_goes_its_way_and_is_not_forwarded(comfyui, caplog):
    called = []

    async def send_json(*args):
        called.append(args)

    comfyui.server.send_json = send_json
    load()
    comfyui.server.sockets["comfyui-exporter-1"] = Broken()
    await asyncio.to_thread(lambda: asyncio.run(comfyui.server.send_json(*EVENTS[0], "browser")))
    assert called == [(*EVENTS[0], "browser")]
    assert caplog.messages == []
    del comfyui.server.sockets["comfyui-exporter-1"]


async def test_an_exporter_that_never_reads_costs_little_memory_and_nobodys_time(comfyui):
    load()
    await comfyui.connect("browser")
    await comfyui.connect("comfyui-exporter-1")
    frozen = await comfyui.freeze("comfyui-exporter-2")
    large = {"prompt_id": JOB, "nodes": {str(n): {**NEWER_NODE, "node_id": str(n)} for n in range(60)}}
    for _ in range(200):
        comfyui.server.send_sync("progress_state", large, "browser")
        comfyui.server.send_sync("status", {"status": {"exec_info": {"queue_remaining": 1}}})
        await asyncio.sleep(0)
    heard = await comfyui.everything_heard()
    assert len(heard["browser"]) == 400
    assert len(heard["comfyui-exporter-1"]) == 400
    connection = comfyui.server.sockets["comfyui-exporter-2"]._req.transport
    # The statuses of ComfyUI, and the one frame for which there was no more room.
    assert connection.get_write_buffer_size() < 50_000
    (outbox,) = comfyui.server.comfyui_exporter_bridge._outboxes.values()
    assert 900_000 < sum(map(len, outbox.frames)) <= 1 << 20
    frozen.close()


async def test_an_exporter_that_reads_again_hears_what_is_newest(comfyui):
    load()
    frozen = await comfyui.freeze("comfyui-exporter-1", buffer=1 << 20)
    for value in range(20_000):
        comfyui.server.send_sync("progress", {"value": value, "max": 20_000, "prompt_id": JOB, "node": "1"}, "browser")
    end = text("execution_success", {"prompt_id": JOB}).encode()
    comfyui.server.send_sync("execution_success", {"prompt_id": JOB}, "browser")
    await comfyui.everything_heard()
    read = b""
    while end not in read:
        read += await comfyui.server.loop.sock_recv(frozen, 1 << 20)
    assert read.count(b'"progress"') < 19_000
    values = [int(part.split(b",")[0]) for part in read.split(b'"value": ')[1:]]
    assert values == sorted(values)
    assert values[-1] == 19_999
    frozen.close()


async def test_an_exporter_that_takes_nothing_for_long_loses_its_connection(comfyui, install, caplog):
    install(patience=0.05)
    await comfyui.connect("comfyui-exporter-1")
    frozen = await comfyui.freeze("comfyui-exporter-2")
    large = {"prompt_id": JOB, "nodes": {str(n): NEWER_NODE for n in range(60)}}
    for _ in range(20):
        comfyui.server.send_sync("progress_state", large, "browser")
    await until(lambda: "comfyui-exporter-2" not in comfyui.server.sockets)
    heard = await comfyui.everything_heard()
    assert len(heard["comfyui-exporter-1"]) == 20
    assert [record.message for record in caplog.records if record.name == "comfyui_exporter_bridge"][1:] == [
        "comfyui-exporter bridge: an exporter took nothing for 0.05 s; its connection is ended"
    ]
    frozen.close()


async def test_comfyui_does_not_wait_for_ever_for_an_exporter_that_takes_nothing(comfyui, install):
    install(patience=0.05)
    await comfyui.connect("browser")
    frozen = await comfyui.freeze("comfyui-exporter-1")
    large = {"prompt_id": JOB, "nodes": {str(n): NEWER_NODE for n in range(60)}}
    for _ in range(20):
        comfyui.server.send_sync("progress_state", large, "browser")
    # Previews of a job without client_id go to all, and ComfyUI waits until all have taken them.
    for _ in range(200):
        comfyui.server.send_sync(PREVIEW_IMAGE, bytes(10_000), None)
    heard = await comfyui.everything_heard()
    assert len(heard["browser"]) == 220
    frozen.close()


@pytest.mark.parametrize(
    "server",
    [
        None,
        as_module(object),
        as_module(type("Old", (), {"instance": type("Server", (), {"sockets": {}})()})),
        as_module(type("New", (), {"instance": type("Server", (), {"sockets": {}, "send_json": print})()})),
        as_module(
            type("New", (), {"instance": type("Server", (), {"sockets": [], "send_json": PromptServer.send_json})()})
        ),
    ],
    ids=["no server", "no instance", "no send_json", "another send_json", "other sockets"],
)
def test_in_a_comfyui_that_it_does_not_know_it_warns_once_and_changes_nothing(monkeypatch, caplog, server):
    monkeypatch.setitem(sys.modules, "server", server)
    before = getattr(getattr(getattr(server, "PromptServer", None), "instance", None), "__dict__", {}).copy()
    module = load()
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "comfyui-exporter bridge: cannot work in this ComfyUI and does nothing")
    ]
    after = getattr(getattr(getattr(server, "PromptServer", None), "instance", None), "__dict__", {})
    assert after == before
    assert module.NODE_CLASS_MAPPINGS == {}


async def test_comfyui_takes_it_for_an_extension_without_nodes_and_without_files_for_the_browser(comfyui):
    module = load()
    assert module.NODE_CLASS_MAPPINGS == {}
    assert not hasattr(module, "WEB_DIRECTORY")
    assert [path.name for path in FOLDER.iterdir() if path.name != "__pycache__"] == ["__init__.py"]
