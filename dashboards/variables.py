"""What is chosen at the top of a dashboard: site, then its reactors, then their components."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders.dashboard import QueryVariable
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from dashboards.influxql import INFLUXDB, REACTOR, SITE, tag_values

ALL = VariableOption(text=["All"], value=["$__all"], selected=True)


def site(several: bool = False) -> QueryVariable:
    """Every site that has ever sent a reading."""
    return _variable("site", "Site", "Site", tag_values("site_id"), several)


def reactor(several: bool = False) -> QueryVariable:
    """The chosen sites' reactors."""
    return _variable(
        "reactor", "Reactor", "Reactor of the chosen site", tag_values("reactor_id", SITE), several
    )


def component(several: bool = False, names: Sequence[str] = ()) -> QueryVariable:
    """The chosen reactors' components; of `names` alone, where there are any."""
    found = _variable(
        "component", "Component", "Component of the chosen reactor", tag_values("component", REACTOR), several
    )
    return found.regex(f"/^({'|'.join(names)})$/") if names else found


def instance(source: DataSourceRef) -> QueryVariable:
    """The agents that Prometheus scrapes."""
    query = {"qryType": 1, "query": "label_values(edge_outbox_rows,instance)", "refId": "instance"}
    return _variable(
        "instance", "Agent", "Edge agent, by the address that Prometheus scrapes", query, True, source
    )


def _variable(
    name: str,
    label: str,
    description: str,
    query: str | dict[str, object],
    several: bool,
    source: DataSourceRef = INFLUXDB,
) -> QueryVariable:
    found = (
        QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(source)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NATURAL_ASC)
        .multi(several)
        .include_all(several)
        .allow_custom_value(False)
    )
    return found.current(ALL) if several else found
