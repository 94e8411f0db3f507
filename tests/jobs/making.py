"""Runs and registrations, and a reader that keeps what it was told."""

from __future__ import annotations

from comfyui_exporter.tracker.observations import Details, HistoryEntry, Outcome
from comfyui_exporter.tracker.progress import Progress
from comfyui_exporter.tracker.registration import Registration
from comfyui_exporter.tracker.runs import Run, State
from comfyui_exporter.tracker.view import ServerView


def run(run_id="r1", state=State.QUEUED, *, percent=0.0, **fields):
    """A run; ended if its state is an end."""
    prompt = fields.pop("prompt_id", f"p-{run_id}")
    details = fields.pop("details", Details())
    if state.ended:
        fields.setdefault("ended_at", 100.0)
    return Run(
        run_id=run_id,
        prompt_id=prompt,
        number=1.0,
        state=state,
        details=details,
        epoch=0,
        first_seen=0.0,
        progress=Progress(percent=percent, estimated=False),
        **fields,
    )


def entry(outcome=Outcome.COMPLETED, prompt_id="p-r1", seconds=2.0, **fields):
    return HistoryEntry(prompt_id, 1.0, outcome, started_ms=1_000, ended_ms=1_000 + int(seconds * 1000), **fields)


def registration(prompt_id="p-r1", run_id="r1", job_id=1, **fields):
    return Registration(run_id, prompt_id, job_id, **fields)


def view(*runs, up=True, **fields):
    pending = sum(run.state is State.QUEUED for run in runs)
    return ServerView(
        up=up,
        event_stream_connected=True,
        last_success=0.0,
        last_activity=None,
        running=len(runs) - pending,
        pending=pending,
        open_runs=runs,
        failed_runs=(),
        stats=None,
        **fields,
    )


class Heard:
    """Keeps what the board told."""

    def __init__(self):
        self.jobs = []
        self.gone = []
        self.batches = []
        self.batches_gone = []
        self.servers = []
        self.servers_gone = []

    def job(self, update):
        self.jobs.append(update)

    def removed(self, run_id):
        self.gone.append(run_id)

    def batch(self, update):
        self.batches.append(update)

    def batch_removed(self, batch_id):
        self.batches_gone.append(batch_id)

    def server(self, update):
        self.servers.append(update)

    def server_removed(self, name):
        self.servers_gone.append(name)
