"""Numbers, times and states in words, for lines that people read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from comfyui_exporter.terminal.messages import File, Job, Server
from comfyui_exporter.terminal.plain import cut, plain

MINUTE, HOUR, DAY = 60, 3600, 86_400

STATUS_WORDS = {
    "unknown": "unknown",
    "initializing": "registered",
    "queued": "waiting",
    "processing": "running",
    "completing": "finishing",
    "completed": "completed",
    "failed": "failed",
    "timeout": "timed out",
    "cancelled": "cancelled",
}
STATUS_TONES = {"completed": "good", "failed": "bad", "timeout": "warn", "processing": "run", "completing": "run"}

_NUMBER = re.compile(r"(\d+)")


def status_word(job: Job) -> str:
    """Where a job is, in a word or two."""
    if job.status == "timeout":
        return "lost" if job.ended else ("over time" if job.started_at is not None else "not seen")
    if job.status == "cancelled" and job.started_at is not None:
        return "interrupted"
    return STATUS_WORDS.get(job.status) or plain(job.status, 12)


def duration(seconds: float) -> str:
    """95 becomes `1 min 35 s`."""
    whole = max(0, round(seconds))
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return _two(whole // MINUTE, "min", whole % MINUTE, "s")
    minutes = round(whole / MINUTE)
    if minutes < DAY // MINUTE:
        return _two(minutes // 60, "h", minutes % 60, "min")
    hours = round(whole / HOUR)
    return _two(hours // 24, "d", hours % 24, "h")


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"


def measured(seconds: float | None) -> str:
    """Like `duration`, for what is over: tenths of a second matter where it took few."""
    if seconds is None:
        return "-"
    return f"{max(0.0, seconds):.1f} s" if seconds < 9.95 else duration(seconds)


def since(moment: datetime | None, now: datetime) -> str:
    """For how long already."""
    return "-" if moment is None else duration(max(0, int((now - moment).total_seconds())))


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago: coarse, because it is read in passing."""
    if moment is None:
        return "-"
    seconds = (now - moment).total_seconds()
    if seconds < 5:
        return "just now"
    for unit, length, below in (("s", 1, MINUTE), ("min", MINUTE, HOUR), ("h", HOUR, DAY)):
        if seconds < below:
            return f"{int(seconds // length)} {unit} ago"
    return f"{int(seconds // DAY)} d ago"


def ahead(seconds: float | None) -> str:
    """In how long: an estimate must not look exacter than it is."""
    if seconds is None:
        return "-"
    if seconds <= 1:
        return "any moment"
    coarse = seconds if seconds < 10 * MINUTE else round(seconds / MINUTE) * MINUTE
    return f"in {duration(int(coarse))}"


def until(moment: datetime | None, now: datetime) -> str:
    """In how long something is expected."""
    return ahead(None if moment is None else (moment - now).total_seconds())


def percent(job: Job) -> str:
    """How far a job is; ≈ where that comes from elapsed time."""
    return f"{'≈' if job.progress_estimated else ''}{int(job.progress_percent)}%"


def name_of(job: Job, longest: int = 36) -> str:
    """What a job is called: its own id where the submitter gave one, else the first part of ComfyUI's."""
    if job.job_id is not None:
        return plain(f"#{job.job_id}" if isinstance(job.job_id, int) else job.job_id, longest)
    return plain(job.comfyui_prompt_id.partition("-")[0] or job.comfyui_prompt_id, longest)


def node_of(job: Job, cells: int = 60) -> str:
    """What executes, and how many of its steps are done; of a long name the end goes."""
    if job.node is None:
        return ""
    value, most = job.node.value, job.node.max
    steps = f" {value:g}/{most:g}" if value is not None and most is not None and most > 1 else ""
    return cut(plain(job.node.type or f"node {job.node.id}"), cells - len(steps)) + steps


def state_of(server: Server, *, stalled: bool) -> tuple[str, str]:
    """How a server is: a word and its tone."""
    if server.up is False:
        return "down", "bad"
    if server.up is None:
        return "not seen yet", "quiet"
    if stalled:
        return "stalled", "bad"
    if server.running:
        return ("running" if server.running == 1 else f"{server.running} running"), "run"
    return ("waiting", "warn") if server.pending else ("idle", "quiet")


def title_of(pattern: str, titles: Mapping[str, str]) -> str:
    """A failure pattern in words."""
    return plain(titles.get(pattern) or pattern.replace("_", " "))


def failure_of(job: Job, titles: Mapping[str, str]) -> str:
    """Why it failed, in one line without the message; empty if nobody knows."""
    if job.failure is None:
        return ""
    node = f"node {job.failure.node_id}" if job.failure.node_id else None
    where = [part for part in (job.failure.node_type, node, job.failure.exception_type) if part]
    return ", ".join([title_of(job.failure.pattern, titles), *(plain(part) for part in where)])


def files_of(job: Job) -> list[str]:
    """The files that it made, previews left out."""
    return [_path(file) for file in job.outputs or () if file.type != "temp"]


def _path(file: File) -> str:
    return plain(f"{file.subfolder}/{file.filename}" if file.subfolder else file.filename, 200)


def result_of(job: Job, titles: Mapping[str, str]) -> str:
    """What became of it, in one line: files, or why there are none."""
    if job.failure is not None:
        return failure_of(job, titles)
    if job.status == "completed":
        files = files_of(job)
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        return f"{files[0]}{more}" if files else "no files"
    if job.error_message:
        return plain(job.error_message, 200)
    if job.status == "cancelled":
        return "interrupted" if job.started_at is not None else "deleted before it ran"
    return ""


def natural(text: str | None) -> tuple[tuple[int, int, str], ...]:
    """A key to sort by, in which gpu2 comes before gpu10."""
    parts = _NUMBER.split(text or "")
    return tuple((0, int(part[:18]), "") if part.isdecimal() else (1, 0, part) for part in parts if part)
