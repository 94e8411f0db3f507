"""`/api/v1` over a real socket, of an exporter that watches simulated ComfyUIs."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from random import Random

import aiohttp
import pytest

from comfyui_exporter.config.model import Config
from comfyui_exporter.config.sections import Push, Store
from comfyui_exporter.config.servers import ServerConfig
from comfyui_exporter.jobs.history import NotNowError
from comfyui_exporter.monitor import Monitor
from comfyui_exporter.push_service import PushService
from comfyui_exporter.simulator import Simulation
from comfyui_exporter.simulator.workflows import image
from comfyui_exporter.web.api import Api
from comfyui_exporter.web.guard import WriteGuard
from comfyui_exporter.web.server import WebServer, build_app

PATIENCE = 30.0
"""Seconds within which anything happens, on a slow machine too."""


class Exporter:
    """What `run` puts together, on a free port."""

    def __init__(self, monitor, session, url):
        self.monitor = monitor
        self.session = session
        self.url = url

    async def get(self, path, status=200, **headers):
        async with self.session.get(f"{self.url}{path}", headers=headers) as response:
            assert response.status == status, await response.text()
            assert response.content_type == "application/json"
            return await response.json()

    async def post(self, body, status=201, **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.post(f"{self.url}/api/v1/jobs", data=data, headers=headers) as response:
            assert response.status == status, await response.text()
            return await response.json()

    async def job(self, name, *, ended=True):
        """A job, once it is there and ended."""
        async with asyncio.timeout(PATIENCE):
            while True:
                async with self.session.get(f"{self.url}/api/v1/jobs/{name}") as response:
                    job = await response.json()
                    if response.status == 200 and job["status"] != "initializing" and (job["ended_at"] or not ended):
                        return job
                await asyncio.sleep(0.01)

    async def up(self):
        """Wait until every server answered."""
        async with asyncio.timeout(PATIENCE):
            while not all(server["up"] for server in (await self.get("/api/v1/servers"))["items"]):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@asynccontextmanager
async def exporting(simulation, push=None, store="memory", history=None, **names):
    """An exporter that watches `gpu0` and further servers."""
    servers = [ServerConfig(name="gpu0", url=simulation.url), *(ServerConfig(name=n, url=u) for n, u in names.items())]
    monitor = Monitor(Config(poll_interval=0.1, servers=tuple(servers), store=Store(url=store)), rng=Random(1))
    await monitor.open()
    service = PushService(monitor, push or Push())
    app = build_app(monitor.metrics, "/metrics", lambda: monitor.ready)
    Api(
        monitor.board,
        history or monitor.history,
        monitor.register,
        monitor.kept,
        service.token_for,
        service.access,
        WriteGuard(),
    ).add_to(app)
    app.router.add_get("/ws", service.handler.__call__)
    server = WebServer(app)
    try:
        host, port = await server.listen("127.0.0.1", 0)
        monitor.start()
        async with aiohttp.ClientSession() as session:
            yield Exporter(monitor, session, f"http://{host}:{port}")
    finally:
        await monitor.stop()
        await service.close()
        await server.close()


@pytest.fixture
async def simulation():
    async with Simulation(speed=300) as simulation:
        yield simulation


@pytest.fixture
async def exporter(simulation):
    async with exporting(simulation) as exporter:
        await exporter.up()
        yield exporter


def submit(simulation, prompt_id, **extra):
    graph = image(Random(0)).graph
    graph["3"]["inputs"]["seed"] = len(simulation.ledger.runs)  # or all of it would come from the cache
    status, _ = simulation.comfy.submit({"prompt": graph, "prompt_id": prompt_id, "extra_data": extra})
    assert status == 200


# Reading


async def test_servers_are_listed_before_they_answered():
    async with Simulation() as simulation:
        await simulation.kill()
        async with exporting(simulation) as exporter:
            items = (await exporter.get("/api/v1/servers"))["items"]
            assert [(item["server"], item["up"]) for item in items] == [("gpu0", None)]
            assert (items[0]["version"], items[0]["devices"]) == (None, [])
            assert (await exporter.post({"job_id": 1, "prompt_id": "p", "server": "gpu0"}))["server"] == "gpu0"


async def test_a_server_that_is_up_has_its_version_and_memory_and_one_that_is_not_has_neither(simulation, exporter):
    async def until(known):
        async with asyncio.timeout(PATIENCE):
            while bool((await exporter.get("/api/v1/servers"))["items"][0]["devices"]) is not known:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return (await exporter.get("/api/v1/servers"))["items"][0]

    item = await until(known=True)
    assert item["version"] == simulation.comfy.profile.version
    assert 0 < item["devices"][0]["vram_free"] <= item["devices"][0]["vram_total"]
    assert 0 < item["ram_free"] <= item["ram_total"]
    await simulation.kill()
    assert (await until(known=False))["version"] is None


async def test_a_job_is_found_by_either_id_with_its_nodes_and_counted_in_batch_and_statistics(exporter, simulation):
    submit(simulation, "p", job_id=5, job_type="image", batch_id="b/1")
    job = await exporter.job("p")
    assert (job["job_id"], job["status"], job["server"], job["progress_percent"]) == (5, "completed", "gpu0", 100.0)
    assert {"id", "type", "state", "value", "max", "seconds"} == job["nodes"][0].keys()
    assert (await exporter.get("/api/v1/jobs/5"))["run_id"] == job["run_id"]
    batch = await exporter.get("/api/v1/batches/b/1")
    assert (batch["total"], batch["counts"], batch["progress_percent"]) == (1, {"completed": 1}, 100.0)
    statistics = await exporter.get("/api/v1/statistics")
    assert statistics["generation_stats"]["completion_times"]["image"]["count"] == 1


async def test_a_batch_with_a_job_to_come_is_in_the_metrics(exporter, simulation):
    await exporter.post({"job_id": 6, "prompt_id": "later", "batch_id": "b", "server": "gpu0"})
    submit(simulation, "p", batch_id="b")
    await exporter.job("p")
    batch = await exporter.get("/api/v1/batches/b")
    assert (batch["total"], batch["counts"]) == (2, {"initializing": 1, "completed": 1})
    wanted = {f'comfyui_batch_jobs{{server="gpu0",batch_id="b",status="{status}"}} 1' for status in batch["counts"]}
    async with asyncio.timeout(PATIENCE):
        while True:
            async with exporter.session.get(f"{exporter.url}/metrics") as response:
                if wanted <= set((await response.text()).splitlines()):
                    return
            await asyncio.sleep(0.01)


async def test_jobs_are_filtered(exporter, simulation):
    submit(simulation, "one", job_type="image", batch_id="b")
    simulation.executor.accidents["two"] = "cuda_oom"
    submit(simulation, "two", job_type="video")
    await exporter.job("one")
    await exporter.job("two")

    async def listed(query):
        return {job["comfyui_prompt_id"] for job in (await exporter.get(f"/api/v1/jobs?{query}"))["items"]}

    assert await listed("") == {"one", "two"}
    assert await listed("status=failed") == {"two"}
    assert await listed("status=failed&status=completed") == {"one", "two"}
    assert await listed("job_type=image") == {"one"}
    assert await listed("batch_id=b&status=failed") == set()
    assert await listed("server=gpu0&job_type=video") == {"two"}
    assert await listed("server=gpu9") == set()


async def test_jobs_cursors_and_registrations_outlive_the_exporter_in_its_store(simulation, tmp_path):
    store = f"sqlite:///{tmp_path}/jobs.db"
    async with exporting(simulation, store=store) as exporter:
        await exporter.up()
        registered = await exporter.post({"job_id": 9, "prompt_id": "later", "batch_id": "b"})
        for number in range(5):
            submit(simulation, f"p{number}", job_id=number)
            await exporter.job(f"p{number}")
        page = await exporter.get("/api/v1/jobs?limit=2")
        before = await exporter.get("/api/v1/jobs/p0")
    async with exporting(simulation, store=store) as exporter:
        await exporter.up()
        submit(simulation, "meanwhile")
        await exporter.job("meanwhile")
        seen = [job["comfyui_prompt_id"] for job in page["items"]]
        while page["next_cursor"] is not None:
            page = await exporter.get(f"/api/v1/jobs?limit=2&cursor={page['next_cursor']}")
            seen += [job["comfyui_prompt_id"] for job in page["items"]]
        assert sorted(seen) == ["later", "p0", "p1", "p2", "p3", "p4"]
        after = await exporter.get("/api/v1/jobs/0")
        # How far its nodes and steps had come is not kept.
        not_kept = {"nodes": [], "current_step": 0, "total_steps": 0}
        assert after | not_kept == before | not_kept
        assert await exporter.get("/api/v1/jobs/9") == {**registered, "nodes": []}
        submit(simulation, "later")
        done = await exporter.job(9)
        assert (done["run_id"], done["batch_id"], done["status"]) == (registered["run_id"], "b", "completed")


class Away:
    """A store that does not answer."""

    async def page(self, *_):
        raise NotNowError("not now")

    async def find(self, **_):
        raise NotNowError("not now")

    async def batch(self, _):
        raise NotNowError("not now")


async def test_while_the_store_is_away_jobs_in_memory_are_given_and_for_others_it_says_so(simulation):
    async with exporting(simulation, history=Away()) as exporter:
        await exporter.up()
        submit(simulation, "p", job_id=1)
        assert (await exporter.job("p"))["comfyui_prompt_id"] == (await exporter.job(1))["comfyui_prompt_id"] == "p"
        for path in ("/api/v1/jobs/other", "/api/v1/jobs?cursor=3", "/api/v1/batches/b"):
            error = (await exporter.get(path, 503))["error"]
            assert error == {"code": "store_away", "message": "not now"}


async def test_pages_are_complete_and_without_doubles_while_jobs_come(exporter):
    for number in range(25):
        exporter.monitor.register(job_id=number, prompt_id=f"p{number}")
    seen, cursor = [], ""
    while cursor is not None:
        page = await exporter.get(f"/api/v1/jobs?limit=4{cursor and f'&cursor={cursor}'}")
        seen += [job["job_id"] for job in page["items"]]
        cursor = page["next_cursor"]
        exporter.monitor.register(job_id=f"late{len(seen)}", prompt_id=f"late{len(seen)}")
    assert seen == list(range(24, -1, -1))


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/v1/jobs/nobody", 404, "not_found"),
        ("/api/v1/batches/none", 404, "not_found"),
        ("/api/v1/nothing", 404, "not_found"),
        ("/api/v1/jobs?status=done", 400, "bad_request"),
        ("/api/v1/jobs?limit=0", 400, "bad_request"),
        ("/api/v1/jobs?limit=-1", 400, "bad_request"),
        ("/api/v1/jobs?limit=ten", 400, "bad_request"),
        ("/api/v1/jobs?cursor=%F0%9F%98%80", 400, "bad_request"),
        ("/api/v1/jobs?cursor=99999999999999999999", 400, "bad_request"),
    ],
)
async def test_errors_say_what_is_wrong_as_json(exporter, path, status, code):
    error = (await exporter.get(path, status))["error"]
    assert error.keys() == {"code", "message"}
    assert error["code"] == code


async def test_another_method_is_answered_with_those_that_are_allowed(exporter):
    async with exporter.session.delete(f"{exporter.url}/api/v1/jobs") as response:
        assert response.status == 405
        assert "POST" in response.headers["Allow"]
        assert (await response.json())["error"]["code"] == "method_not_allowed"


async def test_only_allowed_origins_may_read_from_browsers(simulation):
    async with exporting(simulation, Push(allowed_origins=("https://app.example",))) as exporter:
        for origin, allowed in (
            ("https://app.example", True),
            ("http://localhost:3000", True),
            ("https://evil.example", False),
            ("null", False),
            ("http://[", False),
        ):
            async with exporter.session.get(f"{exporter.url}/api/v1/jobs", headers={"Origin": origin}) as response:
                assert response.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)
                assert response.headers["Vary"] == "Origin"
        headers = {"Origin": "https://app.example"}
        async with exporter.session.get(f"{exporter.url}/api/v1/jobs/nobody", headers=headers) as response:
            assert response.status == 404
            assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"


async def test_a_page_whose_name_was_pointed_at_us_reads_only_that_it_may_not(exporter):
    rebound = {"Host": "rebound.example:9188", "Accept-Language": "en"}
    for path in ("jobs", "servers", "statistics", "jobs/none", "batches/none"):
        async with exporter.session.get(f"{exporter.url}/api/v1/{path}", headers=rebound) as response:
            assert response.status == 421
            assert (await response.json())["error"]["code"] == "misdirected"
            assert "Access-Control-Allow-Origin" not in response.headers


# Registering


async def test_a_registered_job_waits_and_is_taken_by_its_run(exporter, simulation):
    answer = await exporter.post({"job_id": 123, "prompt_id": "p", "job_type": "video", "batch_id": "b"})
    assert (answer["status"], answer["server"], answer["job_type"]) == ("initializing", None, "video")
    assert "push_token" not in answer
    submit(simulation, "p", job_id="other", job_type="image")
    job = await exporter.job("123")
    assert (job["run_id"], job["job_id"], job["job_type"], job["batch_id"]) == (answer["run_id"], 123, "video", "b")
    assert [one["run_id"] for one in (await exporter.get("/api/v1/jobs"))["items"]] == [answer["run_id"]]


async def test_a_job_that_is_open_or_ended_lately_is_taken_up_at_once(exporter, simulation):
    simulation.executor.speed = 1
    submit(simulation, "p")
    running = await exporter.job("p", ended=False)
    answer = await exporter.post({"job_id": 1, "prompt_id": "p"})
    assert (answer["run_id"], answer["job_id"], answer["server"]) == (running["run_id"], 1, "gpu0")
    submit(simulation, "q")
    await exporter.job("q", ended=False)
    simulation.comfy.delete_pending(["q"])
    simulation.comfy.interrupt()
    simulation.executor.speed = 1000
    ended = await exporter.job("p")
    assert ended["status"] == "cancelled"
    submit(simulation, "late")
    ended = await exporter.job("late")
    answer = await exporter.post({"job_id": "L", "prompt_id": "late", "job_type": "film"})
    assert (answer["run_id"], answer["status"], answer["job_type"]) == (ended["run_id"], "completed", "film")


async def test_a_job_that_was_registered_for_one_server_is_not_taken_by_another():
    async with Simulation(speed=300) as one, Simulation(speed=300) as two, exporting(one, gpu1=two.url) as exporter:
        await exporter.up()
        answer = await exporter.post({"job_id": 1, "prompt_id": "p", "server": "gpu1"})
        submit(one, "p")
        async with asyncio.timeout(PATIENCE):
            while not (found := (await exporter.get("/api/v1/jobs?server=gpu0"))["items"]):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (found[0]["job_id"], found[0]["run_id"] == answer["run_id"]) == (None, False)
        submit(two, "p")
        job = await exporter.job("1")
        assert (job["server"], job["run_id"]) == ("gpu1", answer["run_id"])


GOOD = {"job_id": 1, "prompt_id": "p"}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_json"),
        (b"{", 400, "bad_json"),
        (b"\xff\xfe", 400, "bad_json"),
        (b"[" * 60_000, 400, "bad_json"),
        (b'{"job_id": ' + b"9" * 5_000 + b"}", 400, "bad_json"),
        (b"[]", 400, "bad_request"),
        (b" " * 70_000, 413, "too_large"),
        ({"job_id": 1}, 400, "bad_request"),
        ({"prompt_id": "p"}, 400, "bad_request"),
        (GOOD | {"job_id": True}, 400, "bad_request"),
        (GOOD | {"job_id": 1.5}, 400, "bad_request"),
        (GOOD | {"job_id": 2**53}, 400, "bad_request"),
        (GOOD | {"job_id": ""}, 400, "bad_request"),
        (GOOD | {"job_id": "x" * 201}, 400, "bad_request"),
        (GOOD | {"prompt_id": 7}, 400, "bad_request"),
        (GOOD | {"prompt_id": "\ud800"}, 400, "bad_request"),
        (GOOD | {"prompt_id": "a\nb"}, 400, "bad_request"),
        (GOOD | {"job_type": ["video"]}, 400, "bad_request"),
        (GOOD | {"batch_id": {}}, 400, "bad_request"),
        (GOOD | {"extra": 1}, 400, "bad_request"),
        (GOOD | {"\ud800" * 99: 1}, 400, "bad_request"),
        (GOOD | {"server": "gpu9"}, 400, "unknown_server"),
    ],
)
async def test_a_body_that_makes_no_sense_registers_nothing(exporter, body, status, code):
    assert (await exporter.post(body, status))["error"]["code"] == code
    assert (await exporter.get("/api/v1/jobs"))["items"] == []


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Origin": "https://evil.example"}, "cross_origin"),
        ({"Origin": "http://[::1"}, "cross_origin"),
        ({"Sec-Fetch-Site": "cross-site"}, "cross_origin"),
        ({"Host": "rebound.example", "Origin": "http://rebound.example"}, "cross_origin"),
        ({"X-Forwarded-For": "127.0.0.1"}, "forbidden"),
    ],
)
async def test_who_may_not_write_registers_nothing(exporter, headers, code):
    assert (await exporter.post(GOOD, 403, **headers))["error"]["code"] == code
    assert (await exporter.get("/api/v1/jobs"))["items"] == []


async def test_the_push_token_of_a_job_is_good_for_that_job_alone(simulation, tmp_path):
    file = tmp_path / "token"
    file.write_text("a-token-that-nobody-guesses\n")
    file.chmod(0o600)
    async with exporting(simulation, Push(token_file=file)) as exporter:
        await exporter.up()
        await exporter.post({"job_id": 2, "prompt_id": "q"})
        token = (await exporter.post({"job_id": 1, "prompt_id": "p"}))["push_token"]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await exporter.session.ws_connect(f"{exporter.url}/ws")
        assert refused.value.status == 401
        carried = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
        for headers, protocols in (
            ({"Authorization": f"Bearer {token}"}, ()),
            ({}, ("comfyui-exporter", f"token.{carried}")),
        ):
            push = await exporter.session.ws_connect(f"{exporter.url}/ws", headers=headers, protocols=protocols)
            heard = []
            while not heard or heard[-1]["type"] != "snapshot_end":
                heard.append(await push.receive_json(timeout=PATIENCE))
            jobs = [message["data"]["job_id"] for message in heard if message["type"] == "progress_update"]
            assert jobs == [1]
            await push.send_json({"type": "get_job_progress", "job_id": 2, "id": "ask"})
            answer = await push.receive_json(timeout=PATIENCE)
            while answer.get("id") != "ask":
                answer = await push.receive_json(timeout=PATIENCE)
            assert not answer.get("data")
            await push.close()
