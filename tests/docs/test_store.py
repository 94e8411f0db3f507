"""What the page about the store says is done here to the store of an exporter that watched jobs."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from random import Random

import pytest

from comfyui_exporter import ComfyUIClient, StatusMonitor
from comfyui_exporter.simulator import Simulation
from comfyui_exporter.simulator.workflows import image
from comfyui_exporter.store.migrations import VERSION
from docs.pages import ROOT, fenced

PAGE = (ROOT / "docs/store.md").read_text()
SECRET = "sk-never-to-be-stored"


@pytest.fixture
async def file(tmp_path):
    """A store with one completed job of a batch, and one that failed."""
    path = tmp_path / "comfyui-exporter.db"
    ended: set[str] = set()
    async with Simulation(speed=200) as simulation, ComfyUIClient(simulation.url) as client:
        monitor = StatusMonitor(client, None, 0.1, None, store=f"sqlite:///{path}", all_jobs=True)
        monitor.add_progress_callback(lambda update: ended.add(update.comfyui_prompt_id) if update.terminal else None)
        async with monitor:
            await _until(lambda: monitor._monitor.ready)
            simulation.executor.accidents["failing"] = "cuda_oom"
            for number, prompt_id in enumerate(("fine", "failing")):
                graph = image(Random(number)).graph
                extra = {"job_id": number, "job_type": "image", "batch_id": "tonight", "api_key_comfy_org": SECRET}
                simulation.comfy.submit({"prompt": graph, "prompt_id": prompt_id, "extra_data": extra})
            await _until(lambda: ended == {"fine", "failing"})
    return path


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


def _asked(file, question):
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(question)]


def test_the_questions_of_the_page_are_answered(file):
    durations, failures, files = (_asked(file, question) for question in fenced(PAGE, "sql"))
    assert [(row["job_type"], row["jobs"]) for row in durations] == [("image", 1)]
    assert 0 < durations[0]["mean"] <= durations[0]["longest"]
    assert [(row["prompt_id"], row["job_id"], row["pattern"]) for row in failures] == [("failing", "1", "cuda_oom")]
    assert failures[0]["message"]
    assert [row["job_id"] for row in files] == ["0"]
    assert files[0]["file"].endswith(".png")


def test_the_tables_of_the_page_are_those_of_the_file(file):
    tables = {row["name"] for row in _asked(file, "SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables - {"comfyui_store"} == {
        name.strip("` ")
        for line in PAGE.splitlines()
        if line.startswith("| `comfyui_")
        for name in line.split("|")[1].split(",")
    }
    assert _asked(file, "SELECT version FROM comfyui_store") == [{"version": VERSION}]


def test_neither_prompts_nor_credentials_are_stored(file):
    prompts = [node["inputs"]["text"] for node in image(Random(0)).graph.values() if "text" in node["inputs"]]
    assert prompts
    stored = file.read_bytes()
    assert b"fine" in stored
    for text in (SECRET, "api_key", *prompts):
        assert text.encode() not in stored


def test_a_copy_made_while_the_exporter_runs_is_whole(file, tmp_path):
    with closing(sqlite3.connect(file)) as database:
        database.execute("VACUUM INTO ?", (str(tmp_path / "copy.db"),))
    assert _asked(tmp_path / "copy.db", "PRAGMA application_id") == _asked(file, "PRAGMA application_id")
