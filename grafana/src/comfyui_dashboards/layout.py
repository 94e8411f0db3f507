"""Where panels stand: shelves from top to bottom, each filled from the left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import GridPos, Panel, RowPanel

WIDTH = 24
"""Columns of Grafana's grid."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """Panels side by side, all of one height."""

    height: int
    panels: Sequence[tuple[int, Builder[Panel]]]
    """The width of each, and what it is."""
    heading: str = ""
    """Of the row that begins with it, if one does."""


def place(shelves: Iterable[Shelf]) -> list[Panel | RowPanel]:
    """Give every panel its place, and an id in the order of reading."""
    placed: list[Panel | RowPanel] = []
    y = 0
    for shelf in shelves:
        if shelf.heading:
            row = builders.Row(shelf.heading).grid_pos(GridPos(x=0, y=y, w=WIDTH, h=1)).id(len(placed) + 1)
            placed.append(row.build())
            y += 1
        x = 0
        for width, panel in shelf.panels:
            built = panel.build()
            built.grid_pos = GridPos(x=x, y=y, w=width, h=shelf.height)
            built.id_val = len(placed) + 1
            placed.append(built)
            x += width
        if x != WIDTH:
            msg = f"a shelf is {x} wide, not {WIDTH}: {[panel.build().title for _, panel in shelf.panels]}"
            raise ValueError(msg)
        y += shelf.height
    return placed
