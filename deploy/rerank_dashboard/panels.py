"""Makes panels that look alike: each has a unit, a legend and a text that ends in what to do."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from grafana_foundation_sdk.builders import common as build_common
from grafana_foundation_sdk.builders import dashboard as build_dashboard
from grafana_foundation_sdk.builders import heatmap as build_heatmap
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.models import common, heatmap
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from blockrank_server.service.metrics import BUCKETS

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
SHARE, REQUESTS, RATE, SECONDS, BYTES, COUNT = "percentunit", "reqps", "cps", "s", "bytes", "short"
RED, ORANGE, YELLOW, GREEN, BLUE, GRAY = (
    *("#E02F44", "#FF9830", "#FADE2A", "#56A64B", "#5794F2"),
    "#8E8E8E",
)
# From short lists to long ones.
_BUCKET_COLORS = (
    *("#8AB8FF", "#4D8CFF", "#1F60C4", "#00B3A4", "#2F9E44", "#8BC34A"),
    *("#E0B400", "#FF9830", "#F2495C", "#C2185B", "#A352CC"),
)
# Colors of lines, by a regular expression over their whole names.
BY_BUCKET = dict(zip(BUCKETS, _BUCKET_COLORS, strict=True))
BY_STATUS = {
    "200": GREEN,
    "40.|41.|422": YELLOW,
    "429": ORANGE,
    "424|5..": RED,
    "499": GRAY,
}
LIMIT = {"limit": RED}

Panel = timeseries.Panel | stat.Panel | build_heatmap.Panel
Panels = Sequence[Panel]


class Row(NamedTuple):
    """Holds a heading and the panels under it."""

    title: str
    panels: Panels


class PanelText(NamedTuple):
    """Holds the title and the description of a panel.

    Attributes:
        title: a few words.
        means: what is drawn.
        do: what to do, and when.
    """

    title: str
    means: str
    do: str

    @property
    def description(self) -> str:
        """Return the text behind the panel's (i)."""
        return f"{self.means}\n\n**What to do:** {self.do}"


class Query(NamedTuple):
    """Describes one query of a panel.

    Attributes:
        expr: PromQL.
        legend: a name, with labels in double braces.
    """

    expr: str
    legend: str


def lines(
    text: PanelText,
    unit: str,
    *queries: Query,
    colors: Mapping[str, str] | None = None,
    is_stacked: bool = False,
    red_above: float | None = None,
    is_log: bool = False,
    span: int = 8,
) -> timeseries.Panel:
    """Draw lines over time.

    Args:
        unit: is a unit of Grafana.
        queries: hold at least one.
        colors: gives lines a colour, by a regular expression over their whole names.
        is_stacked: whether the lines add up to something.
        red_above: draws a line there, and red above it.
        is_log: whether the axis is logarithmic.
        span: is counted in the dashboard's 24 columns.
    """
    panel = timeseries.Panel().title(text.title).description(text.description).unit(unit)
    panel.datasource(DATASOURCE).height(8).span(span).line_width(1).fill_opacity(8)
    panel.show_points(common.VisibilityMode.NEVER).tooltip(_tooltip()).legend(_legend())
    if is_log:
        log = build_common.ScaleDistributionConfig().type(common.ScaleDistribution.LOG)
        panel.scale_distribution(log.log(10))
    else:
        panel.min(0)
    if is_stacked:
        panel.stacking(build_common.StackingConfig().mode(common.StackingMode.NORMAL))
        panel.fill_opacity(40)
    if red_above is not None:
        panel.thresholds(_steps((None, "transparent"), (red_above, RED)))
        style = build_common.GraphThresholdsStyleConfig()
        panel.thresholds_style(style.mode(common.GraphTresholdsStyleMode.DASHED_AND_AREA))
    for name, color in (colors or {}).items():
        fixed = DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color})
        panel.override_by_regexp(f"/^({name})$/", [fixed])
    for target in _targets(queries):
        panel.with_target(target)
    return panel


def number(
    text: PanelText,
    unit: str,
    query: Query,
    *,
    steps: Sequence[tuple[float | None, str]] = ((None, BLUE),),
    is_name: bool = False,
) -> stat.Panel:
    """Show one number as of now.

    Args:
        unit: is a unit of Grafana.
        query: is evaluated once, at the end of the time range.
        steps: are pairs (from, color), the first from None.
        is_name: whether the name of the series is shown instead of its value.
    """
    panel = stat.Panel().title(text.title).description(text.description).unit(unit)
    panel.datasource(DATASOURCE).height(4).span(4).thresholds(_steps(*steps))
    panel.color_scheme(build_dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
    panel.graph_mode(common.BigValueGraphMode.NONE)
    panel.color_mode(common.BigValueColorMode.VALUE)
    panel.reduce_options(build_common.ReduceDataOptions().calcs(["lastNotNull"]))
    shown = common.BigValueTextMode.NAME if is_name else common.BigValueTextMode.VALUE
    panel.text_mode(shown)
    (target,) = _targets([query])
    return panel.with_target(target.instant())


def cells(text: PanelText, unit: str, histogram: str) -> build_heatmap.Panel:
    """Show how many observations fell into each bucket of a histogram, over time.

    Args:
        unit: is that of the buckets' edges.
        histogram: PromQL that leaves the label le.
    """
    panel = build_heatmap.Panel().title(text.title).description(text.description).unit(unit)
    panel.datasource(DATASOURCE).height(9).span(12).calculate(False).cell_gap(1)
    panel.y_axis(build_heatmap.YAxisConfig().unit(unit))
    panel.color(
        build_heatmap.HeatmapColorOptions()
        .mode(heatmap.HeatmapColorMode.SCHEME)
        .scheme("Viridis")
        .scale(heatmap.HeatmapColorScale.EXPONENTIAL)
        .exponent(0.5)
        .steps(64)
    )
    (target,) = _targets([Query(histogram, "{{le}}")])
    return panel.with_target(target.format(PromQueryFormat.HEATMAP))


def _tooltip() -> build_common.VizTooltipOptions:
    tooltip = build_common.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI)
    return tooltip.sort(common.SortOrder.DESCENDING)


def _legend() -> build_common.VizLegendOptions:
    legend = build_common.VizLegendOptions().show_legend(True)
    legend.display_mode(common.LegendDisplayMode.LIST)
    return legend.placement(common.LegendPlacement.BOTTOM)


def _targets(queries: Sequence[Query]) -> list[prometheus.Dataquery]:
    return [
        prometheus.Dataquery()
        .expr(query.expr)
        .legend_format(query.legend)
        .ref_id(chr(ord("A") + place))
        .datasource(DATASOURCE)
        for place, query in enumerate(queries)
    ]


def _steps(*steps: tuple[float | None, str]) -> build_dashboard.ThresholdsConfig:
    read = [Threshold(value, color) for value, color in steps]
    return build_dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(read)
