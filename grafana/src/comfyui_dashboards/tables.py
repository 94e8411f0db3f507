"""Tables: the answers of several queries, joined by their labels, one row for each thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grafana_foundation_sdk.builders import common, table
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, DynamicConfigValue

from comfyui_dashboards.panels import Steps, common_to_all, mapping, thresholds
from comfyui_dashboards.queries import columns


@dataclass(frozen=True, slots=True)
class Column:
    """One column: a label, or the value of the query of that place."""

    source: str | int
    title: str
    width: int = 0
    """Pixels; 0: what is left."""
    unit: str = ""
    steps: Steps = ()
    """Colours by value."""
    texts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Values in words, with their colours."""
    bar: float = 0.0
    """Drawn as a bar; the value at which it is full, or -1 for the largest of the column."""
    link: tuple[str, str] = ("", "")
    """What a click does, in words, and where it leads."""
    decimals: int | None = None
    none: str = ""
    """What a cell without a value says."""
    shaded: bool = False
    """The larger, the bluer."""
    hidden: bool = False
    """There for links only."""


def joined(
    title: str,
    description: str,
    queries: Sequence[str],
    shown: Sequence[Column],
    *,
    order: str = "",
    rank: str = "",
    descending: bool = False,
    no_value: str = "",
    unit: str = "short",
) -> table.Panel:
    """Show a table of what the queries give at the end of the time range.

    Args:
        title: Of the panel.
        description: Of the panel.
        queries: Joined where all labels that they share are the same, so they must not have the names of metrics.
        shown: Which labels and values have a column.
        order: The title of the column that rows are in the order of.
        descending: Whether that order is from the largest down.
        rank: A label that rows are in the order of instead, and which need not be shown.
        no_value: What is said where there are no rows.
        unit: Of columns that do not say their own.
    """
    panel = common_to_all(table.Panel(), title, description, unit, [columns(query) for query in queries])
    panel.transformations(_transformations(shown, rank)).show_header(show_header=True)
    panel.cell_height(looks.TableCellHeight.SM).filterable(filterable=False).min_width(60)
    if order:
        panel.sort_by([common.TableSortByFieldState().display_name(order).desc(desc=descending)])
    if no_value:
        panel.no_value(no_value)
    for column in shown:
        panel.override_by_name(column.title, _properties(column))
    return panel


def ranking(
    title: str,
    description: str,
    query: str,
    named: Sequence[Column],
    measured: Column,
    *,
    no_value: str,
) -> table.Panel:
    """Show what is largest: a row for each thing with its names and a bar, the longest first."""
    shown = [*named, measured]
    return joined(title, description, [query], shown, order=measured.title, descending=True, no_value=no_value)


def bar(title: str, unit: str, colour: str, *, width: int = 170, decimals: int | None = None) -> Column:
    """Draw the first value as a bar; the largest fills the cell."""
    return Column(0, title, width, unit=unit, bar=-1, steps=((None, colour),), decimals=decimals)


def _transformations(shown: Sequence[Column], rank: str) -> list[DataTransformerConfig]:
    names = {name: column for column in shown for name in _fields(column)}
    organized = {
        "renameByName": {name: column.title for name, column in names.items()},
        "indexByName": {name: index for index, name in enumerate(names)},
        "excludeByName": {},
    }
    ranked = [DataTransformerConfig("sortBy", options={"fields": {}, "sort": [{"field": rank}]})] if rank else []
    return [
        DataTransformerConfig("merge", options={}),
        *ranked,
        DataTransformerConfig("filterFieldsByName", options={"include": {"names": list(names)}}),
        DataTransformerConfig("organize", options=organized),
    ]


def _fields(column: Column) -> list[str]:
    if isinstance(column.source, str):
        return [column.source]
    letter = chr(ord("A") + column.source)
    # Grafana leaves the letter out where there is one query, or only one has an answer: then it is the first.
    return [f"Value #{letter}", "Value"] if column.source == 0 else [f"Value #{letter}"]


def _properties(column: Column) -> list[DynamicConfigValue]:
    made = _texts(column) | _looks(column)
    text, url = column.link
    if url:
        made["links"] = [{"title": text, "url": url, "targetBlank": url.startswith("${")}]
    return [DynamicConfigValue(id_val=name, value=value) for name, value in made.items()]


def _texts(column: Column) -> dict[str, Any]:
    # What the whole table says without rows, no single cell should say.
    made: dict[str, Any] = {"noValue": column.none}
    if column.unit:
        made["unit"] = column.unit
    elif isinstance(column.source, str):
        made["unit"] = "string"  # else an id of digits is shortened as a number
    if column.decimals is not None:
        made["decimals"] = column.decimals
    if column.texts:
        made["mappings"] = [mapping(column.texts)]
    return made


def _looks(column: Column) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if column.hidden:
        made["custom.hidden"] = True
    if column.width:
        made["custom.width"] = column.width
    if column.steps:
        made |= {"thresholds": thresholds(column.steps).build(), "color": {"mode": "thresholds"}}
    if column.shaded:
        made["color"] = {"mode": "continuous-blues"}
    if column.bar:
        made |= {"min": 0} | ({"max": column.bar} if column.bar > 0 else {})
    if cell := _cell(column):
        made["custom.cellOptions"] = cell
    return made


def _cell(column: Column) -> dict[str, str]:
    if column.bar:
        return {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
    if column.shaded:
        return {"type": "color-background", "mode": "basic"}
    return {"type": "color-text"} if column.texts or column.steps else {}
