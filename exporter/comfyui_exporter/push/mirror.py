"""What a relay makes of its upstream's messages: the same news for its own clients, and nothing twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from comfyui_exporter.push.frames import text_frame
from comfyui_exporter.push.hub import Hub
from comfyui_exporter.push.messages import alert_identity
from comfyui_exporter.push.news import AlertFrame, BatchFrame, JobFrame, ServerFrame

K = TypeVar("K")


class _Message(msgspec.Struct):
    type: str
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Job(msgspec.Struct):
    run_id: str
    comfyui_prompt_id: str
    status: str
    job_id: int | str | None = None
    batch_id: str | None = None
    server: str | None = None
    ended_at: str | None = None


class _Removed(msgspec.Struct):
    run_id: str


class _Batch(msgspec.Struct):
    batch_id: str


class _Server(msgspec.Struct):
    server: str


class _Alert(msgspec.Struct):
    status: str = "firing"
    labels: dict[str, Any] = {}


class _Seen:
    """What a snapshot told of."""

    def __init__(self) -> None:
        self.jobs: set[str] = set()
        self.batches: set[str] = set()
        self.servers: set[str] = set()
        self.alerts: set[tuple[tuple[str, str], ...]] = set()


class Mirror:
    """Keeps a hub like the upstream's. Frames go on as they came; the hub passes over what it knows already."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._seen: _Seen | None = None

    def connected(self) -> None:
        """Expect a snapshot. What is known stays as it is, and is told, until the snapshot says otherwise."""
        self._seen = _Seen()

    def take(self, text: bytes) -> bool:
        """Do what a message says; whether it ended a snapshot. Messages of unknown types are passed over.

        Raises:
            msgspec.MsgspecError: it is not a message of a push service.

        """
        message = msgspec.json.decode(text, type=_Message)
        match message.type:
            case "progress_update":
                self._job(text, msgspec.json.decode(message.data, type=_Job))
            case "job_removed":
                self._removed(msgspec.json.decode(message.data, type=_Removed).run_id)
            case "batch_update":
                batch = msgspec.json.decode(message.data, type=_Batch).batch_id
                self._hub.publish(BatchFrame(batch, text_frame(text)))
                if self._seen is not None:
                    self._seen.batches.add(batch)
            case "server_update":
                server = msgspec.json.decode(message.data, type=_Server).server
                self._hub.publish(ServerFrame(server, text_frame(text)))
                if self._seen is not None:
                    self._seen.servers.add(server)
            case "server_removed":
                self._server_removed(msgspec.json.decode(message.data, type=_Server).server)
            case "alert":
                self._alert(text, msgspec.json.decode(message.data, type=_Alert))
            case "snapshot_end":
                return self._reconcile()
            case _:
                pass
        return False

    def _job(self, text: bytes, job: _Job) -> None:
        self._hub.publish(
            JobFrame(
                run_id=job.run_id,
                job_id=None if job.job_id is None else str(job.job_id),
                prompt_id=job.comfyui_prompt_id,
                batch_id=job.batch_id,
                server=job.server,
                status=job.status,
                terminal=job.ended_at is not None,
                frame=text_frame(text),
            )
        )
        if self._seen is not None:
            self._seen.jobs.add(job.run_id)

    def _removed(self, run_id: str) -> None:
        self._hub.removed(run_id)
        if self._seen is not None:
            self._seen.jobs.discard(run_id)

    def _server_removed(self, server: str) -> None:
        self._hub.server_removed(server)
        if self._seen is not None:
            self._seen.servers.discard(server)

    def _alert(self, text: bytes, alert: _Alert) -> None:
        identity = alert_identity(alert.labels)
        server = dict(identity).get("server")
        self._hub.publish(AlertFrame(identity, server, alert.status != "resolved", text_frame(text)))
        if self._seen is not None:
            self._seen.alerts.add(identity)

    def _reconcile(self) -> bool:
        """Drop what the snapshot lacked."""
        seen, self._seen = self._seen, None
        if seen is None:
            return False
        state = self._hub.state
        for run_id in _lacking(state.jobs, seen.jobs):
            self._hub.removed(run_id)
        for batch_id in _lacking(state.batches, seen.batches):
            self._hub.batch_removed(batch_id)
        for server in _lacking(state.servers, seen.servers):
            self._hub.server_removed(server)
        for identity in _lacking(state.alerts, seen.alerts):
            self._hub.alert_removed(dict(identity))
        return True


def _lacking(held: Mapping[K, object], seen: set[K]) -> list[K]:
    return [key for key in held if key not in seen]
