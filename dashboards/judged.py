"""Panels of what is said of components: RUL, health index, anomaly score, quality, alerts.

`where` chooses the components, `by` are the tags that tell the series apart.
"""

from collections.abc import Sequence
from typing import NamedTuple

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import stat, table, timeseries
from grafana_foundation_sdk.models.common import GraphThresholdsStyleMode
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue, FieldColorModeId

from dashboards.influxql import ACTIVE, BY_COMPONENT, InfluxQuery, over_time, rows, said_last
from dashboards.looks import (
    ALARM,
    COUNT,
    CYCLES,
    GOOD,
    HALF,
    NEUTRAL,
    PERCENT,
    QUIET,
    WARNING,
    WHOLE,
    Overridable,
    coloured,
    columns,
    lines,
    listing,
    number,
    prop,
    rul_steps,
    steps,
)

ROWS_MAX = 100  # of a list of alerts or of reasons: what a person reads
NOW = "5m"  # a number that is older is not the present, and is not shown as such
HEALTH_FAIR, HEALTH_POOR = 50, 30  # per cent; at the RUL's warning a component without anomaly has 50


class Thresholds(NamedTuple):
    """Of the RUL, in cycles."""

    warning: float
    alarm: float


def health_of(warning: float, aggregate: str = "mean") -> str:
    """The health index in InfluxQL, per cent: 100 for one that lasts for ever and shows nothing unusual.

    100 * RUL / (RUL + warning) * T^2 / (T^2 + score^2), T being the anomaly threshold. So half of it is
    gone at the RUL's warning, and half at the anomaly's threshold.
    """
    rul, score, limit = (f'{aggregate}("{name}")' for name in ("rul", "anomaly_score", "anomaly_threshold"))
    part = f"{limit} * {limit} / ({limit} * {limit} + {score} * {score})"
    return f"100 * {rul} / ({rul} + {warning:g}) * {part}"


def rul_now(where: str, limits: Thresholds, by: Sequence[str], alias: str) -> stat.Panel:
    """The newest RUL of each component."""
    query = said_last({"RUL": 'last("rul")'}, [ACTIVE, where], by)
    panel = number(
        "RUL now",
        f"Remaining useful life that the active model said last, within {NOW}. Orange at or under "
        f"{limits.warning:g} cycles, red at or under {limits.alarm:g}. No data: nothing was said, the number "
        "is withheld, or the component is healthy further than the model can see.",
        CYCLES,
        [InfluxQuery(query, alias)],
    )
    return panel.thresholds(rul_steps(*limits)).decimals(0).time_from(NOW)


def rul(
    where: str, limits: Thresholds, by: Sequence[str], alias: str, title: str = "RUL"
) -> timeseries.Panel:
    """RUL of several components, with the lines of warning and alarm."""
    query = over_time({"RUL": 'mean("rul")'}, "prediction", [ACTIVE, where], by)
    panel = lines(
        title,
        "Remaining useful life by the active model, in cycles. A gap: the number was withheld, or the "
        "component is healthy further than the model can see.",
        CYCLES,
        [InfluxQuery(query, alias), _limit_lines(where, limits)],
    )
    _colour_limits(panel, limits)
    return panel.min(0)


def rul_band(where: str, limits: Thresholds) -> timeseries.Panel:
    """One component's RUL with the interval that the model gives."""
    wanted = {"low end": 'mean("rul_low")', "RUL": 'mean("rul")', "high end": 'mean("rul_high")'}
    query = over_time(wanted, "prediction", [ACTIVE, where])
    panel = lines(
        "RUL with its interval",
        "Remaining useful life by the active model, with the calibrated interval as a band, in cycles. "
        f"Warning at {limits.warning:g}, alarm at {limits.alarm:g}. A gap: withheld, or healthy further than "
        "the model can see (see State).",
        CYCLES,
        [InfluxQuery(query, "$col"), _limit_lines(where, limits)],
    )
    coloured(panel, "RUL", NEUTRAL, prop("custom.lineWidth", 2))
    coloured(panel, "low end", QUIET, prop("custom.lineWidth", 0))
    band = [
        prop("custom.lineWidth", 0),
        prop("custom.fillBelowTo", "low end"),
        prop("custom.fillOpacity", 20),
    ]
    coloured(panel, "high end", QUIET, *band)
    _colour_limits(panel, limits)
    return panel.min(0).span(WHOLE).height(10)


def health(where: str, limits: Thresholds, by: Sequence[str], alias: str) -> timeseries.Panel:
    """The health index."""
    query = over_time({"health index": health_of(limits.warning)}, "prediction", [ACTIVE, where], by)
    panel = lines(
        "Health index",
        f"100 · RUL / (RUL + {limits.warning:g}) · T² / (T² + score²), T the anomaly threshold: half is "
        "gone at the RUL's warning, half at the anomaly threshold. For comparing components; alarms go by "
        "RUL and anomaly score themselves. No number where there is no RUL.",
        PERCENT,
        [InfluxQuery(query, alias)],
    )
    return panel.min(0).max(100).thresholds(_health_steps())


def anomaly(where: str, by: Sequence[str], alias: str) -> timeseries.Panel:
    """The anomaly score beside its threshold."""
    score = over_time({"score": 'max("anomaly_score")'}, "prediction", [ACTIVE, where], by)
    limit = over_time({"threshold": 'max("anomaly_threshold")'}, "prediction", [ACTIVE, where])
    panel = lines(
        "Anomaly score",
        "How unlike normal the readings are, largest in the interval; a distance without a unit. Above the "
        "threshold it is an anomaly.",
        "none",
        [InfluxQuery(score, alias), InfluxQuery(limit, "threshold", "B")],
    )
    coloured(panel, "threshold", ALARM, *_dashes())
    return panel.min(0)


def quality(where: str, by: Sequence[str], alias: str) -> timeseries.Panel:
    """Values that could not be read."""
    query = over_time({"values": 'sum("bad_values")'}, "quality", [where], by, fill="none")
    panel = lines(
        "Values without a number",
        "Values that could not be read, per interval: timeouts, exceptions, numbers out of range. No data is "
        "good news: every value had a number.",
        COUNT,
        [InfluxQuery(query, alias)],
    )
    return panel.no_value("Every value had a number").min(0).color_scheme(_one_color(WARNING))


def reasons(where: str) -> table.Panel:
    """Why values could not be read."""
    query = rows(["bad_values", "reasons"], "quality", [where], ROWS_MAX)
    panel = listing(
        "Why values have no number",
        "Each poll with a value that could not be read, newest first.",
        [InfluxQuery(query, form="table")],
    )
    named = {"Time": "Time", "bad_values": "Values", "reasons": "Tags and reasons"}
    return panel.no_value("Every value had a number").with_transformation(columns([], named)).span(HALF)


def alerts(where: str) -> table.Panel:
    """The newest transitions of alerts."""
    found = ["component", "severity", "state", "kind", "message"]
    query = rows(["site_id", "reactor_id", *found], "alert", [where], ROWS_MAX)
    panel = listing(
        "Alerts",
        "Transitions of alerts, newest first. Acknowledging and shelving is done in the console.",
        [InfluxQuery(query, form="table")],
    )
    named = {"Time": "Time", "site_id": "Site", "reactor_id": "Reactor", "component": "Component"}
    named |= {"severity": "Severity", "state": "State", "kind": "Kind", "message": "Message"}
    panel.with_transformation(columns([], named)).no_value("No alert in this time range")
    panel.override_by_name("Severity", _severity_colours())
    return panel


def components(where: str, limits: Thresholds, link: str) -> table.Panel:
    """A row per component: what is said of it now, and what says it."""
    wanted = {"RUL": 'last("rul")', "low end": 'last("rul_low")', "high end": 'last("rul_high")'}
    wanted |= {"Health": health_of(limits.warning, "last"), "Score": 'last("anomaly_score")'}
    wanted |= {"State": 'last("rul_state")', "Model": 'last("model_version")'}
    query = said_last(wanted, [ACTIVE, where], BY_COMPONENT)
    panel = listing(
        "Components now",
        f"What the active model said last of each component, within {NOW}. A component that is missing has "
        "said nothing since; an empty RUL is withheld or beyond what the model can see (State says which).",
        [InfluxQuery(query, form="table")],
    )
    named = {"site_id": "Site", "reactor_id": "Reactor", "component": "Component", **{n: n for n in wanted}}
    panel.with_transformation(columns(["Time"], named)).time_from(NOW)
    for name in ("RUL", "low end", "high end"):
        panel.override_by_name(name, [prop("unit", CYCLES), prop("decimals", 0)])
    panel.override_by_name("RUL", [prop("thresholds", rul_steps(*limits).build()), *_text_colour()])
    panel.override_by_name(
        "Health",
        [
            prop("unit", PERCENT),
            prop("decimals", 0),
            prop("thresholds", _health_steps().build()),
            *_text_colour(),
        ],
    )
    panel.override_by_name("Score", [prop("decimals", 2)])
    panel.override_by_name("Reactor", [prop("links", [{"title": "Open the reactor", "url": link}])])
    return panel


def area() -> common_builders.GraphThresholdsStyleConfig:
    """A limit as a shaded zone."""
    return common_builders.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.LINE_AND_AREA)


def _limit_lines(where: str, limits: Thresholds) -> InfluxQuery:
    """Constants where there are predictions: Grafana's own lines take the colour of what lies above them."""
    made = {
        f"warning at {limits.warning:g}": f'0 * count("anomaly_score") + {limits.warning:g}',
        f"alarm at {limits.alarm:g}": f'0 * count("anomaly_score") + {limits.alarm:g}',
    }
    return InfluxQuery(over_time(made, "prediction", [ACTIVE, where], fill="none"), "$col", "B")


def _colour_limits(panel: Overridable, limits: Thresholds) -> None:
    coloured(panel, f"warning at {limits.warning:g}", WARNING, *_dashes())
    coloured(panel, f"alarm at {limits.alarm:g}", ALARM, *_dashes())


def _dashes() -> list[DynamicConfigValue]:
    return [
        prop("custom.lineStyle", {"fill": "dash", "dash": [8, 6]}),
        prop("custom.showPoints", "never"),
        prop("custom.spanNulls", True),
    ]


def _health_steps() -> dashboard_builders.ThresholdsConfig:
    return steps((None, ALARM), (HEALTH_POOR, WARNING), (HEALTH_FAIR, GOOD))


def _one_color(color: str) -> dashboard_builders.FieldColor:
    return dashboard_builders.FieldColor().mode(FieldColorModeId.FIXED).fixed_color(color)


def _text_colour() -> list[DynamicConfigValue]:
    return [prop("custom.cellOptions", {"type": "color-text"}), prop("color", {"mode": "thresholds"})]


def _severity_colours() -> list[DynamicConfigValue]:
    options = {"alarm": {"color": ALARM, "index": 0}, "warning": {"color": WARNING, "index": 1}}
    mapped = [{"type": "value", "options": options}]
    return [prop("mappings", mapped), prop("custom.cellOptions", {"type": "color-text"})]
