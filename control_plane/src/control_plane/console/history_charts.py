"""A long history as ECharts options: the mean as a line, from lowest to highest as a band."""

from control_plane.api.history_models import Buckets, BucketSeries, LongHistory, Numbers
from control_plane.api.models import ComponentView, Point
from control_plane.console import wording
from control_plane.console.charts import Options, band, curve, frame, limit_line, plotted

DAY_MS = 86_400_000
SYMBOLS_MAX = 80  # points that are drawn as such: so few that each can be pointed at


def tag_options(series: BucketSeries, history: LongHistory) -> Options:
    """A tag with its limits."""
    lines = [
        limit_line(value, f"{name} {value:g}", "--warning-text")
        for name, value in (("low", series.lower_limit), ("high", series.upper_limit))
        if value is not None
    ]
    return _options(history, history.telemetry, series, lines, from_zero=False)


def anomaly_options(history: LongHistory) -> Options:
    """The anomaly score, with its newest threshold as a line."""
    score, threshold = (_named(history.predictions, name) for name in ("anomaly_score", "anomaly_threshold"))
    newest = next((value for value in reversed(threshold.high) if value is not None), None)
    lines = [] if newest is None else [limit_line(newest, f"threshold {newest:.2f}", "--warning-text")]
    options = _options(history, history.predictions, score, lines, from_zero=True)
    if newest is not None:  # the line is part of the picture, however low the score is
        options["yAxis"]["max"] = plotted(max([newest, *_numbers(score.high)]) * 1.15)
    return options


def rul_options(component: ComponentView, history: LongHistory) -> Options:
    """RUL; its band holds every interval of a bucket."""
    rul, low, high = (_named(history.predictions, name) for name in ("rul", "rul_low", "rul_high"))
    lines = [
        limit_line(component.rul_warning, f"warning {component.rul_warning:g}", "--warning-text"),
        limit_line(component.rul_alarm, f"alarm {component.rul_alarm:g}", "--alarm-text"),
    ]
    lines[1]["label"]["position"] = "insideEndTop"  # over months both limits lie close together
    shown = rul.model_copy(update={"low": low.low, "high": high.high})
    options = _options(history, history.predictions, shown, lines, from_zero=True)
    options["yAxis"]["max"] = plotted(max([component.rul_warning, *_numbers(high.high)]) * 1.1)
    return options


def _options(
    history: LongHistory, found: Buckets, series: BucketSeries, lines: list[Options], from_zero: bool
) -> Options:
    unit = wording.unit(series.unit)
    options = frame(history.start_ms, history.end_ms, unit, from_zero)
    if history.end_ms - history.start_ms > 2 * DAY_MS:
        options["xAxis"]["axisLabel"]["formatter"] = "{d} {MMM}"
    elif history.end_ms - history.start_ms < DAY_MS // 144:
        options["xAxis"]["axisLabel"]["formatter"] = "{HH}:{mm}:{ss}"
    options["tooltip"][":formatter"] = _TOOLTIP
    options["brush"] = {"xAxisIndex": 0, "brushType": "lineX", "toolbox": [], "transformable": False}
    options["toolbox"] = {"show": False}  # a brush brings one of its own
    options["title"] = _nothing(series)
    width: Numbers = [
        None if low is None or high is None else high - low
        for low, high in zip(series.low, series.high, strict=True)
    ]
    line = curve(unit, _points(found, series.mean), lines)
    line["showSymbol"] = sum(rows > 0 for rows in found.rows) <= SYMBOLS_MAX
    line["symbolSize"] = 5
    low, span = band("low", _points(found, series.low), 0.0), band("span", _points(found, width), 0.22)
    for edge in (low, span):  # a spike of one bucket has an edge and hardly an area
        edge["lineStyle"] = {"color": "var(--band)", "width": 1, "opacity": 0.4}
    options["series"] = [low, span, line]
    return options


def _nothing(series: BucketSeries) -> Options:
    return {
        "show": not _numbers(series.mean),
        "text": "No number in this span",
        "left": "center",
        "top": "middle",
        "textStyle": {"color": "var(--muted)", "fontSize": 15, "fontWeight": "normal"},
    }


def _points(found: Buckets, values: Numbers) -> list[Point]:
    return list(zip(found.time_ms, values, strict=True))


def _named(found: Buckets, name: str) -> BucketSeries:
    return next(series for series in found.series if series.name == name)


def _numbers(values: Numbers) -> list[float]:
    return [value for value in values if value is not None]


# The line's name is its unit.
_TOOLTIP = """points => {
  const at = index => points.find(point => point.seriesIndex === index);
  const [low, width, mean] = [0, 1, 2].map(index => at(index)?.value?.[1]);
  const unit = " " + (at(2)?.seriesName ?? "");
  const number = value => String(Number(value.toPrecision(5)));
  const time = new Date(points[0].axisValue).toISOString().slice(0, 19).replace("T", " ") + " UTC";
  if (mean == null) return time + "<br>no number";
  const span = width > 0 ? `<br>${number(low)} to ${number(low + width)}` : "";
  return `${time}<br><b>${number(mean)}${unit.replace(/</g, "&lt;")}</b>${span}`;
}"""
