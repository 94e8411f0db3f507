"""From updates to the messages that clients get: the keys, their order and their form."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from comfyui_exporter.jobs.update import BatchUpdate, NodeDetail, ProgressUpdate, ServerUpdate
from comfyui_exporter.push.frames import payload_of, text_frame
from comfyui_exporter.push.news import AlertFrame, BatchFrame, JobFrame, RemovedFrame, ServerFrame

_UPDATED = re.compile(rb'"updated_at":(?:"[^"]*"|null),?')
"""The first one is the job's own: no string can hold it unescaped, and labels come later."""

_encoder = msgspec.json.Encoder()


def job_data(update: ProgressUpdate, nodes: Iterable[NodeDetail] | None = None) -> dict[str, Any]:
    """Give a job as clients see it, ready for JSON; with `nodes`, as the answer to a question."""
    data: dict[str, Any] = {
        "job_id": update.job_id,
        "comfyui_prompt_id": update.comfyui_prompt_id,
        "status": update.status.value,
        "progress_percent": update.progress_percent,
        "current_step": update.current_step,
        "total_steps": update.total_steps,
        "estimated_completion": _time(update.estimated_completion),
        "generation_time": update.generation_time,
        "error_message": update.error_message,
        "server": update.server,
        "run_id": update.run_id,
        "job_type": update.job_type,
        "batch_id": update.batch_id,
        "queue_position": update.queue_position,
        "node": None
        if update.node is None
        else {
            "id": update.node.id,
            "type": update.node.type,
            "value": _plain(update.node.value),
            "max": _plain(update.node.max),
        },
        "stalled": update.stalled,
        "submitted_at": _time(update.submitted_at),
        "started_at": _time(update.started_at),
        "ended_at": _time(update.ended_at),
        "updated_at": _time(update.updated_at),
        "outputs": None
        if update.outputs is None
        else [
            {
                "node_id": file.node_id,
                "filename": file.filename,
                "subfolder": file.subfolder,
                "type": file.type,
                "media": file.media,
            }
            for file in update.outputs
        ],
        "failure": None
        if update.failure is None
        else {
            "pattern": update.failure.pattern,
            "node_id": update.failure.node_id,
            "node_type": update.failure.node_type,
            "exception_type": update.failure.exception_type,
        },
        "progress_estimated": update.progress_estimated,
        "labels": dict(update.labels),
    }
    if nodes is not None:
        data["nodes"] = [
            {
                "id": node.id,
                "type": node.type,
                "state": node.state,
                "value": _plain(node.value),
                "max": _plain(node.max),
                "seconds": node.seconds,
            }
            for node in nodes
        ]
    return data


def batch_data(update: BatchUpdate) -> dict[str, Any]:
    """Give a batch as clients see it."""
    return {
        "batch_id": update.batch_id,
        "total": update.total,
        "counts": {status.value: count for status, count in update.counts.items()},
        "progress_percent": update.progress_percent,
        "estimated_completion": _time(update.estimated_completion),
    }


def server_data(update: ServerUpdate) -> dict[str, Any]:
    """Give a server as clients see it."""
    return {
        "server": update.server,
        "up": update.up,
        "running": update.running,
        "pending": update.pending,
        "drain_seconds": update.drain_seconds,
    }


def job_frame(update: ProgressUpdate) -> JobFrame:
    """Make a `progress_update`."""
    return JobFrame(
        run_id=update.run_id,
        job_id=None if update.job_id is None else str(update.job_id),
        prompt_id=update.comfyui_prompt_id,
        batch_id=update.batch_id,
        server=update.server,
        status=update.status.value,
        terminal=update.terminal,
        frame=message_frame({"type": "progress_update", "data": job_data(update)}),
    )


def removed_frame(job: JobFrame) -> RemovedFrame:
    """Make a `job_removed` for a job that clients were told of."""
    return RemovedFrame(job, message_frame({"type": "job_removed", "data": {"run_id": job.run_id}}))


def batch_frame(update: BatchUpdate) -> BatchFrame:
    """Make a `batch_update`."""
    return BatchFrame(update.batch_id, message_frame({"type": "batch_update", "data": batch_data(update)}))


def server_frame(update: ServerUpdate) -> ServerFrame:
    """Make a `server_update`."""
    return ServerFrame(update.server, message_frame({"type": "server_update", "data": server_data(update)}))


def server_removed_frame(server: str) -> ServerFrame:
    """Make a `server_removed` for a server that clients were told of."""
    return ServerFrame(server, message_frame({"type": "server_removed", "data": {"server": server}}))


def alert_frame(data: Mapping[str, Any]) -> AlertFrame:
    """Make an `alert` of what Alertmanager says of one."""
    identity = alert_identity(data.get("labels") or {})
    return AlertFrame(
        identity,
        dict(identity).get("server"),
        data.get("status") != "resolved",
        message_frame({"type": "alert", "data": data}),
    )


def over_frame(alert: AlertFrame) -> AlertFrame:
    """Make the `alert` that says that one of before is over, of which nobody said so."""
    message = msgspec.json.decode(payload_of(alert.frame))
    return alert_frame({**message["data"], "status": "resolved"})


def alert_identity(labels: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Give what makes an alert the same one."""
    return tuple(sorted((str(name), str(value)) for name, value in labels.items()))


SNAPSHOT_END = text_frame(b'{"type":"snapshot_end"}')


def message_frame(message: Mapping[str, Any]) -> bytes:
    """Frame a message; what JSON has no word for (infinite, not a number) becomes null."""
    try:
        return text_frame(_encoder.encode(message))
    except UnicodeEncodeError:
        # Half a surrogate pair: a file name of another system. Better a question mark in it than no message.
        text = json.dumps(msgspec.to_builtins(message), separators=(",", ":"), ensure_ascii=False)
        return text_frame(text.encode(errors="replace"))


def same_but_time(one: JobFrame, other: JobFrame) -> bool:
    """Whether two updates of a job differ in `updated_at` at most: nothing that anybody waits for."""
    return _untimed(one.frame) == _untimed(other.frame)


def _untimed(frame: bytes) -> bytes:
    return _UPDATED.sub(b"", payload_of(frame), count=1)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _plain(number: float) -> float | int:
    """Steps are whole numbers, and 17 reads better than 17.0."""
    whole = int(number) if math.isfinite(number) else None
    return whole if whole is not None and whole == number else number
