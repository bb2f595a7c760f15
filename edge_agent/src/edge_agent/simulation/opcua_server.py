"""The plant's controllers: a real OPC UA server (asyncua), one object a component, read only."""

import asyncio
import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from asyncua import Node, Server, ua

from edge_agent.simulation.opcua_server_security import secure_server
from shared.errors import ConfigError, Retryable
from shared.listen import require_loopback
from shared.modbus_registers import as_read
from shared.opcua_nodes import COUNTER, NAMESPACE_URI, object_identifier, parse_node
from shared.plant_config import OpcUaSecurity
from shared.reactor_config import Component, Tag
from shared.schemas import ComponentId, utc_now

UNITS_URI = "http://www.opcfoundation.org/UA/units/un/cefact"  # OPC UA part 8, section 5.6.4.3
UNIT_ID_NONE = -1  # the same section: the unit is given by its text alone

_Values = dict[ua.NodeId, ua.DataValue]

# What asyncua would write to its log (a taken port), this module raises; it logs some at CRITICAL.
logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)


class OpcUaPlantServer:
    """Serves what `show` was last given; all variables of a component change together.

    They carry the same SourceTimestamp, and numbers as the tag's register would hold them, so that a
    plant is the same to the last bit whatever its protocol. A tag without a finite number is
    BadSensorFailure; a component that has shown nothing yet is BadWaitingForInitialData. Nobody may write.
    """

    protocol = "OPC UA"

    def __init__(
        self,
        host: str,
        port: int,
        components: Mapping[ComponentId, Component],
        security: OpcUaSecurity | None = None,
        key: Path | None = None,
    ) -> None:
        """`security` is the agent's own section; `key` belongs to one of the certificates that it trusts."""
        self.host, self.port = host, port
        self._security, self._key = security, key
        self.components = dict(components)
        self._namespace = 0
        self._node_ids: dict[tuple[ComponentId, str], ua.NodeId] = {}
        self._shown: dict[ComponentId, _Values] = {}
        self._changed = asyncio.Event()
        self._server: Server | None = None
        self._writing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Listen; Retryable when the port is taken, ConfigError unless the host is loopback."""
        require_loopback(self.host, "plant.host")
        server = await self._built()
        try:
            await server.start()
        except OSError as error:
            raise Retryable(
                f"{self.host}:{self.port} cannot be listened on, most likely because another program has it; "
                "stop that one or choose another plant.port"
            ) from error
        self._server = server
        self._writing = asyncio.create_task(self._write_what_is_shown(server))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writing is not None:
            self._writing.cancel()
            with suppress(asyncio.CancelledError):
                await self._writing
        if self._server is not None:
            await self._server.stop()

    def show(self, component_id: ComponentId, cycle: int, values: Mapping[str, float]) -> None:
        """Replace what a component's variables hold. A tag left out is NaN.

        ConfigError when the tag's register could not hold its number (see `plant.check_registers`).
        """
        component, moment = self.components[component_id], utc_now()
        shown: _Values = {}
        if (component_id, COUNTER) in self._node_ids:
            counter = ua.Variant(cycle, ua.VariantType.UInt64)
            shown[self._node_id(component_id, COUNTER)] = ua.DataValue(counter, SourceTimestamp=moment)
        for name, tag in component.tags.items():
            value = _data_value(name, tag, values.get(name, math.nan), moment)
            shown[self._node_id(component_id, name)] = value
        self._shown[component_id] = shown
        self._changed.set()

    async def _write_what_is_shown(self, server: Server) -> None:
        """asyncua suspends nowhere within these writes: no reader sees a component half changed."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            shown, self._shown = self._shown, {}
            for values in shown.values():
                for node_id, value in values.items():
                    await server.write_attribute_value(node_id, value)

    async def _built(self) -> Server:
        server = Server()
        server.set_server_name("pm-stack-smr plant")
        server.set_endpoint(f"opc.tcp://{self.host}:{self.port}/")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        server.set_identity_tokens([ua.AnonymousIdentityToken])
        server.allow_remote_admin(False)
        server.disable_clock()
        await server.init()
        if self._security is not None:
            await secure_server(server, self._security, self._key)
        self._namespace = await server.register_namespace(NAMESPACE_URI)
        for component_id in self.components:
            await self._name(server, component_id)
            await self._add(server, component_id)
        return server

    async def _name(self, server: Server, component_id: ComponentId) -> None:
        """The node ids of a component's variables: its tags' own where they name one, else ours."""
        for name, text in self.components[component_id].node_ids(component_id).items():
            node = parse_node(text)
            index = await server.register_namespace(node.namespace_uri)
            self._node_ids[component_id, name] = ua.NodeId(node.identifier, index)

    async def _add(self, server: Server, component_id: ComponentId) -> None:
        component, began = self.components[component_id], utc_now()
        identifier = object_identifier(component_id)
        parent = await server.nodes.objects.add_object(
            ua.NodeId(identifier, self._namespace), ua.QualifiedName(identifier, self._namespace)
        )
        if (component_id, COUNTER) in self._node_ids:
            await self._add_variable(parent, component_id, COUNTER, ua.VariantType.UInt64, began)
        for name, tag in component.tags.items():
            variable = await self._add_variable(parent, component_id, name, ua.VariantType.Double, began)
            await self._describe(variable, tag)

    async def _add_variable(
        self,
        parent: Node,
        component_id: ComponentId,
        name: str,
        kind: ua.VariantType,
        began: datetime,
    ) -> Node:
        """A variable that nobody may write and that waits for its first value."""
        node_id = self._node_id(component_id, name)
        browse_name = ua.QualifiedName(name, self._namespace)
        variable = await parent.add_variable(node_id, browse_name, 0, kind)
        waiting = ua.StatusCode(ua.StatusCodes.BadWaitingForInitialData)
        await variable.write_value(ua.DataValue(StatusCode=waiting, SourceTimestamp=began))
        return variable

    async def _describe(self, variable: Node, tag: Tag) -> None:
        """Description, EngineeringUnits and EURange (OPC UA part 8, section 5.3.2.3)."""
        text = ua.DataValue(ua.Variant(ua.LocalizedText(tag.description)))
        await variable.write_attribute(ua.AttributeIds.Description, text)
        unit = ua.EUInformation(
            UNITS_URI, UNIT_ID_NONE, ua.LocalizedText(tag.unit), ua.LocalizedText(tag.unit)
        )
        properties = {"EngineeringUnits": unit}
        if tag.range is not None:
            properties["EURange"] = ua.Range(*tag.range)
        for name, value in properties.items():
            node_id = ua.NodeId(f"{variable.nodeid.to_string()}#{name}", self._namespace)
            await variable.add_property(node_id, ua.QualifiedName(name, 0), value)

    def _node_id(self, component_id: ComponentId, name: str) -> ua.NodeId:
        return self._node_ids[component_id, name]


def _data_value(name: str, tag: Tag, value: float, moment: datetime) -> ua.DataValue:
    if not math.isfinite(value):
        failed = ua.StatusCode(ua.StatusCodes.BadSensorFailure)
        return ua.DataValue(StatusCode=failed, SourceTimestamp=moment)
    try:
        held = as_read(tag.register_, value)
    except ValueError as error:
        raise ConfigError(name, [f"{error}; give the register another type or scale"]) from error
    return ua.DataValue(ua.Variant(held, ua.VariantType.Double), SourceTimestamp=moment)
