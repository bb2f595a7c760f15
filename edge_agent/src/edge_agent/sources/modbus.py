"""A site's controllers over Modbus TCP, read only: function codes 03 and 04 and nothing else."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Self

from edge_agent.sources.base import judged
from edge_agent.sources.modbus_connection import ILLEGAL_DATA_ADDRESS, ModbusConnection, ReadFailed
from edge_agent.sources.modbus_layout import Layout
from edge_agent.sources.plan import CYCLE, Block, Field, plan
from shared.plant_config import Plant
from shared.reactor_config import Component
from shared.schemas import ComponentId, Quality, Telemetry, utc_now


class _Device:
    """One component as it is read: its requests, and where their answers go."""

    def __init__(self, component: Component) -> None:
        self.component = component
        self.blocks = plan(component)
        self.layout = Layout(component, self.blocks)


@dataclass(slots=True)
class _Answers:
    """What one poll of a component brought: bytes, or for a field the reason why there are none."""

    data: bytearray
    failed: dict[str, Quality] = field(default_factory=dict)
    in_halves: bool = False
    arrived: datetime | None = None


class ModbusSource:
    """Reads every component of a plant over one connection, one request at a time.

    A block that the device refuses with exception 02 is asked again in halves, so that only the bad
    address is bad; where a new cycle began meanwhile, all is STALE. A component that needs several
    requests is read at several moments; one that fits one request is a single moment of its device.
    Source time is when the last answer arrived.
    """

    def __init__(self, site_id: str, plant: Plant, components: Mapping[ComponentId, Component]) -> None:
        self.site_id = site_id
        self._devices = {component_id: _Device(component) for component_id, component in components.items()}
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
        return [await self._read(component_id, device) for component_id, device in self._devices.items()]

    async def _read(self, component_id: ComponentId, device: _Device) -> Telemetry:
        answers = _Answers(bytearray(device.layout.size))
        for block, start in zip(device.blocks, device.layout.starts, strict=True):
            await self._read_block(device.component.unit, block, start, answers)
        if answers.in_halves:
            await self._check_cycle(device, answers)
        return _reading(component_id, device, answers)

    async def _read_block(self, unit: int, block: Block, start: int, answers: _Answers) -> None:
        """Put the block's registers at byte `start`, or its fields among the failed ones."""
        try:
            registers = await self._connection.ask(unit, block)
        except ReadFailed as failure:
            if failure.exception_code == ILLEGAL_DATA_ADDRESS and len(block.fields) > 1:
                answers.in_halves = True
                low, high = block.halves()
                await self._read_block(unit, low, start, answers)
                await self._read_block(unit, high, start + 2 * (high.address - block.address), answers)
            else:
                answers.failed |= {field.name: failure.quality for field in block.fields}
            return
        answers.data[start : start + len(registers)] = registers
        answers.arrived = utc_now()

    async def _check_cycle(self, device: _Device, answers: _Answers) -> None:
        """Halves come at two moments: when a cycle began between them, no number is known to be of either."""
        register, cycle = device.component.cycle_register, _cycle(device, answers)
        if register is None or cycle is None:
            return
        counter, place = Block((Field(CYCLE, register),)), device.layout.place(CYCLE)
        await self._read_block(device.component.unit, counter, place, answers)
        if _cycle(device, answers) != cycle:
            why = answers.failed.get(CYCLE, Quality.STALE)
            answers.failed |= dict.fromkeys((CYCLE, *device.component.tags), why)


def _reading(component_id: ComponentId, device: _Device, answers: _Answers) -> Telemetry:
    layout, arrived = device.layout, answers.arrived or utc_now()
    numbers = layout.numbers(answers.data)
    named = dict(zip(layout.names, numbers.tolist(), strict=True))
    cycle = _cycle(device, answers)
    if answers.failed or not layout.all_good(numbers):
        return judged(component_id, device.component, arrived, cycle, named | answers.failed)
    return Telemetry(timestamp=arrived, **component_id._asdict(), cycle=cycle, metrics=named)


def _cycle(device: _Device, answers: _Answers) -> int | None:
    """The device's cycle; None when it has none, it could not be read or is no count."""
    register = device.component.cycle_register
    if register is None or CYCLE in answers.failed:
        return None
    count = device.layout.number(CYCLE, register, answers.data)
    return int(count) if math.isfinite(count) and count >= 0 else None
