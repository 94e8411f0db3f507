"""Rows that fit a width: which columns are shown, how wide each is, and what has to be cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from comfyui_exporter.terminal.plain import cut, padded, width

Span = tuple[str, str]
"""Text, and its tone: good, bad, warn, run, quiet, strong, or nothing special."""
Line = tuple[Span, ...]

GAP = 2


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar, as long as its column is wide."""

    percent: float
    tone: str = "run"


Cell = str | Line | Bar


@dataclass(frozen=True, slots=True)
class Column:
    """One column, `least` to `most` cells wide."""

    title: str
    least: int
    most: int = 0
    """0: no more than the least where columns are steady, else what is needed."""
    right: bool = False
    show_from: int = 0
    """Cells that the screen must have for it to be shown."""


def lay_out(
    columns: Sequence[Column], rows: Iterable[Sequence[Cell]], space: int | None = None, *, steady: bool = False
) -> list[Line]:
    """The head and the rows, each a line of at most `space` cells; None: as wide as it gets.

    Columns are as wide as what is in them, or, `steady`, as the space allows: what is drawn again and again must not
    jump whenever a name comes or goes.
    """
    shown = [index for index, column in enumerate(columns) if space is None or space >= column.show_from]
    visible = [columns[index] for index in shown]
    table: list[list[Cell]] = [[((column.title, "quiet"),) for column in visible]]
    table += [[row[index] for index in shown] for row in rows]
    widths = _shared(visible, space) if steady and space is not None else _needed(visible, table, space)
    return [_joined(visible, row, widths, space) for row in table]


def text_of(line: Line) -> str:
    """The text alone, without spaces at the end."""
    return "".join(text for text, _ in line).rstrip()


def clipped(line: Iterable[Span], space: int | None) -> Line:
    """The beginning of a line, as far as it has space."""
    if space is None:
        return tuple(line)
    kept: list[Span] = []
    for text, tone in line:
        shown = cut(text, space)
        if shown:
            kept.append((shown, tone))
        space -= width(shown)
        if space <= 0:
            break
    return tuple(kept)


def bar(percent: float, cells: int, tone: str = "run") -> Line:
    """A bar of so many cells, in half cells."""
    halves = round(2 * cells * max(0.0, min(100.0, percent)) / 100)
    full, half = divmod(halves, 2)
    done = "━" * full + "╸" * half
    return (done, tone), ("─" * (cells - full - half), "quiet")


def _joined(columns: Sequence[Column], row: Sequence[Cell], widths: Sequence[int], space: int | None) -> Line:
    line: list[Span] = []
    for column, cell, cells in zip(columns, row, widths, strict=True):
        if line:
            line.append((" " * GAP, ""))
        line += _fitted(cell, cells, right=column.right)
    return clipped(line, space)


def _fitted(cell: Cell, cells: int, *, right: bool) -> Line:
    match cell:
        case Bar(percent, tone):
            return bar(percent, cells, tone)
        case str():
            return ((padded(cell, cells, right=right), ""),)
    shown = clipped(cell, cells)
    rest = " " * (cells - sum(width(text) for text, _ in shown))
    return ((rest, ""), *shown) if right else (*shown, (rest, ""))


def _size(cell: Cell) -> int:
    match cell:
        case Bar():
            return 0
        case str():
            return width(cell)
    return sum(width(text) for text, _ in cell)


def _needed(columns: Sequence[Column], table: Sequence[Sequence[Cell]], space: int | None) -> list[int]:
    widths = []
    for index, column in enumerate(columns):
        bars = any(isinstance(row[index], Bar) for row in table)
        needed = max(_size(row[index]) for row in table)
        widths.append(column.most if bars else min(column.most or needed, needed))
    if space is None:
        return widths
    missing = sum(widths) + GAP * (len(widths) - 1) - space
    while missing > 0:
        # The widest gives first; if none can give any more, the line is too long, and then it is clipped.
        giving = [index for index, column in enumerate(columns) if widths[index] > column.least]
        if not giving:
            break
        widths[max(giving, key=lambda index: widths[index] - columns[index].least)] -= 1
        missing -= 1
    return widths


def _shared(columns: Sequence[Column], space: int) -> list[int]:
    """Each its least, and of the rest as much as it can use, in the proportion of that."""
    widths = [column.least for column in columns]
    more = [max(0, column.most - column.least) for column in columns]
    rest, wanted = space - sum(widths) - GAP * (len(widths) - 1), sum(more)
    if rest > 0 and wanted > 0:
        widths = [low + extra * min(rest, wanted) // wanted for low, extra in zip(widths, more, strict=True)]
        # What rounding left over goes to the column that has most use for it.
        widest = more.index(max(more))
        over = space - sum(widths) - GAP * (len(widths) - 1)
        widths[widest] += max(0, min(over, columns[widest].most - widths[widest]))
    return widths
