"""What is marked on every time line: alerts, injected faults, model changes."""

from typing import Any

from grafana_foundation_sdk.builders.dashboard import AnnotationQuery
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as sdk

from dashboards.influxql import COMPONENT, INFLUXDB, REACTOR, InfluxQuery, model_changes, rows
from dashboards.looks import ALARM, NEUTRAL, SECOND

ANNOTATIONS_MAX = 500  # marks of a kind on a page; more could not be told apart


def alerts(where: str) -> AnnotationQuery:
    """Every transition of an alert."""
    query = rows(["message", "state", "severity", "kind", "component"], "alert", [where], ANNOTATIONS_MAX)
    return _annotation("Alerts", ALARM, query, "message", "component,severity,state,kind")


def faults(where: str) -> AnnotationQuery:
    """When a fault was injected into a simulated plant (`control-plane dashboards faults`)."""
    query = rows(["fault", "cycle", "component"], "fault", [where], ANNOTATIONS_MAX)
    return _annotation("Injected faults (simulated plants)", SECOND, query, "fault", "component")


def models(where: str) -> AnnotationQuery:
    """When another version of the model began to answer, forwards or back."""
    return _annotation("Model changes", NEUTRAL, model_changes(where), "version_now", "component")


def of_reactor() -> list[Builder[sdk.AnnotationQuery]]:
    """All three, for every component of the chosen reactors."""
    return [alerts(REACTOR), faults(REACTOR), models(REACTOR)]


def of_component() -> list[Builder[sdk.AnnotationQuery]]:
    """All three, for the chosen component."""
    return [alerts(COMPONENT), faults(COMPONENT), models(COMPONENT)]


def _annotation(name: str, color: str, query: str, text: str, tags: str) -> AnnotationQuery:
    target: Any = InfluxQuery(
        query, ref_id="Anno", form="table", fromAnnotations=True, textColumn=text, tagsColumn=tags
    )
    found = AnnotationQuery().name(name).datasource(INFLUXDB).enable(True).icon_color(color)
    found._internal.target = target  # the SDK knows the target of Grafana's own data source alone
    return found
