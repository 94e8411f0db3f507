"""How each kind of panel looks, wherever it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import TypeVar

from grafana_foundation_sdk.builders import (
    common,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models.dashboard import (
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode, HeatmapColorScale, HeatmapTooltip

from comfyui_dashboards.colours import BY_STATUS, GOOD, LIMIT, NEUTRAL
from comfyui_dashboards.queries import SOURCE

Panel = TypeVar("Panel", timeseries.Panel, stat.Panel, heatmap.Panel, table.Panel, statetimeline.Panel)
Steps = Sequence[tuple[float | None, str]]
"""From which value on which colour holds; None: from the lowest."""

BAR = "1m"
"""What a bar stands for at least: four scrapes."""

NO_FAILURES = "No failures"


def common_to_all(
    panel: Panel, title: str, description: str, unit: str, queries: Sequence[prometheus.Dataquery]
) -> Panel:
    """Give a panel what every one has."""
    for ref_id, query in zip(ascii_uppercase, queries, strict=False):
        query.ref_id(ref_id)
    return panel.title(title).description(description).datasource(SOURCE).unit(unit).targets(list(queries))


def chart(
    title: str,
    description: str,
    unit: str,
    queries: Sequence[prometheus.Dataquery],
    *,
    calcs: Sequence[str] = ("lastNotNull", "max"),
    filled: int = 0,
) -> timeseries.Panel:
    """Draw lines over time, with a table of them below."""
    panel = common_to_all(timeseries.Panel(), title, description, unit, queries)
    legend = common.VizLegendOptions().show_legend(show_legend=True).placement(looks.LegendPlacement.BOTTOM)
    return (
        panel.legend(legend.display_mode(looks.LegendDisplayMode.TABLE).calcs(list(calcs)))
        .tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING))
        .color_scheme(builders.FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
        .line_width(1)
        .fill_opacity(filled)
        .show_points(looks.VisibilityMode.NEVER)
        .min(0)
    )


def bars(
    title: str,
    description: str,
    queries: Sequence[prometheus.Dataquery],
    *,
    unit: str = "short",
) -> timeseries.Panel:
    """Draw what was counted in each minute or longer, one thing upon the other; the legend has the sums."""
    panel = chart(title, description, unit, queries, calcs=("sum", "max"), filled=80)
    stacked = common.StackingConfig().mode(looks.StackingMode.NORMAL).group("A")
    return panel.draw_style(looks.GraphDrawStyle.BARS).stacking(stacked).interval(BAR).line_width(0)


def number(
    title: str,
    description: str,
    unit: str,
    queries: Sequence[prometheus.Dataquery],
    steps: Steps = ((None, NEUTRAL),),
    *,
    no_value: str = "",
    spark: bool = False,
) -> stat.Panel:
    """Show one number, or a few, in large type."""
    panel = common_to_all(stat.Panel(), title, description, unit, queries)
    if no_value:
        panel.no_value(no_value)
    return (
        panel.thresholds(thresholds(steps))
        .color_scheme(builders.FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .color_mode(looks.BigValueColorMode.VALUE)
        .graph_mode(looks.BigValueGraphMode.AREA if spark else looks.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def heat(title: str, description: str, query: prometheus.Dataquery, *, scheme: str = "Blues") -> heatmap.Panel:
    """Show how many fell into which bucket of seconds, over time."""
    panel = common_to_all(heatmap.Panel(), title, description, "short", [query])
    colour = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme(scheme).steps(64)
    return (
        panel.interval(BAR)
        .calculate(calculate=False)
        .color(colour.scale(HeatmapColorScale.EXPONENTIAL).exponent(0.5).reverse(reverse=False).fill(scheme))
        .y_axis(heatmap.YAxisConfig().unit("s").axis_placement(looks.AxisPlacement.LEFT).decimals(0))
        .cell_gap(1)
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .exemplars_color("rgba(255,152,48,0.9)")
        .tooltip(_Tooltip())
        .show_legend()
    )


class _Tooltip(heatmap.HeatmapTooltip):
    """A tooltip for Grafana 10.1 too, which wants to be told to show it at all."""

    def build(self) -> HeatmapTooltip:
        """Put it together."""
        return _ShownTooltip(mode=looks.TooltipDisplayMode.SINGLE, y_histogram=True)


class _ShownTooltip(HeatmapTooltip):
    def to_json(self) -> dict[str, object]:
        """Say it as all versions understand it."""
        return super().to_json() | {"show": True}


def states(
    title: str, description: str, queries: Sequence[prometheus.Dataquery], texts: Mapping[str, tuple[str, str]]
) -> statetimeline.Panel:
    """Show which of a few states something was in, over time."""
    panel = common_to_all(statetimeline.Panel(), title, description, "short", queries)
    return (
        panel.mappings([mapping(texts)])
        .color_scheme(builders.FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
        .show_value(looks.VisibilityMode.NEVER)
        .row_height(0.8)
        .legend(common.VizLegendOptions().show_legend(show_legend=True).placement(looks.LegendPlacement.BOTTOM))
    )


def thresholds(steps: Steps) -> builders.ThresholdsConfig:
    """Give each range of values its colour."""
    config = builders.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE)
    return config.steps([Threshold(value=value, color=colour) for value, colour in steps])


def limit(panel: timeseries.Panel, value: float) -> timeseries.Panel:
    """Draw a dashed line that values should stay below."""
    style = common.GraphThresholdsStyleConfig().mode(looks.GraphThresholdsStyleMode.DASHED)
    return panel.thresholds(thresholds(((None, GOOD), (value, LIMIT)))).thresholds_style(style)


def mapping(texts: Mapping[str, tuple[str, str]]) -> ValueMap:
    """Say values in words, each with its colour."""
    return ValueMap(
        {
            value: ValueMappingResult(text=text, color=colour, index=index)
            for index, (value, (text, colour)) in enumerate(texts.items())
        }
    )


def in_colours(panel: Panel, colours: Mapping[str, str] = BY_STATUS) -> Panel:
    """Give the series that are named after a status its colour."""
    for name, colour in colours.items():
        panel.override_by_name(name, [fixed(colour)])
    return panel


def in_shades(panel: timeseries.Panel, colour: str) -> timeseries.Panel:
    """Draw kinds of one thing in shades of its colour."""
    return panel.color_scheme(builders.FieldColor().mode(FieldColorModeId.SHADES).fixed_color(colour))


def fixed(colour: str) -> DynamicConfigValue:
    """Override: one colour."""
    return DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": colour})


def dashed(panel: timeseries.Panel, name: str, colour: str = LIMIT) -> timeseries.Panel:
    """Draw one series as a limit or a forecast rather than as something that was measured."""
    style = DynamicConfigValue(id_val="custom.lineStyle", value={"fill": "dash", "dash": [8, 8]})
    return panel.override_by_regexp(name, [style, fixed(colour), DynamicConfigValue("custom.fillOpacity", 0)])
