"""The kinds of panels of the dashboard, with the options that all panels of a kind share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any, NamedTuple, TypeVar

from grafana_foundation_sdk.builders import common as options
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.builders.heatmap import FilterValueRange, HeatmapColorOptions, YAxisConfig
from grafana_foundation_sdk.builders.heatmap import Panel as Heatmap
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.statetimeline import Panel as StateTimeline
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.generate.alerts import RUNBOOKS

DATASOURCE = DataSourceRef("prometheus", "${datasource}")
GREY = "#6e6e6e"  # the state is unknown

Panel = Stat | TimeSeries | StateTimeline | Heatmap | Table
Steps = Sequence[tuple[float | None, str]]
"""Colors, each with the value from which it applies. The first color is for lower values and for no value."""
Lines = Mapping[str, str]
"""Expressions of lines, by the names of the lines in the legend."""

NO_DATA = "no data: see Meta"
REASONS = {
    "http_5xx": "red",
    "connect|dns|tls|timeout|truncated": "orange",
    "http_429|rate_limited": "yellow",
    "breaker_open|deadline_exceeded": "blue",
    "too_large|blocked|other": "purple",
    "none": "green",
}
"""Colors of reasons. In this order: error responses, no response, rate limits, calls that were not sent, responses that
were refused or are unknown, no events."""


class Row:
    """Panels under a common heading, from left to right."""

    def __init__(self, title: str, *panels: Panel) -> None:
        self.title = title
        self.panels = panels


class Column(NamedTuple):
    """A column of a table."""

    heading: str
    expr: str
    unit: str
    empty: str = ""
    """Text for a row without a value."""
    steps: Steps = ()


_Panel = TypeVar("_Panel", Stat, TimeSeries, StateTimeline, Heatmap, Table)


def stat(
    title: str, description: str, expr: str, unit: str, steps: Steps, *, empty: str, decimals: int = 0, name: str = ""
) -> Stat:
    """Return a panel with one number. The background color shows its state.

    :param name: a legend, which is shown above the number.
    """
    panel = _described(Stat(), title, description, unit, empty).decimals(decimals).height(4).span(4)
    return (
        panel.with_target(Dataquery().expr(expr).legend_format(name).instant().ref_id("A"))
        .thresholds(_thresholds(steps))
        .color_mode(BigValueColorMode.BACKGROUND)
        .graph_mode(BigValueGraphMode.NONE)
        .text_mode(BigValueTextMode.VALUE_AND_NAME if name else BigValueTextMode.VALUE)
    )


def timeseries(
    title: str,
    description: str,
    lines: Lines,
    unit: str,
    *,
    empty: str,
    width: int = 8,
    limits: Steps = (),
    stacked: bool = False,
    most: float | None = None,
    legend: str = "max",
    colors: Mapping[str, str] | None = None,
) -> TimeSeries:
    """Return a panel with lines over time, or with stacked areas.

    :param limits: values that are drawn as horizontal lines.
    :param most: the axis includes at least this value.
    :param legend: the calculation that the legend shows for each line.
    :param colors: colors of lines, by regular expressions for the names of the lines.
    """
    panel = _described(TimeSeries(), title, description, unit, empty).height(8).span(width).min(0)
    for ref, (name, expr) in zip(ascii_uppercase, lines.items(), strict=False):
        panel.with_target(Dataquery().expr(expr).legend_format(name).range().ref_id(ref))
    if limits:
        panel.thresholds(_thresholds(limits))
        panel.thresholds_style(options.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    if stacked:
        panel.stacking(options.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    if most is not None:
        panel.axis_soft_max(most)
    for pattern, color in (colors or {}).items():
        shades = DynamicConfigValue("color", FieldColor().mode(FieldColorModeId.SHADES).fixed_color(color).build())
        panel.override_by_regexp(f"/^({pattern})$/", [shades])
    return (
        panel.fill_opacity(50 if stacked else 0)
        .line_width(1)
        .show_points(VisibilityMode.NEVER)
        # By name, so that an upstream has the same color in every panel.
        .color_scheme(FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .legend(_legend().calcs([legend]))
        .tooltip(options.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )


def states(
    title: str, description: str, lines: Lines, names: Mapping[int, tuple[str, str]], *, empty: str, width: int = 8
) -> StateTimeline:
    """Return a panel with bands over time, in the colors of states.

    :param names: the name and the color of the state for each value.
    """
    panel = _described(StateTimeline(), title, description, "none", empty).height(8).span(width)
    for ref, (name, expr) in zip(ascii_uppercase, lines.items(), strict=False):
        panel.with_target(Dataquery().expr(expr).legend_format(name).range().ref_id(ref))
    results = {
        str(value): ValueMappingResult(text, color, index=value) for value, (text, color) in sorted(names.items())
    }
    return (
        panel.mappings([ValueMap(results)])
        .thresholds(_thresholds([(None, GREY)]))
        .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .show_value(VisibilityMode.NEVER)
        .merge_values(True)
        .row_height(0.8)
        .legend(_legend())
    )


def heatmap(title: str, description: str, expr: str, unit: str, *, empty: str, width: int = 8) -> Heatmap:
    """Return a panel that shows the counts of the buckets of a histogram over time."""
    panel = _described(Heatmap(), title, description, "short", empty).height(8).span(width)
    target = Dataquery().expr(expr).legend_format("{{le}}").range().format(PromQueryFormat.HEATMAP).ref_id("A")
    return (
        panel.with_target(target)
        .calculate(False)  # the series are buckets already
        .y_axis(YAxisConfig().unit(unit))
        .color(HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").exponent(0.5).steps(64))
        .filter_values(FilterValueRange().le(1e-9))
        .cell_gap(1)
        .show_color_scale(True)
    )


def table(
    title: str,
    description: str,
    label: str,
    columns: Sequence[Column],
    *,
    empty: str,
    width: int,
) -> Table:
    """Return a panel with a table that has a row for each value of `label`."""
    panel = _described(Table(), title, description, "none", empty).height(8).span(width)
    renamed = {label: label.capitalize()}
    for ref, column in zip(ascii_uppercase, columns, strict=False):
        panel.with_target(Dataquery().expr(column.expr).instant().format(PromQueryFormat.TABLE).ref_id(ref))
        renamed[f"Value #{ref}"] = column.heading
        panel.override_by_name(column.heading, _properties(column))
    order = {name: position for position, name in enumerate(renamed)}
    arranged = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": renamed}
    panel.with_transformation(DataTransformerConfig("merge", options={}))
    return panel.with_transformation(DataTransformerConfig("organize", options=arranged))


def runbooks(*alerts: str) -> str:
    """Return links to the runbooks of these alerts."""
    return "What to do: " + ", ".join(f"[{alert}]({RUNBOOKS}/{alert}.md)" for alert in alerts)


def _properties(column: Column) -> list[DynamicConfigValue]:
    properties: dict[str, Any] = {"unit": column.unit, "noValue": column.empty}
    if column.steps:
        properties["thresholds"] = _thresholds(column.steps).build()
        properties["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
    return [DynamicConfigValue(name, value) for name, value in properties.items()]


def _described(panel: _Panel, title: str, description: str, unit: str, empty: str) -> _Panel:
    """Set the common options of a panel. `empty` is the text for a panel without data."""
    return panel.title(title).description(description).datasource(DATASOURCE).unit(unit).no_value(empty)


def _thresholds(steps: Steps) -> ThresholdsConfig:
    made = [Threshold(value, color) for value, color in steps]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(made)


def _legend() -> options.VizLegendOptions:
    return (
        options.VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
    )
