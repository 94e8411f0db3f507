"""How far a history was read, as rows, and back."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from comfyui_exporter.store.batch import Row
from comfyui_exporter.store.keys import key_of
from comfyui_exporter.tracker.ground import Identity
from comfyui_exporter.tracker.memory import Mark


def mark_row(server: str, mark: Mark, wall: Callable[[float], float]) -> Row:
    """Give the row of a mark. `wall` turns a point in time of the observations into Unix time."""
    return {
        "server": server,
        "epoch": mark.epoch,
        "before_ms": mark.before_ms,
        "dated": mark.dated,
        "newest": msgspec.json.encode(_finite(mark.newest)).decode(),
        "named": msgspec.json.encode(mark.named).decode(),
        "last_activity": None if mark.last_activity is None else wall(mark.last_activity),
    }


def entry_row(server: str, identity: Identity, seq: int, *, ground: bool) -> Row:
    """Give the row of a history entry that is accounted for."""
    prompt_id, number, started_ms = identity
    return {
        "key": key_of(server, prompt_id, float(number), started_ms),
        "server": server,
        "prompt_id": prompt_id,
        "number": number,
        "started_ms": started_ms,
        "seq": seq,
        "ground": ground,
    }


def _finite(identity: Identity | None) -> tuple[str, str, int | None] | None:
    """JSON has no infinity, and a number that sorts last is one."""
    return None if identity is None else (identity[0], repr(identity[1]), identity[2])


def mark_of(row: Row, stamp: Callable[[float], float]) -> Mark:
    """Give back the mark of a server."""
    newest = _newest.decode(row["newest"])
    return Mark(
        epoch=row["epoch"],
        newest=None if newest is None else (newest[0], float(newest[1]), newest[2]),
        before_ms=row["before_ms"],
        dated=row["dated"],
        named=_named.decode(row["named"]),
        last_activity=None if row["last_activity"] is None else stamp(row["last_activity"]),
    )


_newest = msgspec.json.Decoder(tuple[str, str, int | None] | None)
_named = msgspec.json.Decoder(tuple[str, ...])
