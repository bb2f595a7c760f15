"""Every generated file: its path in the repository and what stands in it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards import provisioning
from dashboards.component_detail import component_detail
from dashboards.fleet_health import fleet_health
from dashboards.pages import Page, component_types, strictest
from dashboards.pipeline import pipeline
from dashboards.reactor_overview import reactor_overview
from dashboards.rules import rules
from dashboards.single import single
from shared.config_defaults import builtin_types
from shared.reactor_config import FleetConfig

GRAFANA = Path("infra/grafana")
SINGLE = Path("control_plane/src/control_plane/dashboards/grafana_config.json")


def pages(fleet: FleetConfig) -> list[Page]:
    """The dashboards, in the order that a person reads them."""
    limits = strictest(fleet.components())
    found = [
        Page("Fleet", "fleet-health.json", fleet_health(limits)),
        Page("Fleet", "reactor-overview.json", reactor_overview(limits)),
    ]
    found += [
        Page("Components", f"{kind.name.replace('_', '-')}.json", component_detail(kind))
        for kind in component_types(fleet, list(builtin_types()))
    ]
    return [*found, Page("Pipeline", "pipeline.json", pipeline())]


def generated(fleet: FleetConfig) -> Mapping[Path, str]:
    """Text by path, relative to the repository's root."""
    made: dict[Path, str] = {}
    documents = []
    for page in pages(fleet):
        document = _numbered(json.loads(json.dumps(page.dashboard.build(), cls=JSONEncoder)))
        documents.append(document)
        made[GRAFANA / "dashboards" / page.folder / page.file_name] = _as_json(document)
    at = GRAFANA / "provisioning"
    made[at / "datasources/pm-stack-smr.yaml"] = provisioning.as_yaml(provisioning.data_sources())
    made[at / "dashboards/pm-stack-smr.yaml"] = provisioning.as_yaml(provisioning.folders())
    made[at / "alerting/rules.yaml"] = provisioning.as_yaml(provisioning.alert_rules(rules(fleet)))
    made[at / "alerting/contact-points.yaml"] = provisioning.as_yaml(provisioning.contact_points())
    made[at / "alerting/policies.yaml"] = provisioning.as_yaml(provisioning.policies())
    made[SINGLE] = _as_json(_numbered(single(documents)))
    return made


def _numbered(dashboard: dict[str, Any]) -> dict[str, Any]:
    """Panels with numbers of their own, which Grafana would else give them anew at each load."""
    number = 0
    for panel in dashboard["panels"]:
        for each in (panel, *panel.get("panels", ())):
            number += 1
            each["id"] = number
    return dashboard


def _as_json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
