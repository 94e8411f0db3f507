"""`status`, `jobs`, `wait` and `top --json` as scripts and people see them."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import pytest

from certificates import own, signed
from comfyui_exporter.config.sections import Push
from comfyui_exporter.jobs.update import FailureReport, ServerUpdate
from comfyui_exporter.simulator import Simulation
from terminal.exporters import CLEAN, PATIENCE, asked, program, staged, submit, update, watching
from terminal.ptys import on_terminal

PROMPTS = [f"0b5c8f0e-6a8c-4d0e-9d0b-0f4f3c1c2a1{number}" for number in range(5)]
NOWHERE = "http://127.0.0.1:1"
UP = ServerUpdate("gpu0", up=True, running=1, pending=3, drain_seconds=100.0)


@pytest.fixture
def without_rich(tmp_path: Path) -> dict[str, str]:
    """The environment of a program for which rich is not installed."""
    (tmp_path / "rich.py").write_text("raise ImportError('rich is not there')\n")
    return {"PYTHONPATH": str(tmp_path)}


async def test_status_has_a_line_for_each_server_and_says_by_its_code_whether_all_is_well() -> None:
    async with staged() as stage:
        assert await asked("status", stage.url) == (1, "no server is watched\n", "")
        stage.servers = [replace(UP, server="gpu10"), UP]
        stage.jobs = [update("portrait", "processing", 42.5)]
        code, said, _ = await asked("status", stage.url)
        assert code == 0
        assert [line.split() for line in said.splitlines()] == [
            ["SERVER", "STATE", "RUNNING", "WAITING", "EMPTY", "JOB", "VERSION"],
            [
                "gpu0",
                "running",
                "1",
                "3",
                "in",
                "1",
                "min",
                "40",
                "s",
                "portrait",
                "42%,",
                "ready",
                "any",
                "moment",
                "-",
            ],
            ["gpu10", "running", "1", "3", "in", "1", "min", "40", "s", "-"],
        ]
        stage.jobs = [update("late", "timeout", stalled=True)]
        code, said, _ = await asked("status", stage.url)
        assert (code, said.splitlines()[1].split()[:2]) == (1, ["gpu0", "stalled"])
        stage.jobs = []
        stage.servers[0] = ServerUpdate("gpu1", up=False, running=None, pending=None, drain_seconds=None)
        assert (await asked("status", stage.url))[0] == 1
        assert (await asked("status", stage.url, "--server", "gpu0"))[0] == 0
        code, said, _ = await asked("status", stage.url, "--server", "gpu0", "--server", "gpu7")
        assert (code, said.splitlines()[-1]) == (1, "no server gpu7 is watched")
        code, said, _ = await asked("status", stage.url, "--json")
        assert (code, json.loads(said)["ok"]) == (1, False)
        assert [(server["server"], server["up"], server["stalled"]) for server in json.loads(said)["servers"]] == [
            ("gpu1", False, False),
            ("gpu0", True, False),
        ]


async def test_an_exporter_that_is_not_there_ends_with_3() -> None:
    told = (3, "", f"{NOWHERE} cannot be reached: Connection refused\n")
    for command in (("status",), ("jobs",), ("wait", "x")):
        assert await asked(*command, env={"COMFYUI_EXPORTER_URL": NOWHERE}) == told
    assert await program("top", "--json", NOWHERE) == told


async def test_wrong_usage_ends_with_2_and_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    ended = [
        await asked("status", "ftp://x"),
        await asked("jobs", "--status", "finished"),
        await asked("wait", "x", "--timeout", "5"),
        await asked("top", NOWHERE),
        await asked("status", "--token-file", str(tmp_path / "empty")),
        await asked("status", "http://user:secret@host"),
    ]
    assert [code for code, _, _ in ended] == [2] * 6
    wanted = ("did you mean http://x?", "'queued'", "did you mean 5s?", "top needs a terminal", "the file is empty")
    for (_, _, errors), words in zip(ended, (*wanted, "--basic-auth-file"), strict=True):
        assert words in " ".join(errors.split())
    assert "secret" not in ended[-1][2]


async def test_jobs_follows_the_pages_up_to_the_limit() -> None:
    async with staged() as stage:
        stage.jobs = [update(str(number), "completed", job_id=number) for number in range(1200)]
        filters = ("--status", "completed", "--server", "gpu0", "--job-type", "a b", "--batch-id", "b")
        code, said, _ = await asked("jobs", stage.url, "--limit", "1100", "--json", *filters)
        assert (code, [job["job_id"] for job in json.loads(said)["items"]]) == (0, list(range(1100)))
        assert json.loads(said)["next_cursor"] == "1100"
        chosen = "/api/v1/jobs?status=completed&server=gpu0&job_type=a+b&batch_id=b"
        pages = ("limit=500", "limit=500&cursor=500", "limit=100&cursor=1000")
        assert stage.asked == [f"{chosen}&{page}" for page in pages]


async def test_jobs_are_a_table_with_why_they_failed(without_rich: dict[str, str]) -> None:
    failure = FailureReport("cuda_oom", "3", "KSampler", "torch.OutOfMemoryError")
    async with staged() as stage:
        assert await asked("jobs", stage.url) == (0, "no such job\n", "")
        stage.jobs = [update("7", "failed", job_id=7, failure=failure), update("a\x1b[31m\nb", "processing", 42.0)]
        code, said, errors = await program("jobs", stage.url, "--limit", "2", env=without_rich)
        head, failed, running = said.splitlines()
        assert (code, errors) == (0, "")
        assert head.split() == ["STATUS", "JOB", "SERVER", "TYPE", "BATCH", "TIME", "WHEN", "RESULT"]
        assert failed.split()[:6] == ["failed", "#7", "gpu0", "image", "-", "40"]
        assert failed.endswith("CUDA out of memory, KSampler, node 3, torch.OutOfMemoryError")
        assert running.startswith("running 42%  a�[31m b  gpu0")


async def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    async with staged() as stage:
        stage.jobs = [update(str(number), "completed") for number in range(500)]
        command = f"{sys.executable} -m comfyui_exporter jobs {stage.url} --limit 10000 | head -1"
        process = await asyncio.create_subprocess_shell(
            command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=CLEAN
        )
        said, errors = await process.communicate()
        assert (said.split()[0], errors) == (b"STATUS", b"")


async def test_wait_says_each_change_of_status_once(without_rich: dict[str, str]) -> None:
    async with staged() as stage:
        stage.hub.job(update("a", "queued", estimated_completion=None))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "comfyui_exporter", "wait", "p-a", "--url", stage.url),
            stdout=asyncio.subprocess.PIPE,
            env=CLEAN | without_rich,
        )
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            assert await process.stdout.readline() == b"p-a waiting on gpu0, place 1\n"
            for percent in (10.0, 50.0):
                stage.hub.job(update("a", "processing", percent, estimated_completion=None))
            assert await process.stdout.readline() == b"p-a running on gpu0\n"
            stage.hub.job(update("a", "processing", 50.0, estimated_completion=None, stalled=True))
            assert await process.stdout.readline() == b"p-a running on gpu0, no sign of progress for long\n"
            await stage.restart()
            assert await process.stdout.readline() == b"the exporter closed the connection; trying again\n"
            reason = FailureReport("cuda_oom", "3", "KSampler", "torch.OutOfMemoryError")
            stage.hub.job(update("a", "failed", failure=reason, error_message="no\nroom \x1b[31m"))
            await stage.start()
            rest, _ = await process.communicate()
        assert process.returncode == 1
        ended = "p-a failed on gpu0 after 40 s\n  CUDA out of memory, KSampler, node 3, torch.OutOfMemoryError\n"
        assert rest.decode() == f"{ended}  no\n  room �[31m\n"


async def test_wait_says_what_became_of_real_jobs() -> None:
    async with Simulation(speed=20, bridge=True) as simulation, watching(simulation) as url:
        waiting = asyncio.create_task(asked("wait", "7", "--url", url))
        submit(simulation, PROMPTS[0], job_id=7)
        code, said, errors = await waiting
        *_, ended, made = said.splitlines()
        assert (code, errors) == (0, "")
        assert ended.startswith("7 completed on gpu0 after ")
        assert made.startswith("  ComfyUI_")
        simulation.executor.accidents[PROMPTS[1]] = "cuda_oom"
        submit(simulation, PROMPTS[1])
        code, said, _ = await asked("wait", PROMPTS[0], PROMPTS[1], "--url", url)
        assert code == 1
        assert "  CUDA out of memory, KSampler, node 3, " in said
        assert "failed on gpu0" in said
        code, said, _ = await asked("wait", PROMPTS[0], PROMPTS[1], "--url", url, "--json")
        assert (code, json.loads(said)["exit_code"]) == (1, 1)
        assert [(job["id"], job["outcome"], job["exit_code"]) for job in json.loads(said)["jobs"]] == [
            (PROMPTS[0], "completed", 0),
            (PROMPTS[1], "failed", 1),
        ]
        assert json.loads(said)["jobs"][1]["job"]["failure"]["pattern"] == "cuda_oom"


@pytest.mark.parametrize(
    ("status", "fields", "code", "words"),
    [
        ("cancelled", {}, 5, "interrupted on gpu0 after 40 s"),
        ("cancelled", {"started_at": None, "generation_time": None}, 5, "cancelled on gpu0"),
        ("timeout", {"ended_at": update("", "failed").ended_at}, 4, "lost on gpu0"),
        ("timeout", {"server": None, "started_at": None}, 4, "was registered, and no server has shown it"),
    ],
)
async def test_each_end_has_its_exit_code(status: str, fields: dict[str, Any], code: int, words: str) -> None:
    async with staged() as stage:
        stage.hub.job(update("a", status, **fields))
        assert await asked("wait", "p-a", "--url", stage.url) == (code, f"p-a {words}\n", "")


async def test_patience_ends_with_codes_of_its_own() -> None:
    async with staged() as stage:
        stage.hub.job(update("a", "processing", 10.0, estimated_completion=None))
        unknown = await asked("wait", "x", "--url", stage.url, "--appear-timeout", "100ms")
        late = await asked("wait", "p-a", "--url", stage.url, "--timeout", "500ms")
    assert unknown == (6, "x is not known yet\nx: the exporter knows no such job (--appear-timeout)\n", "")
    ended = "p-a: has not ended in the time given (--timeout), it is running 10%\n"
    assert late == (7, f"p-a running on gpu0\n{ended}", "")


async def test_on_a_terminal_a_bar_moves_until_the_end() -> None:
    async with staged() as stage:
        stage.hub.job(update("a", "processing", 25.0))
        async with on_terminal("wait", "p-a", "--url", stage.url) as terminal:
            await terminal.until(lambda: "25%" in terminal.written and "━━━━" in terminal.written)
            stage.hub.job(update("a", "processing", 75.0))
            await terminal.until(lambda: "75%" in terminal.written)
            stage.hub.job(update("a", "completed"))
            assert await terminal.end() == 0
            await terminal.until(lambda: "completed on gpu0 after 40 s" in terminal.written)
            assert terminal.written.rindex("\x1b[?25h") > terminal.written.rindex("\x1b[?25l")


@pytest.mark.parametrize(("how", "code"), [("Ctrl-C", 130), ("SIGTERM", 143)])
async def test_ending_wait_gives_the_cursor_back(how: str, code: int) -> None:
    async with staged() as stage:
        stage.hub.job(update("a", "processing", 25.0))
        async with on_terminal("wait", "p-a", "--url", stage.url) as terminal:
            await terminal.until(lambda: "25%" in terminal.written)
            if how == "SIGTERM":
                assert terminal.process is not None
                terminal.process.terminate()
            else:
                terminal.press("\x03")
            assert await terminal.end() == code
            await terminal.until(lambda: terminal.written.rfind("\x1b[?25h") > terminal.written.rfind("\x1b[?25l"))
            assert "Traceback" not in terminal.written


async def test_top_without_rich_says_what_to_install(without_rich: dict[str, str]) -> None:
    async with on_terminal("top", NOWHERE, env=without_rich) as terminal:
        assert await terminal.end() == 2
        await terminal.until(lambda: "pip install 'comfyui-exporter[terminal]'" in terminal.written)


async def test_wait_without_rich_has_lines_on_a_terminal_too(without_rich: dict[str, str]) -> None:
    async with staged() as stage:
        stage.hub.job(update("a", "completed"))
        async with on_terminal("wait", "p-a", "--url", stage.url, env=without_rich) as terminal:
            assert await terminal.end() == 0
            await terminal.until(lambda: terminal.written == "p-a completed on gpu0 after 40 s\r\n")


async def test_top_gives_programs_each_message_on_a_line(without_rich: dict[str, str]) -> None:
    async with staged() as stage:
        stage.hub.server(UP)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "comfyui_exporter", "top", stage.url, "--json"),
            stdout=asyncio.subprocess.PIPE,
            env=CLEAN | without_rich,
        )
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            told = [json.loads(await process.stdout.readline()) for _ in range(3)]
            stage.hub.job(update("a", "queued"))
            told.append(json.loads(await process.stdout.readline()))
            await stage.restart()
            told.append(json.loads(await process.stdout.readline()))
            process.terminate()
            await process.communicate()
        assert process.returncode == 0
        kinds = ["connected", "server_update", "snapshot_end", "progress_update", "disconnected"]
        assert [message["type"] for message in told] == kinds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("protected")
    authority = own(folder, "authority")
    own(folder, "server")
    signed(folder, "person", authority, "DNS:person.lan")
    hashed = bcrypt.hashpw(b"sesame", bcrypt.gensalt(4)).decode()
    tls = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
    verified = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: authority.pem\n"
    (folder / "passwords.yml").write_text(f"{tls}basic_auth_users:\n  alice: {hashed}\n")
    (folder / "certificates.yml").write_text(tls + verified)
    (folder / "alice").write_text("alice:sesame\n")
    (folder / "wrong").write_text("alice:wrong\n")
    (folder / "token").write_text("0123456789abcdef\n")
    return folder


async def test_passwords_and_authorities_of_files_open_a_protected_exporter(folder: Path) -> None:
    async with Simulation() as simulation, watching(simulation, web_config=folder / "passwords.yml") as url:
        trust, alice = ("--ca-file", str(folder / "server.pem")), ("--basic-auth-file", str(folder / "alice"))
        submit(simulation, PROMPTS[0])
        variables = {
            "COMFYUI_EXPORTER_URL": url,
            "COMFYUI_EXPORTER_URL_CA_FILE": str(folder / "server.pem"),
            "COMFYUI_EXPORTER_URL_BASIC_AUTH_FILE": str(folder / "alice"),
        }
        ended = [
            await asked("jobs", url, *trust, *alice),
            await asked("status", url, *alice),
            await asked("jobs", url, *alice, "--insecure"),
            await asked("jobs", url, *trust),
            await asked("wait", PROMPTS[0], "--url", url, *trust, "--basic-auth-file", str(folder / "wrong")),
            await asked("wait", PROMPTS[0], "--timeout", "0", env=variables),
        ]
    assert [code for code, _, _ in ended] == [0, 3, 0, 3, 3, 7]
    assert "is not trusted: self-signed certificate (--ca-file FILE, or --insecure)" in ended[1][2]
    for refused in (ended[3], ended[4]):
        assert "asks for a password or token (--basic-auth-file FILE or --token-file FILE)" in refused[2]


async def test_a_client_certificate_is_shown(folder: Path) -> None:
    async with Simulation() as simulation, watching(simulation, web_config=folder / "certificates.yml") as url:
        trust = ("--ca-file", str(folder / "server.pem"))
        shown = ("--cert-file", str(folder / "person.pem"), "--key-file", str(folder / "person.key"))
        ended = [await asked("jobs", url, *trust, *shown), await asked("jobs", url, *trust)]
    assert [code for code, _, _ in ended] == [0, 3]


async def test_a_token_opens_the_socket_and_that_of_a_job_is_enough_to_wait_for_it(folder: Path) -> None:
    push = Push(token_file=folder / "token")
    async with Simulation(speed=20) as simulation, watching(simulation, push=push) as url:
        wanted = {"job_id": 7, "prompt_id": PROMPTS[0]}
        async with aiohttp.ClientSession() as http, http.post(f"{url}/api/v1/jobs", json=wanted) as response:
            (folder / "of the job").write_text((await response.json())["push_token"])
        submit(simulation, PROMPTS[0])
        submit(simulation, PROMPTS[1])
        ended = [
            await asked("wait", PROMPTS[1], "--url", url, "--token-file", str(folder / "token")),
            await asked("wait", "7", PROMPTS[0], "--url", url, "--token-file", str(folder / "of the job")),
            await asked("wait", PROMPTS[0], "--url", url),
        ]
    assert [code for code, _, _ in ended] == [0, 0, 3]
