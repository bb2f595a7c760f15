"""What every dashboard is made of: its frame, and the facts of the fleet that go into it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DashboardLinkType

from dashboards.judged import Thresholds
from shared.reactor_config import Component, FleetConfig, parse_fleet
from shared.schemas import ComponentId

TAG = "pm-stack-smr"  # by which the dashboards find each other
REFRESH, RANGE = "10s", "now-6h"
FLEET, REACTOR, PIPELINE = "pm-fleet-health", "pm-reactor-overview", "pm-pipeline"
REACTOR_LINK = (  # of a table's row, whose columns it reads
    f"/d/{REACTOR}?var-site=${{__data.fields.Site}}&var-reactor=${{__data.fields.Reactor}}"
    "&${__url_time_range}"
)


@dataclass(frozen=True)
class Page:
    """A dashboard and the folder that it stands in."""

    folder: str
    file_name: str
    dashboard: Dashboard


@dataclass(frozen=True)
class ComponentType:
    """A component type: its tags and limits as the fleet's first has them, else the product's."""

    name: str
    component: Component
    names: Sequence[str]  # components of this type in the fleet
    limits: Thresholds  # the strictest of them

    @property
    def title(self) -> str:
        """As a person writes it."""
        return self.name.replace("_", " ")


def page(uid: str, title: str, description: str) -> Dashboard:
    """The frame: links between the dashboards, UTC, one cursor over all panels."""
    link = (
        DashboardLink("All dashboards")
        .type(DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(True)
        .keep_time(True)
        .include_vars(True)
    )
    return (
        Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .timezone("utc")
        .refresh(REFRESH)
        .time(RANGE, "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(link)
    )


def strictest(components: Mapping[ComponentId, Component]) -> Thresholds:
    """The limits at which the first of them warns and alarms."""
    limits = [part.thresholds for part in components.values()]
    return Thresholds(max(t.rul_warning for t in limits), max(t.rul_alarm for t in limits))


def component_types(fleet: FleetConfig, product: Sequence[str]) -> list[ComponentType]:
    """Every type of the product and of the fleet, in that order."""
    found = fleet.components()
    names = dict.fromkeys([*product, *(part.type for part in found.values())])
    return [_component_type(name, found) for name in names]


def _component_type(name: str, fleet: Mapping[ComponentId, Component]) -> ComponentType:
    mine = {key: part for key, part in fleet.items() if part.type == name}
    names = dict.fromkeys([name, *(key.component for key in mine)])
    mine = mine or parse_fleet({"ANY": {"R": {name: {}}}}, name).components()
    return ComponentType(name, next(iter(mine.values())), [re.escape(n) for n in names], strictest(mine))
