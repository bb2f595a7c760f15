"""The plant's server, whatever its protocol."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from edge_agent.simulation.modbus_server import PlantServer
from shared.plant_config import Plant
from shared.reactor_config import Component
from shared.schemas import ComponentId


class ServesPlant(Protocol):
    """Listens on loopback while it is entered, and shows each component's newest cycle, read only."""

    protocol: str  # for people
    host: str
    port: int
    components: dict[ComponentId, Component]

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, component_id: ComponentId, cycle: int, values: Mapping[str, float]) -> None:
        """Replace what a component shows; a tag left out, or NaN, has no number."""
        ...


def plant_server(
    site_id: str, plant: Plant, components: Mapping[ComponentId, Component], key: Path | None = None
) -> ServesPlant:
    """The server that speaks the plant's protocol; it does not listen yet. `key` is a secured one's."""
    match plant.protocol:
        case "modbus_tcp":
            return PlantServer(plant.host, plant.port, components)
        case "opc_ua":
            from edge_agent.simulation.opcua_server import OpcUaPlantServer  # only its sites load asyncua

            return OpcUaPlantServer(plant.host, plant.port, components, plant.secured, key)
        case "sparkplug_b":
            from edge_agent.simulation.sparkplug_plant import SparkplugPlant  # only its sites load paho

            return SparkplugPlant(site_id, plant, components)
