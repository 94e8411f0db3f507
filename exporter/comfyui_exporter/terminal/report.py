"""What `wait` prints: a bar for each job, or a line for each change, and in the end what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from comfyui_exporter.terminal.messages import Job
from comfyui_exporter.terminal.plain import lines, plain
from comfyui_exporter.terminal.table import Bar, Cell, Column, Line, clipped, lay_out
from comfyui_exporter.terminal.waiting import Outcome, Watched
from comfyui_exporter.terminal.words import (
    STATUS_TONES,
    failure_of,
    files_of,
    measured,
    name_of,
    node_of,
    percent,
    status_word,
    until,
)

_MOST_FILES = 20
_SHORT = 20
"""Characters of a name."""
_TONES = {Outcome.COMPLETED: "good", Outcome.CANCELLED: "warn", Outcome.TIMEOUT: "warn"}
_WORDS = {
    Outcome.UNREACHABLE: "the exporter was away for too long (--away-timeout)",
    Outcome.UNKNOWN: "the exporter knows no such job (--appear-timeout)",
    Outcome.TIMEOUT: "has not ended in the time given (--timeout)",
}
_BARS = (
    Column("", 6, 30),
    Column("", 13, 13),
    Column("", 10, 30),
    Column("", 4, right=True),
    Column("", 8, 40),
    Column("", 8),
)


def change_of(each: Watched) -> tuple[str, str]:
    """What makes a change worth a line: the status, and where; not the percent."""
    if each.job is None:
        return "", ""
    return status_word(each.job) + (" stalled" if each.job.stalled else ""), each.job.server or ""


def change_line(each: Watched, now: datetime) -> Line:
    """One line on how a job is now."""
    job = each.job
    if job is None or not each.known:
        return (_name(each), (" is not known yet", ""))
    words = status_word(job)
    if job.server is not None:
        words += f" on {plain(job.server)}"
    if job.queue_position is not None:
        words += f", place {job.queue_position}"
    if job.stalled and job.running:
        words += ", no sign of progress for long"
    if job.estimated_completion is not None:
        words += f", ready {until(job.estimated_completion, now)}"
    return (_name(each), (" ", ""), (words, STATUS_TONES.get(job.status, "")))


def end_lines(each: Watched, titles: Mapping[str, str]) -> list[Line]:
    """What became of a job: a line, then why it failed or which files it made."""
    outcome, job = each.outcome, each.job
    if outcome is None:
        return []
    if job is None or outcome in _WORDS:
        doing = f", it is {status_word(job)} {percent(job)}" if job is not None and outcome is Outcome.TIMEOUT else ""
        return [(_name(each), (f": {_WORDS.get(outcome, outcome.word)}{doing}", _TONES.get(outcome, "bad")))]
    words = status_word(job)
    if outcome is Outcome.LOST and not job.ended:
        words = "was registered, and no server has shown it"
    if job.server is not None:
        words += f" on {plain(job.server)}"
    if job.generation_time is not None:
        words += f" after {measured(job.generation_time)}"
    head: Line = (_name(each), (" ", ""), (words, _TONES.get(outcome, "bad")))
    return [head, *_indented(_why(job, titles), ""), *_indented(_files(job), "")]


def bar_lines(
    watched: Sequence[Watched], now: datetime, space: int, frozen: str | None = None, most: int = 20
) -> list[Line]:
    """A bar for each job that is waited for; `frozen` says why nothing moves."""
    waiting = [each for each in watched if each.outcome is None]
    # Of many those that run, and then those that run next.
    waiting.sort(key=lambda each: (each.job is None, not (each.job and each.job.running), _place(each)))
    shown = lay_out(_BARS, [_bar_row(each, now) for each in waiting[:most]], space)[1:]
    if len(waiting) > most:
        shown.append(((f"… {len(waiting) - most} more", "quiet"),))
    if frozen is not None:
        shown.append(clipped([(f"{frozen}; trying again", "warn")], space))
    return shown


def _place(each: Watched) -> int:
    return (each.job.queue_position or 0) if each.job is not None else 0


def _bar_row(each: Watched, now: datetime) -> list[Cell]:
    job = each.job
    name: Line = (_short_name(each),)
    if job is None or not each.known:
        return [name, (("not known yet", "quiet"),), Bar(0), "", "", ""]
    tone = "bad" if job.stalled else "run"
    word = "stalled" if job.stalled and job.running else status_word(job)
    doing = f"place {job.queue_position} on {plain(job.server)}" if job.queue_position is not None else node_of(job)
    ready = until(job.estimated_completion, now)
    return [
        name,
        ((word, "bad" if job.stalled else STATUS_TONES.get(job.status, "")),),
        Bar(job.progress_percent, tone),
        percent(job),
        doing,
        "" if ready == "-" else ready,
    ]


def _name(each: Watched) -> tuple[str, str]:
    """As it was typed: so a script finds its own ids again."""
    return plain(each.name, 60), "strong"


def _short_name(each: Watched) -> tuple[str, str]:
    """For a bar, which needs the space."""
    typed = plain(each.name)
    return (name_of(each.job) if each.job is not None and len(typed) > _SHORT else typed), "strong"


def _why(job: Job, titles: Mapping[str, str]) -> Iterable[str]:
    if reason := failure_of(job, titles):
        yield reason
    if job.error_message:
        yield from lines(job.error_message)


def _files(job: Job) -> Iterable[str]:
    files = files_of(job)
    yield from files[:_MOST_FILES]
    if len(files) > _MOST_FILES:
        yield f"and {len(files) - _MOST_FILES} more files"


def _indented(texts: Iterable[str], tone: str) -> list[Line]:
    return [(("  ", ""), (text, tone)) for text in texts]
