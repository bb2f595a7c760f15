"""Fleet Health Summary: every site and reactor side by side."""

from grafana_foundation_sdk.builders import stat
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.models import common

from dashboards import annotations, judged, variables
from dashboards.influxql import ACTIVE, BY_COMPONENT, REACTOR, InfluxQuery, latest
from dashboards.judged import NOW, Thresholds
from dashboards.looks import ALARM, COUNT, GOOD, NEUTRAL, WARNING, number, steps
from dashboards.pages import FLEET, REACTOR_LINK, page


def fleet_health(limits: Thresholds) -> Dashboard:
    """One look at the fleet: how many need someone, which, and how each reactor has been."""
    made = page(
        FLEET,
        "Fleet Health Summary",
        "Sites and reactors side by side: what needs someone, and how it came to that.",
    )
    made.variables([variables.site(several=True), variables.reactor(several=True)])
    made.annotations([annotations.alerts(REACTOR), annotations.faults(REACTOR)])
    made.with_panel(_components())
    made.with_panel(_below("RUL under its warning", limits.warning, WARNING))
    made.with_panel(_below("RUL under its alarm", limits.alarm, ALARM))
    made.with_panel(_anomalies())
    made.with_panel(judged.components(REACTOR, limits, REACTOR_LINK))
    row = Row("$site").repeat("site").collapsed(False)
    made.with_row(row)
    small = judged.rul(REACTOR, limits, ["component"], "$tag_component", title="$site / $reactor: RUL")
    made.with_panel(
        small.repeat("reactor")
        .repeat_direction("h")
        .max_per_row(4)
        .no_value("No data, or no such reactor here")
    )
    by = ("reactor_id", "component")
    alias = "$tag_reactor_id $tag_component"
    made.with_row(Row("All chosen reactors"))
    place = ("site_id", *by)
    made.with_panel(judged.health(REACTOR, limits, place, f"$tag_site_id {alias}"))
    made.with_panel(judged.anomaly(REACTOR, place, f"$tag_site_id {alias}"))
    made.with_panel(judged.quality(REACTOR, place, f"$tag_site_id {alias}").span(24))
    made.with_panel(judged.alerts(REACTOR))
    return made


def _components() -> stat.Panel:
    query = latest({"score": 'last("anomaly_score")'}, "prediction", [ACTIVE, REACTOR], BY_COMPONENT)
    return _count(
        "Components heard of",
        f"Components that a model said something of within {NOW}.",
        query,
        '"score" >= 0',
        NEUTRAL,
    )


def _below(title: str, limit: float, color: str) -> stat.Panel:
    query = latest({"rul": 'last("rul")'}, "prediction", [ACTIVE, REACTOR], BY_COMPONENT)
    told = f"Components whose RUL was at or under {limit:g} cycles when it was last said, within {NOW}."
    return _count(title, told, query, f'"rul" <= {limit:g}', color)


def _anomalies() -> stat.Panel:
    query = latest(
        {"n": 'count("is_anomaly")'}, "prediction", [ACTIVE, '"is_anomaly" = true', REACTOR], BY_COMPONENT
    )
    told = f"Components of which the active model called a reading abnormal within {NOW}."
    return _count("Abnormal", told, query, '"n" > 0', ALARM)


def _count(title: str, description: str, inner: str, condition: str, color: str) -> stat.Panel:
    name = inner.split(' AS "')[1].split('"', maxsplit=1)[0]
    query = f'SELECT count("{name}") AS "components" FROM ({inner}) WHERE {condition}'
    panel = number(title, description, COUNT, [InfluxQuery(query, "$col")]).no_value("0").time_from(NOW)
    panel.thresholds(steps((None, NEUTRAL if color == NEUTRAL else GOOD), (1, color)))
    return panel.text_mode(common.BigValueTextMode.VALUE)
