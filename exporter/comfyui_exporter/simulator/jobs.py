"""GET /api/jobs and GET /api/jobs/{id}, of versions that have them.

Shapes and rules as in ComfyUI's comfy_execution/jobs.py and server.py (0.8.0), and as newer versions changed them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from comfyui_exporter.simulator.ledger import Contents, Run
from comfyui_exporter.simulator.profile import Profile
from comfyui_exporter.simulator.prompt_queue import Entry, Item, PromptQueue

_PREVIEWABLE = frozenset({"images", "video", "audio"})
_ENDINGS_3D = (".obj", ".fbx", ".gltf", ".glb")


class BadQueryError(ValueError):
    """A query parameter that ComfyUI refuses with 400 and this text."""


@dataclass(frozen=True, slots=True)
class JobsQuery:
    """The parameters of GET /api/jobs."""

    statuses: tuple[str, ...]
    workflow_id: str | None = None
    by_duration: bool = False
    descending: bool = True
    limit: int | None = None
    offset: int = 0


def parse_query(query: Mapping[str, str], profile: Profile) -> JobsQuery:
    """Read the query string; BadQueryError as ComfyUI words it."""
    known = ("pending", "in_progress", "completed", "failed", *(("cancelled",) if profile.cancelled_status else ()))
    wanted = tuple(part.strip().lower() for part in query.get("status", "").split(",") if part.strip())
    unknown = [status for status in wanted if status not in known]
    if unknown:
        msg = f"Invalid status value(s): {', '.join(unknown)}. Valid values: {', '.join(known)}"
        raise BadQueryError(msg)
    sort_by, sort_order = query.get("sort_by", "created_at").lower(), query.get("sort_order", "desc").lower()
    if sort_by not in {"created_at", "execution_duration"}:
        raise BadQueryError("sort_by must be 'created_at' or 'execution_duration'")
    if sort_order not in {"asc", "desc"}:
        raise BadQueryError("sort_order must be 'asc' or 'desc'")
    limit = _integer(query, "limit")
    if limit is not None and limit <= 0:
        raise BadQueryError("limit must be a positive integer")
    return JobsQuery(
        # A list without a name in it, such as `status=,`, matches nothing; an empty parameter is none.
        statuses=wanted if query.get("status") else known,
        workflow_id=query.get("workflow_id"),
        by_duration=sort_by == "execution_duration",
        descending=sort_order == "desc",
        limit=limit,
        offset=max(0, _integer(query, "offset") or 0),
    )


def _integer(query: Mapping[str, str], name: str) -> int | None:
    if name not in query:
        return None
    try:
        return int(query[name])
    except ValueError:
        msg = f"{name} must be an integer"
        raise BadQueryError(msg) from None


@dataclass(frozen=True, slots=True)
class _Job:
    body: dict[str, Any]
    run: Run
    place: Literal["pending", "running", "history"]


def list_jobs(queue: PromptQueue, query: JobsQuery, profile: Profile) -> tuple[dict[str, Any], Contents]:
    """The answer to GET /api/jobs, and the runs in it."""
    jobs = [
        job
        for job in _all_jobs(queue, profile)
        if job.body["status"] in query.statuses
        and (not query.workflow_id or job.body.get("workflow_id") == query.workflow_id)
    ]
    jobs.sort(key=lambda job: _sort_key(job.body, by_duration=query.by_duration), reverse=query.descending)
    total = len(jobs)
    page = jobs[query.offset :][: query.limit]
    body = {
        "jobs": [job.body for job in page],
        "pagination": {
            "offset": query.offset,
            "limit": query.limit,
            "total": total,
            "has_more": query.offset + len(page) < total,
        },
    }
    whole_queue = {"pending", "in_progress"} <= set(query.statuses) and len(page) == total
    return body, _contents(page, whole_queue=whole_queue, by_id=False)


def one_job(queue: PromptQueue, prompt_id: str, profile: Profile) -> tuple[dict[str, Any] | None, Contents]:
    """The answer to GET /api/jobs/{id}, and the run in it; None when there is no such job."""
    entry = queue.history.get(prompt_id)
    if entry is not None:
        job = _Job(_finished(entry, profile, detail=True), entry.run, "history")
        return job.body, _contents([job], whole_queue=False, by_id=True)
    for item, place in _queued(queue):
        if item.prompt_id == prompt_id:
            body = _waiting(item, place)
            if profile.queued_workflow:
                body["workflow"] = {"prompt": item.graph, "extra_data": item.extra_data}
            return body, _contents([_Job(body, item.run, place)], whole_queue=False, by_id=True)
    return None, Contents()


def _contents(jobs: Iterable[_Job], *, whole_queue: bool, by_id: bool) -> Contents:
    return Contents(
        pending=[job.run for job in jobs if job.place == "pending"],
        running=[job.run for job in jobs if job.place == "running"],
        entries=[job.run for job in jobs if job.place == "history"],
        whole_queue=whole_queue,
        by_id=by_id,
    )


def _queued(queue: PromptQueue) -> Iterator[tuple[Item, Literal["pending", "running"]]]:
    for item in queue.running:
        yield item, "running"
    for item in queue.pending:
        yield item, "pending"


def _all_jobs(queue: PromptQueue, profile: Profile) -> Iterator[_Job]:
    for item, place in _queued(queue):
        yield _Job(_waiting(item, place), item.run, place)
    for entry in queue.history.values():
        yield _Job(_finished(entry, profile, detail=False), entry.run, "history")


def _waiting(item: Item, place: Literal["pending", "running"]) -> dict[str, Any]:
    return _pruned(
        {
            "id": item.prompt_id,
            "status": "pending" if place == "pending" else "in_progress",
            "priority": item.number,
            "create_time": item.extra_data.get("create_time"),
            "outputs_count": 0,
            "workflow_id": _workflow_id(item.extra_data),
        }
    )


def _finished(entry: Entry, profile: Profile, *, detail: bool) -> dict[str, Any]:
    number, prompt_id, graph, extra_data, _ = entry.body["prompt"]
    status = entry.body["status"]
    times: dict[str, Any] = {}
    interrupted = False
    for event, data in status["messages"]:
        if event == "execution_start":
            times["execution_start_time"] = data["timestamp"]
        elif event in {"execution_success", "execution_error", "execution_interrupted"}:
            times["execution_end_time"] = data["timestamp"]
            times["execution_error"] = data if event == "execution_error" else None
            interrupted = event == "execution_interrupted"
    count, preview = _outputs_summary(entry.body["outputs"])
    unsuccessful = "cancelled" if interrupted and profile.cancelled_status else "failed"
    body = _pruned(
        {
            "id": prompt_id,
            "status": "completed" if status["completed"] else unsuccessful,
            "priority": number,
            "create_time": extra_data.get("create_time"),
            **times,
            "outputs_count": count,
            "preview_output": preview,
            "workflow_id": _workflow_id(extra_data),
        }
    )
    if detail:
        body["outputs"] = entry.body["outputs"]
        body["execution_status"] = status
        body["workflow"] = {"prompt": graph, "extra_data": extra_data}
    return body


def _outputs_summary(outputs: Mapping[str, Mapping[str, list[Any]]]) -> tuple[int, dict[str, Any] | None]:
    """How many files the outputs have, and the one to show: of type `output` before others."""
    count, preview, fallback = 0, None, None
    for node_id, shown in outputs.items():
        for media, files in shown.items():
            for file in files if media != "animated" else ():
                if not isinstance(file, dict):
                    continue
                count += 1
                if media in _PREVIEWABLE or str(file.get("filename", "")).lower().endswith(_ENDINGS_3D):
                    candidate = {**file, "nodeId": node_id, "mediaType": media}
                    if file.get("type") == "output":
                        preview = preview or candidate
                    fallback = fallback or candidate
    return count, preview or fallback


def _workflow_id(extra_data: Mapping[str, Any]) -> Any:
    return extra_data.get("extra_pnginfo", {}).get("workflow", {}).get("id")


def _sort_key(job: Mapping[str, Any], *, by_duration: bool) -> float:
    if not by_duration:
        return float(job.get("create_time", 0))
    start, end = job.get("execution_start_time", 0), job.get("execution_end_time", 0)
    return float(end - start) if start and end else 0.0


def _pruned(job: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in job.items() if value is not None}
