"""What a tracker knows, as it is kept over a restart of ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from comfyui_exporter.tracker.ground import Identity
from comfyui_exporter.tracker.roster import Key
from comfyui_exporter.tracker.runs import Run


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a history was read, apart from the entries themselves."""

    epoch: int = 0
    """How many restarts of ComfyUI were seen."""
    newest: Identity | None = None
    before_ms: int | None = None
    dated: bool = True
    named: tuple[str, ...] = ()
    """The prompt_ids that events named and nobody has asked the history for yet."""
    last_activity: float | None = field(default=None, compare=False)
    """It changes all the time, and alone is no reason to write a mark down."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be kept of what happened since the last time."""

    runs: Mapping[str, Run]
    """Every run that changed, as it is now, by run_id."""
    entries: Mapping[Identity, bool]
    """History entries that were accounted for, or (True) became ground."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a tracker begins with, in place of a first look."""

    mark: Mark
    known: Mapping[Identity, bool] = field(default_factory=dict)
    """The entries that are accounted for, oldest first, and whether each is ground."""
    open_runs: tuple[Run, ...] = ()
    """In the order in which they were first seen."""
    finished_runs: tuple[Run, ...] = ()
    """Those that ended lately, oldest end first."""
    vanished: Mapping[Key, int] = field(default_factory=Counter)
    """How many runs of this epoch are lost or cancelled and did not turn up in the history."""
