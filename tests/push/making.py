"""Updates, and those who answer and count."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from comfyui_exporter.jobs.update import ProgressStatus, ProgressUpdate

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def update(run_id="r1", status="processing", percent=0.0, **fields):
    """A job; ended if its status is one of those that ends."""
    if status in {"completed", "failed", "cancelled"}:
        fields.setdefault("ended_at", NOON)
    fields.setdefault("comfyui_prompt_id", f"p-{run_id}")
    fields.setdefault("job_id", None)
    return ProgressUpdate(run_id=run_id, status=ProgressStatus(status), progress_percent=percent, **fields)


def later(job, seconds=1, **changes):
    return replace(job, updated_at=NOON + timedelta(seconds=seconds), **changes)


class Questions:
    """Answers what it was given to answer; waits where it is told to."""

    def __init__(self):
        self.jobs = {}
        self.asked = []
        self.failure = None
        self.gate = None

    async def job_progress(self, *, job_id, prompt_id):
        self.asked.append((job_id, prompt_id))
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return self.jobs.get(job_id or prompt_id)

    async def queue_statistics(self):
        if self.failure is not None:
            raise self.failure
        return {"running_jobs": 1}


class Counted:
    """What the hub counted."""

    def __init__(self):
        self.connected = 0
        self.written = 0
        self.lost = 0

    def clients(self, number):
        self.connected = number

    def sent(self, messages):
        self.written += messages

    def dropped(self, messages):
        self.lost += messages
