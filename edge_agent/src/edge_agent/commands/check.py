"""`edge-agent check`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_agent.sources.plan import CYCLE, plan
from shared import sparkplug
from shared.errors import ConfigError
from shared.opcua_certificates import load_credentials
from shared.opcua_nodes import COUNTER
from shared.reactor_config import Component, Site, load_fleet
from shared.schemas import ComponentId

ConfigOption = Annotated[Path, typer.Option(envvar="EDGE_CONFIG", help="the fleet: reactor_config.yaml")]
SiteOption = Annotated[
    str, typer.Option(envvar="EDGE_SITE", help="id of the site in the file, for example TX01")
]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]


def load_site(config: Path, site: str) -> tuple[Site, dict[ComponentId, Component]]:
    """The site's section and its components; ConfigError when the file is wrong or lacks the site."""
    fleet = load_fleet(config)
    if site not in fleet.sites:
        known = ", ".join(fleet.sites)
        raise ConfigError(str(config), [f"site {site!r} is not in the file; its sites are {known}"])
    components = fleet.components(site)
    if not components:
        raise ConfigError(str(config), [f"{site}: has no component; for example R1: {{coolant_pump: {{}}}}"])
    return fleet.sites[site], components


def check(config: ConfigOption, site: SiteOption, as_json: JsonOption = False) -> None:
    """Validate a configuration and show how the site's devices would be read; reads nothing.

    Exits 78 when the file is wrong, with every problem and its place in the file.

    Example: edge-agent check --config reactor_config.yaml --site TX01
    """
    section, components = load_site(config, site)
    plant = section.plant
    if plant.secured is not None:
        load_credentials(plant.secured)
    describe = {"modbus_tcp": _described, "opc_ua": _subscribed, "sparkplug_b": _followed}[plant.protocol]
    plans = [describe(component_id, component) for component_id, component in components.items()]
    if as_json:
        print(
            json.dumps({"site": site, "plant": plant.model_dump(mode="json"), "components": plans}, indent=2)
        )
        return
    print(
        f"{site}: {plant.protocol} {plant.host}:{plant.port}, "
        f"polled every {plant.poll_period_s:g} s, timeout {plant.timeout_s:g} s"
        + (f", {plant.security.policy} security" if plant.security is not None else "")
    )
    for entry in plans:
        unit = f" (unit {entry['unit']})" if "unit" in entry else ""
        print(f"  {entry['component']}{unit}: {entry['summary']}")
        for request in entry["requests"]:
            print(f"    {request['request']}: {', '.join(request['fields'])}")


def _described(component_id: ComponentId, component: Component) -> dict[str, Any]:
    blocks = plan(component)
    registers = sum(block.count for block in blocks)
    return {
        "component": component_id.key,
        "unit": component.unit,
        "summary": f"{len(blocks)} request{'s' * (len(blocks) != 1)} touching {registers} registers",
        "requests": [
            {
                "request": block.request,
                "registers": block.count,
                "fields": ["cycle counter" if f.name == CYCLE else f.name for f in block.fields],
            }
            for block in blocks
        ],
    }


def _subscribed(component_id: ComponentId, component: Component) -> dict[str, Any]:
    """OPC UA: what one subscription of the site holds of this component; each poll reads the counter too."""
    variables = component.node_ids(component_id)
    read = "; the cycle counter is read at each poll" if COUNTER in variables else ""
    return {
        "component": component_id.key,
        "summary": f"{len(variables)} variables subscribed{read}",
        "requests": [
            {"request": node, "fields": ["cycle counter" if name == COUNTER else name]}
            for name, node in variables.items()
        ],
    }


def _followed(component_id: ComponentId, component: Component) -> dict[str, Any]:
    """Sparkplug B: the device that is followed; its node's births, deaths and data are subscribed."""
    metrics = [*([sparkplug.CYCLE] if component.cycle_register is not None else []), *component.tags]
    device = sparkplug.device(component_id)
    return {
        "component": component_id.key,
        "summary": f"device {device} of node {component_id.site_id}, {len(metrics)} metrics",
        "requests": [],
    }
