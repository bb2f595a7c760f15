"""Component Detail: all signals and the RUL of one component. One dashboard a component type, because a
type's signals and their units are its own."""

from grafana_foundation_sdk.builders import table, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from dashboards import annotations, judged, variables
from dashboards.influxql import ACTIVE, COMPONENT, InfluxQuery, over_time, rows
from dashboards.looks import (
    ALARM,
    NEUTRAL,
    THIRD,
    WHOLE,
    coloured,
    columns,
    lines,
    listing,
    prop,
    steps,
    unit_of,
)
from dashboards.pages import ComponentType, page
from shared.reactor_config import Limit, Tag


def uid_of(kind: ComponentType) -> str:
    """Its dashboard's."""
    return f"pm-component-{kind.name.replace('_', '-')}"[:40]  # Grafana's most


def component_detail(kind: ComponentType) -> Dashboard:
    """RUL, health and quality above, a panel per signal below."""
    what = kind.component
    made = page(
        uid_of(kind),
        f"Component Detail: {kind.title}",
        f"All signals of one {kind.title}, and what the model says of it.",
    )
    made.variables([variables.site(), variables.reactor(), variables.component(names=kind.names)])
    made.annotations(annotations.of_component())
    made.with_panel(judged.rul_band(COMPONENT, kind.limits))
    made.with_panel(judged.health(COMPONENT, kind.limits, (), "$col").span(THIRD))
    made.with_panel(judged.anomaly(COMPONENT, (), "$col").span(THIRD))
    made.with_panel(judged.quality(COMPONENT, (), "$col").span(THIRD))
    made.with_row(Row("Signals"))
    for name, tag in what.tags.items():
        made.with_panel(signal(name, tag, what.thresholds.limits.get(name, Limit())))
    made.with_row(Row("What was said, and why"))
    made.with_panel(_said())
    made.with_panel(judged.reasons(COMPONENT))
    made.with_panel(judged.alerts(COMPONENT))
    return made


def signal(name: str, tag: Tag, limit: Limit) -> timeseries.Panel:
    """One tag: its mean, least and largest in the interval, in its unit, with its fixed limits."""
    wanted = {"mean": f'mean("{name}")', "min": f'min("{name}")', "max": f'max("{name}")'}
    title = name.replace("_", " ").capitalize()
    told = (
        f"{tag.description or title}, in {tag.unit}: mean of the interval, its least and largest as a band."
    )
    panel = lines(
        title, told, unit_of(tag.unit), [InfluxQuery(over_time(wanted, "telemetry", [COMPONENT]), "$col")]
    )
    coloured(panel, "mean", NEUTRAL)
    for end in ("min", "max"):
        coloured(panel, end, NEUTRAL, prop("custom.lineWidth", 0))
    panel.override_by_name("max", [prop("custom.fillBelowTo", "min"), prop("custom.fillOpacity", 15)])
    found: list[tuple[float | None, str]] = [(None, ALARM if limit.low is not None else "transparent")]
    found += [(limit.low, "transparent")] if limit.low is not None else []
    found += [(limit.high, ALARM)] if limit.high is not None else []
    if len(found) > 1:
        panel.thresholds(steps(*found)).thresholds_style(judged.area())
    return panel.span(THIRD)


def _said() -> table.Panel:
    wanted = ["rul_state", "rul", "anomaly_score", "withheld_because", "contributions", "model_version"]
    query = rows(wanted, "prediction", [ACTIVE, COMPONENT], judged.ROWS_MAX)
    panel = listing(
        "State and reasons",
        "Each answer of the active model, newest first: whether there is a number, why not, and which tags "
        "speak for it.",
        [InfluxQuery(query, form="table")],
    )
    named = {"Time": "Time", "rul_state": "State", "rul": "RUL", "anomaly_score": "Score"}
    named |= {"withheld_because": "Withheld because", "contributions": "Reasons", "model_version": "Model"}
    return panel.with_transformation(columns([], named)).span(WHOLE // 2)
