"""What `top` shows: from what is known to the lines of a screen of any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from comfyui_exporter.terminal.plain import plain, width
from comfyui_exporter.terminal.sections import Section, sections
from comfyui_exporter.terminal.shown import Shown
from comfyui_exporter.terminal.state import RESULTS_READ, State
from comfyui_exporter.terminal.table import Line, Span, clipped, lay_out
from comfyui_exporter.terminal.words import HOUR, ahead, duration

KEYS = {"a": "", "s": "servers", "r": "running", "w": "waiting", "e": "results"}
"""Which section has the whole screen after which key."""


@dataclass(slots=True)
class View:
    """What somebody chose to see."""

    only: str = ""
    """The section that has the whole screen; empty: all share it."""
    skipped: int = 0
    """Rows of that section that were scrolled past."""
    words: str = ""
    """A part of the names of the servers that are shown."""
    typing: bool = False
    """Whether these words are being typed."""


@dataclass(frozen=True, slots=True)
class Link:
    """How the connection is."""

    url: str
    trouble: str = ""
    """Why it is lost; empty while it is not."""
    next_try: float = 0.0
    """Seconds until it is tried again."""
    last_heard: datetime | None = None


def draw(state: State, view: View, link: Link, now: datetime, size: tuple[int, int]) -> list[Line]:
    """Give the lines of a screen, exactly as many as it has, none wider than it is."""
    space, height = size
    head = [_title(link, now, space)]
    if not state.complete:
        body: list[Line] = [] if link.trouble else [(("Connected, waiting for the first look at the servers …", ""),)]
        return _filled([*head, (("", ""),), *body], _keys(view, space), size)
    shown = Shown.of(state, view.words, now)
    head += [_summary(shown, space), (("", ""),)]
    rest = height - len(head) - 1
    wanted = sections(shown, state, space)
    if view.only:
        section = next(each for each in wanted if each.name == view.only)
        view.skipped = max(0, min(view.skipped, len(section.rows) - (rest - 2)))
        body = _section(section, rest, space, view.skipped)
    else:
        view.skipped = 0
        body = _all(wanted, rest, space)
    return _filled([*head, *body], _keys(view, space), size)


def share(height: int, wants: Sequence[int], least: Sequence[int]) -> list[int]:
    """Divide rows among those that want some: one for each, then each its least, then one after the other one more."""
    given = [0] * len(wants)
    for most in ([1] * len(wants), least):
        for index, (want, low) in enumerate(zip(wants, most, strict=True)):
            more = max(0, min(want, low, given[index] + height) - given[index])
            given[index] += more
            height -= more
    while height > 0:
        hungry = [index for index, want in enumerate(wants) if given[index] < want]
        if not hungry:
            break
        for index in hungry[:height]:
            given[index] += 1
            height -= 1
    return given


def _all(wanted: Sequence[Section], rest: int, space: int) -> list[Line]:
    present = [each for each in wanted if each.rows or each.empty]
    # Without room for everything, what is empty goes first, and then what stands last.
    while present and sum(2 if each.rows else 1 for each in present) > rest:
        present.remove(next((each for each in reversed(present) if not each.rows), present[-1]))
    gaps = len(present) - 1
    fixed = len(present)
    wants = [len(each.rows) + bool(each.folded) for each in present]
    roomy = rest - fixed - gaps >= sum(min(want, 3) for want in wants)
    given = share(
        rest - fixed - (gaps if roomy else 0),
        wants,
        [min(each.least, want) for each, want in zip(present, wants, strict=True)],
    )
    body: list[Line] = []
    for each, rows in zip(present, given, strict=True):
        if body and roomy:
            body.append((("", ""),))
        body += _section(each, rows + 1, space)
    return body


def _section(section: Section, height: int, space: int, skipped: int = 0) -> list[Line]:
    """The head of a section and as many rows as fit; its last line says how many do not."""
    title = f"{section.title} {section.total}" if section.total else section.title
    if not section.rows and not section.folded:
        return [clipped([(title, "strong"), ("  ", ""), (section.empty, "quiet")], space)]
    room, left = max(0, height - 1), len(section.rows) - skipped
    hidden = 0
    if room > 1 and (left > room or section.folded):
        # The last line is for how many are not shown; without room for that, the title has the number of all.
        room = min(left, room - 1)
        hidden = left - room + section.folded
    rows = section.urgent if section.urgent and len(section.rows) > room else section.rows
    cells = [row() for row in rows[skipped : skipped + room]]
    laid = lay_out(section.columns(title), cells, space, steady=True)
    laid[0] = _headed(laid[0], title)
    if hidden:
        laid.append(((f"… {hidden} {'more' if left > room else section.folded_as}", "quiet"),))
    return laid


def _headed(line: Line, title: str) -> Line:
    first, *others = line
    return ((title, "strong"), (first[0].removeprefix(title), ""), *others)


def _title(link: Link, now: datetime, space: int) -> Line:
    clock = f"{now.astimezone():%H:%M:%S}"
    if not link.trouble:
        status: Span = ("● live", "good")
    else:
        since = f" since {link.last_heard.astimezone():%H:%M:%S}" if link.last_heard else ""
        again = f", next try in {max(1, round(link.next_try))} s"
        status = (f"● lost{since}{again}: {plain(link.trouble, 120)}", "bad")
    left: list[Span] = [("ComfyUI", "strong"), ("  ", ""), (link.url, "quiet")]
    used = sum(width(text) for text, _ in left)
    right = width(status[0]) + 2 + len(clock)
    if used + right + 2 > space:
        return clipped([status, ("  ", ""), (clock, "quiet")], space)
    return (*left, (" " * (space - used - right), ""), status, ("  ", ""), (clock, "quiet"))


def _summary(shown: Shown, space: int) -> Line:
    up = sum(server.up is True for server in shown.servers)
    count = len(shown.servers)
    running = sum(server.running or 0 for server in shown.servers)
    waiting = sum(server.pending or 0 for server in shown.servers)
    recent = [job for job in shown.results if job.ended_at and (shown.now - job.ended_at).total_seconds() < HOUR]
    failed = sum(job.status == "failed" for job in recent)
    # So many are read at the start: if all of them are of this hour, there may be more that we do not know.
    span = f"of {len(recent)} failed in 1 h" if len(recent) < RESULTS_READ else f"of the last {len(recent)} failed"
    stalled = sum(job.stalled for job in shown.running)
    firing = sum(known.resolved_at is None for known in shown.alerts)
    # What fits not is left out as a whole, from the end.
    parts: list[Span] = [
        (f"{up} of {count} up", "bad" if up < count else "good"),
        (f"{firing} alert{'' if firing == 1 else 's'}" if firing else "", "bad"),
        (f"{stalled} stalled" if stalled else "", "bad"),
        (f"{running} running", "run" if running else ""),
        (f"{waiting} waiting", ""),
        (f"{failed} {span}", "warn" if failed else ""),
        (_drained(shown), ""),
    ]
    line: list[Span] = []
    for text, tone in parts:
        between: list[Span] = [(" · ", "quiet")] if line and text else []
        if sum(width(each) for each, _ in (*line, *between)) + width(text) > space:
            break
        line += [*between, (text, tone)]
    return tuple(line)


def _drained(shown: Shown) -> str:
    busy = [server for server in shown.servers if server.running or server.pending]
    known = [server.drain_seconds for server in busy if server.up and server.drain_seconds is not None]
    if not busy:
        return "queues empty"
    if not known:
        return "empty: not known"
    # Where one is not known it is at least as long as the longest of the others.
    return f"empty {ahead(max(known))}" if len(known) == len(busy) else f"empty in over {duration(max(known))}"


def _keys(view: View, space: int) -> Line:
    if view.typing:
        return clipped(
            [("Servers with: ", "strong"), (f"{plain(view.words)}▏", ""), ("  Enter, Esc: all", "quiet")], space
        )
    line: list[Span] = []
    if view.words:
        line += [(f"servers with “{plain(view.words, 20)}”", "warn"), ("  Esc", "strong"), (" all  ", "quiet")]
    for key, word in (("q", "quit"), ("/", "server"), *((key, name or "all") for key, name in KEYS.items())):
        chosen = key in KEYS and KEYS[key] == view.only
        line += [(key, "strong"), (f" {word}  ", "" if chosen else "quiet")]
    if view.only:
        line += [("↑↓", "strong"), (" scroll", "quiet")]
    return clipped(line, space)


def _filled(lines: list[Line], last: Line, size: tuple[int, int]) -> list[Line]:
    space, height = size
    kept = [clipped(line, space) for line in lines[: max(0, height - 1)]]
    return [*kept, *[(("", ""),)] * (height - 1 - len(kept)), last][:height]
