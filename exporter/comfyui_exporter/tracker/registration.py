"""What an application told us of a job that it submits."""

from __future__ import annotations

from dataclasses import dataclass, replace

from comfyui_exporter.tracker.observations import Details


@dataclass(frozen=True, slots=True)
class Registration:
    """Says which job of the application a prompt is; it beats what `extra_data` says."""

    run_id: str
    """The run_id of the next run of this prompt_id, if there is none yet."""
    prompt_id: str
    job_id: int | str | None
    job_type: str | None = None
    batch_id: str | None = None
    server: str | None = None
    """None: whichever server shows it."""
    webhook_url: str | None = None
    """Whom to call when its status changes. It may be a secret: never logged, and in no update."""

    def applied_to(self, details: Details) -> Details:
        """The details with what was registered in place of what was sent along."""
        return replace(
            details,
            job_id=details.job_id if self.job_id is None else self.job_id,
            job_type=self.job_type or details.job_type,
            batch_id=self.batch_id or details.batch_id,
        )
