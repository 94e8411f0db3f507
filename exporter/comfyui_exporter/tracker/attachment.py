"""Gives a run that was seen before it was registered what is registered for it."""

from __future__ import annotations

from dataclasses import replace

from comfyui_exporter.tracker.lifecycle import Lifecycle
from comfyui_exporter.tracker.registration import Registration
from comfyui_exporter.tracker.roster import Roster
from comfyui_exporter.tracker.transitions import Changed, Transition

ATTACH_WITHIN = 900.0
"""Seconds for which a registration still finds a run that ended."""


def attach(roster: Roster, lifecycle: Lifecycle, at: float, registration: Registration) -> list[Transition] | None:
    """Give an open run of its prompt_id, or one that ended lately, what was registered; None if there is none."""
    runs = [run for run in roster.open if run.prompt_id == registration.prompt_id]
    run = max(runs, key=lambda run: run.first_seen, default=None)
    if run is not None:
        changes: list[Transition] = []
        details = registration.applied_to(run.details)
        lifecycle.change(at, replace(run, details=details, registration=registration), changes)
        return changes
    for ended in reversed(roster.finished):
        late = ended.ended_at is not None and at - ended.ended_at > ATTACH_WITHIN
        if ended.prompt_id != registration.prompt_id or late:
            continue
        if ended.registered and str(ended.details.job_id) == str(registration.job_id):
            return []  # said once more, as by whoever got no answer the first time
        if not ended.registered:
            known = replace(ended, details=registration.applied_to(ended.details), registration=registration)
            roster.amend(known)
            return [Changed(at, known)]
    return None
