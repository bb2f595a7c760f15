"""A site's controllers over Modbus TCP, read only: function codes 03 and 04 and nothing else."""

import asyncio
import math
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Self

from edge_agent.sources.base import judged
from edge_agent.sources.modbus_connection import ILLEGAL_DATA_ADDRESS, ModbusConnection, ReadFailed
from edge_agent.sources.plan import CYCLE, Block, plan
from shared.modbus_registers import decode
from shared.reactor_config import Component, Plant
from shared.schemas import ComponentId, Quality, Telemetry, utc_now

_Answers = dict[str, float | Quality]


class ModbusSource:
    """Reads every component of a plant over one connection, one request at a time.

    A block that the device refuses with exception 02 is asked again in halves, so that only the bad
    address is bad. A component that needs several requests is read at several moments; one that
    fits one request is a single moment of its device. Source time is when the last answer arrived.
    """

    def __init__(self, site_id: str, plant: Plant, components: Mapping[ComponentId, Component]) -> None:
        self.site_id = site_id
        self._components = dict(components)
        self._plans = {component_id: plan(component) for component_id, component in components.items()}
        self._connection = ModbusConnection(plant.host, plant.port, plant.timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        await asyncio.sleep(0)  # lets the transport finish closing

    async def read(self) -> list[Telemetry]:
        """One poll. It raises for no state of the plant; what could not be read has bad quality.

        Takes at most `timeout_s` a request and as much to reconnect; once a poll fails to connect,
        its remaining components are DISCONNECTED at once.
        """
        self._connection.begin_poll()
        return [await self._read(component_id) for component_id in self._components]

    async def _read(self, component_id: ComponentId) -> Telemetry:
        component = self._components[component_id]
        answers: _Answers = {}
        arrived: datetime | None = None
        for block in self._plans[component_id]:
            found, at = await self._read_block(component.unit, block)
            answers |= found
            arrived = at or arrived
        cycle = _counter(answers.pop(CYCLE, math.nan))
        return judged(component_id, component, arrived or utc_now(), cycle, answers)

    async def _read_block(self, unit: int, block: Block) -> tuple[_Answers, datetime | None]:
        """The block's numbers or their qualities, and when its last answer arrived."""
        try:
            registers = await self._connection.ask(unit, block)
        except ReadFailed as failure:
            if failure.exception_code == ILLEGAL_DATA_ADDRESS and len(block.fields) > 1:
                low, high = block.halves()
                first, first_at = await self._read_block(unit, low)
                second, second_at = await self._read_block(unit, high)
                return first | second, second_at or first_at
            return {field.name: failure.quality for field in block.fields}, None
        arrived = utc_now()
        return {
            field.name: decode(field.register, block.words(field, registers)) for field in block.fields
        }, arrived


def _counter(value: float | Quality) -> int | None:
    """The device's cycle; None when it could not be read or is no count."""
    if isinstance(value, Quality) or not math.isfinite(value) or value < 0:
        return None
    return int(value)
