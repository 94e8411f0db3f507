"""Captures of a real ComfyUI, as bodies that the readers take, and small bodies of the same shape."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfyui_exporter.comfyui.history import HistoryPayload, read_history
from comfyui_exporter.comfyui.json import PayloadError
from comfyui_exporter.comfyui.queue import QueuePayload, read_queue
from comfyui_exporter.comfyui.submission import SubmissionReader
from comfyui_exporter.tracker.observations import HistoryEntry

RECORDINGS = Path(__file__).parent.parent / "recordings"
PLAIN = SubmissionReader()


@dataclass(frozen=True)
class Get:
    """A recorded answer to a GET."""

    scenario: str
    path: str
    body: bytes

    @property
    def route(self) -> str:
        """The path without /api, query and id."""
        first = self.path.removeprefix("/api").split("?")[0].split("/")[1]
        return f"/{first}"


def gets(pattern: str = "*") -> Iterator[Get]:
    for file in sorted(RECORDINGS.glob(f"{pattern}.json")):
        for step in json.loads(file.read_text())["steps"]:
            if step["kind"] == "http" and step["request"]["method"] == "GET" and step.get("status") == 200:
                body = step.get("body")
                if body is not None:
                    yield Get(file.stem, step["request"]["path"], json.dumps(body).encode())


def frames() -> Iterator[dict[str, Any]]:
    for file in sorted(RECORDINGS.glob("*.json")):
        for step in json.loads(file.read_text())["steps"]:
            if "frame" in step:
                yield step["frame"]


def history_of(scenario: str, submissions: SubmissionReader = PLAIN) -> list[HistoryEntry]:
    """Every run that the history of a recording shows, once each, in the order of their starts."""
    entries = {
        entry.identity: entry
        for get in gets(scenario)
        if get.route == "/history"
        for entry in read_history(get.body, submissions).entries
    }
    return sorted(entries.values(), key=lambda entry: (entry.started_ms or 0, entry.number))


def known_none(_prompt_id: str, _number: float) -> int:
    return 0


def refusal(read: Callable[[bytes], Any], body: bytes) -> str:
    """Why a reader refuses a body; empty if it reads it."""
    try:
        repr(read(body)).encode()
    except PayloadError as error:
        return str(error)
    return ""


def queue_body(*pending: Any, running: Any = ()) -> bytes:
    """A /queue answer; an item given as text is put in as it is, others become JSON."""
    columns = [
        ", ".join(item if isinstance(item, str) else json.dumps(item) for item in column)
        for column in (running, pending)
    ]
    return f'{{"queue_running": [{columns[0]}], "queue_pending": [{columns[1]}]}}'.encode()


def queue_of(*pending: Any) -> QueuePayload:
    return read_queue(queue_body(*pending), PLAIN, known_none)


def entry_body(prompt_id: str = "a", **parts: Any) -> bytes:
    """A /history answer of one entry, plain but for the parts given."""
    entry = {"prompt": [1, prompt_id, {}, {}, []], "outputs": {}, "status": None, **parts}
    return json.dumps({prompt_id: entry}).encode()


def history_payload(**parts: Any) -> HistoryPayload:
    return read_history(entry_body(**parts), PLAIN)


def history_entry(**parts: Any) -> HistoryEntry:
    (entry,) = history_payload(**parts).entries
    return entry
