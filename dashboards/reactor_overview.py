"""Reactor Overview: all components of one reactor."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from dashboards import annotations, judged, variables
from dashboards.influxql import COMPONENT, InfluxQuery, over_time
from dashboards.judged import Thresholds
from dashboards.looks import THIRD, WHOLE, lines, unit_of
from dashboards.pages import REACTOR, REACTOR_LINK, page

BY, ALIAS = ("component",), "$tag_component"
SHARED = {
    "temperature_out": "degC",
    "flow_rate": "kg/s",
    "pressure_drop": "kPa",
}  # tags of pumps and exchangers


def reactor_overview(limits: Thresholds) -> Dashboard:
    """One reactor's components in one picture; the boxes choose among them."""
    made = page(
        REACTOR, "Reactor Overview", "All components of one reactor: RUL, health, anomalies, quality, alerts."
    )
    made.variables([variables.site(), variables.reactor(), variables.component(several=True)])
    made.annotations(annotations.of_reactor())
    made.with_panel(judged.rul_now(COMPONENT, limits, BY, ALIAS).span(WHOLE))
    made.with_panel(judged.rul(COMPONENT, limits, BY, ALIAS))
    made.with_panel(judged.health(COMPONENT, limits, BY, ALIAS))
    made.with_panel(judged.anomaly(COMPONENT, BY, ALIAS))
    made.with_panel(judged.quality(COMPONENT, BY, ALIAS))
    made.with_row(Row("The loop"))
    for tag, unit in SHARED.items():
        query = over_time({tag: f'mean("{tag}")'}, "telemetry", [COMPONENT], BY)
        name = tag.replace("_", " ").capitalize()
        told = f"{name} of the components that measure it, mean of the interval."
        made.with_panel(lines(name, told, unit_of(unit), [InfluxQuery(query, ALIAS)]).span(THIRD))
    made.with_row(Row("Now, and what happened"))
    made.with_panel(judged.components(COMPONENT, limits, REACTOR_LINK))
    made.with_panel(judged.alerts(COMPONENT))
    return made
