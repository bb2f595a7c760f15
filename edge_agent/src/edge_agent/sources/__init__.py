"""A plant's controllers -> readings: value, quality, source time; one adapter a protocol.

Enters: what a device sends, registers or variables. Leaves: one `Telemetry` per component and poll,
always, good or bad. Never: a write towards the plant, a number for a tag that could not be read.
"""

from collections.abc import Mapping

from edge_agent.sources.base import Source
from edge_agent.sources.freshness import FreshnessGuard
from edge_agent.sources.mock import MockModbusAdapter
from edge_agent.sources.modbus import ModbusSource
from edge_agent.sources.plan import plan
from shared.plant_config import Plant
from shared.reactor_config import Component
from shared.schemas import ComponentId

__all__ = ["FreshnessGuard", "MockModbusAdapter", "ModbusSource", "Source", "read_s_max", "source_for"]


def source_for(site_id: str, plant: Plant, components: Mapping[ComponentId, Component]) -> Source:
    """The source that speaks the plant's protocol."""
    match plant.protocol:
        case "modbus_tcp":
            return ModbusSource(site_id, plant, components)
        case "opc_ua":
            from edge_agent.sources.opcua import OpcUaSource  # only its sites load asyncua

            return OpcUaSource(site_id, plant, components)
        case "sparkplug_b":
            from edge_agent.sources.sparkplug import SparkplugSource  # only its sites load paho

            return SparkplugSource(site_id, plant, components)


def read_s_max(plant: Plant, components: Mapping[ComponentId, Component]) -> float:
    """Seconds that one poll takes at most, of a plant that takes every request and answers none."""
    match plant.protocol:
        case "modbus_tcp":  # each request may have to connect first
            return 2 * plant.timeout_s * sum(len(plan(component)) for component in components.values())
        case "opc_ua":  # to connect, to ask, to wait for what is published, to disconnect
            return 4 * plant.timeout_s
        case "sparkplug_b":
            return 0.0
