"""A component's curves as ECharts options. Colours are the page's CSS variables: they follow the theme.

That works because the charts are drawn as SVG, where a colour may be `var(--name)`.
"""

import json
from collections.abc import Sequence
from typing import Any

from control_plane.api.models import ComponentHistory, ComponentView, Point, TagSeries
from control_plane.console import wording

PLOT_DIGITS = 5  # significant digits sent to the browser: more than a pixel can show

Options = dict[str, Any]


def tag_options(series: TagSeries, history: ComponentHistory) -> Options:
    """A tag's curve, with its fixed limits as lines."""
    limits = [
        limit_line(value, f"{name} {value:g}", "--warning-text")
        for name, value in (("low", series.low), ("high", series.high))
        if value is not None
    ]
    options = frame(history.start_ms, history.end_ms, wording.unit(series.unit), from_zero=False)
    options["series"] = [curve(series.description or series.tag, series.points, limits)]
    return options


def anomaly_options(history: ComponentHistory) -> Options:
    """The anomaly score, with its threshold as a line."""
    threshold = history.anomaly_threshold
    lines = (
        [] if threshold is None else [limit_line(threshold, f"threshold {threshold:.2f}", "--warning-text")]
    )
    options = frame(history.start_ms, history.end_ms, "", from_zero=True)
    if threshold is not None:  # the line is part of the picture, however low the score is
        peak = max((value for _, value in history.anomaly if value is not None), default=0.0)
        options["yAxis"]["max"] = plotted(max(peak, threshold) * 1.15)
    options["series"] = [curve("Anomaly score", history.anomaly, lines)]
    return options


def rul_options(component: ComponentView, history: ComponentHistory) -> Options:
    """RUL with its interval as a band, and the warning and alarm thresholds as lines."""
    low: list[Point] = [(p.time_ms, p.low) for p in history.rul]
    width: list[Point] = [
        (p.time_ms, None if p.low is None or p.high is None else p.high - p.low) for p in history.rul
    ]
    lines = [
        limit_line(component.rul_warning, f"warning {component.rul_warning:g}", "--warning-text"),
        limit_line(component.rul_alarm, f"alarm {component.rul_alarm:g}", "--alarm-text"),
    ]
    options = frame(history.start_ms, history.end_ms, "cycles", from_zero=True)
    peak = max((p.high for p in history.rul if p.high is not None), default=0.0)
    options["yAxis"]["max"] = plotted(max(peak, component.rul_warning) * 1.1)
    options["tooltip"][":formatter"] = _RUL_TOOLTIP
    options["title"] = {
        "show": all(p.rul is None for p in history.rul),
        "text": f"No number in these {history.minutes} minutes",
        "subtext": wording.rul_headline(component.prediction)[0],
        "left": "center",
        "top": "middle",
        "textStyle": {"color": "var(--muted)", "fontSize": 15, "fontWeight": "normal"},
        "subtextStyle": {"color": "var(--muted)", "fontSize": 14},
    }
    options["series"] = [
        band("low", low, opacity=0.0),
        band("interval", width, opacity=0.18),
        curve("RUL", [(p.time_ms, p.rul) for p in history.rul], lines),
    ]
    return options


_AXIS_NUMBER = "value => String(Number(value.toPrecision(6)))"
_RUL_TOOLTIP = """points => {
  const at = name => points.find(p => p.seriesName === name)?.value?.[1];
  const [rul, low, width] = [at("RUL"), at("low"), at("interval")];
  const time = new Date(points[0].value[0]).toISOString().slice(11, 19) + " UTC";
  return rul == null ? time + "<br>no RUL"
    : `${time}<br><b>RUL ${rul.toFixed(0)} cycles</b><br>${low.toFixed(0)} to ${(low + width).toFixed(0)}`;
}"""


def frame(start_ms: int, end_ms: int, unit: str, from_zero: bool) -> Options:
    """Axes, grid and tooltip of a chart from `start_ms` to `end_ms`, its values in `unit`."""
    label = {"color": "var(--muted)", "fontSize": 13, "fontFamily": "Roboto, sans-serif"}
    return {
        "animation": False,
        "useUTC": True,
        "grid": {"left": 50, "right": 14, "top": 14, "bottom": 26},
        "xAxis": {
            "type": "time",
            "min": start_ms,
            "max": end_ms,
            "splitNumber": 4,
            "axisLabel": {**label, "hideOverlap": True, "formatter": "{HH}:{mm}"},
            "axisLine": {"lineStyle": {"color": "var(--line)"}},
            "axisTick": {"lineStyle": {"color": "var(--line)"}},
            "axisPointer": {"lineStyle": {"color": "var(--muted)"}, "label": {"show": False}},
        },
        "yAxis": {
            "type": "value",
            "scale": not from_zero,
            "splitNumber": 3,
            "axisLabel": {**label, "showMaxLabel": from_zero is False, ":formatter": _AXIS_NUMBER},
            "splitLine": {"lineStyle": {"color": "var(--grid)"}},
        },
        "tooltip": {
            "trigger": "axis",
            "confine": True,
            "backgroundColor": "var(--panel)",
            "borderColor": "var(--line)",
            "textStyle": {"color": "var(--text)", "fontSize": 14},
            ":formatter": _tooltip(unit),
        },
    }


def _tooltip(unit: str) -> str:
    """Time and number of the point under the pointer, as JavaScript."""
    return (
        "points => { const [time, value] = points[0].value;"
        'const at = new Date(time).toISOString().slice(11, 19) + " UTC";'
        f"const unit = {json.dumps(' ' + unit).replace('<', chr(92) + 'u003c')};"
        'return at + "<br>" + (value == null ? "no number" : "<b>" + value + unit + "</b>"); }'
    )


def curve(name: str, points: Sequence[Point], lines: list[Options]) -> Options:
    """A line with its limits; a None breaks it."""
    return {
        "name": name,
        "type": "line",
        "data": [(time_ms, plotted(value)) for time_ms, value in points],
        "showSymbol": False,
        "connectNulls": False,
        "lineStyle": {"color": "var(--curve)", "width": 1.5},
        "itemStyle": {"color": "var(--curve)"},
        "emphasis": {"disabled": True},
        "markLine": {"silent": True, "symbol": "none", "animation": False, "data": lines},
    }


def band(name: str, points: Sequence[Point], opacity: float) -> Options:
    """One of two stacked areas: the lower end (opacity 0), then the width up to the upper end."""
    return {
        "name": name,
        "type": "line",
        "stack": "interval",
        "stackStrategy": "all",
        "data": [(time_ms, plotted(value)) for time_ms, value in points],
        "showSymbol": False,
        "lineStyle": {"opacity": 0},
        "itemStyle": {"color": "var(--band)", "opacity": 0},
        "areaStyle": {"color": "var(--band)", "opacity": opacity},
        "emphasis": {"disabled": True},
        "silent": True,
    }


def limit_line(value: float, text: str, colour: str) -> Options:
    """A horizontal line with its text."""
    return {
        "yAxis": value,
        "lineStyle": {"color": f"var({colour})", "type": "dashed", "width": 1.5},
        "label": {"formatter": text, "position": "insideStartTop", "color": f"var({colour})", "fontSize": 13},
    }


def plotted(value: float | None) -> float | None:
    """The value with the digits that a chart can show."""
    return None if value is None else float(f"{value:.{PLOT_DIGITS}g}")
