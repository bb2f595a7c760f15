"""The plant's controllers: a real Modbus TCP server (pymodbus), one unit a component, read only."""

import logging
import math
from collections.abc import Mapping
from itertools import groupby
from types import TracebackType
from typing import Final, Literal, Self

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from pymodbus.simulator.simdevice import SimAction

from shared.errors import ConfigError, Retryable
from shared.listen import require_loopback
from shared.modbus_registers import encode
from shared.reactor_config import Component, Gap, Register
from shared.schemas import ComponentId

Table = Literal["holding", "input"]
_TABLE_BY_FUNCTION: Final[dict[int, Table]] = {3: "holding", 4: "input"}
_ANY_OTHER_UNIT = 0  # pymodbus: answers for every unit that is not defined

# What pymodbus would write to its log (a taken port), this module raises.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


class PlantServer:
    """Serves what `show` was last given; all registers of a unit change together.

    An address without a tag answers exception 02 (in a readable gap 0), a write or coil request 01,
    more than `registers_per_read_max` at once 03, and a unit that has shown nothing yet 06 (busy): it
    invents no number.
    """

    protocol = "Modbus TCP"

    def __init__(self, host: str, port: int, components: Mapping[ComponentId, Component]) -> None:
        self.host, self.port = host, port
        self.components = dict(components)
        self._images: dict[ComponentId, dict[Table, list[int]]] = {}
        self._server: ModbusTcpServer | None = None

    async def __aenter__(self) -> Self:
        """Listen; Retryable when the port is taken, ConfigError unless the host is loopback."""
        require_loopback(self.host, "plant.host")
        devices = [self._device(component_id) for component_id in self.components]
        devices.append(SimDevice(_ANY_OTHER_UNIT, _NOWHERE))
        self._server = ModbusTcpServer(devices, address=(self.host, self.port))
        try:
            await self._server.serve_forever(background=True)
        except RuntimeError as error:
            raise Retryable(
                f"{self.host}:{self.port} cannot be listened on, most likely because another program has it; "
                "stop that one or choose another plant.port"
            ) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            await self._server.shutdown()  # type: ignore[no-untyped-call]

    def show(self, component_id: ComponentId, cycle: int, values: Mapping[str, float]) -> None:
        """Replace what a component's registers hold. A tag left out is NaN.

        ConfigError when a register cannot hold its number (see `plant.check_registers`).
        """
        component = self.components[component_id]
        spans = {table: _span(places) for table, places in _by_table(component).items()}
        image = {table: [0] * length for table, (_, length) in spans.items()}
        shown = {name: (tag.register_, values.get(name, math.nan)) for name, tag in component.tags.items()}
        if component.cycle_register is not None:
            shown["cycle_register"] = component.cycle_register, cycle
        for name, (register, value) in shown.items():
            place = register.address - spans[register.table][0]
            image[register.table][place : place + register.count] = _words(register, value, name)
        self._images[component_id] = image

    def _device(self, component_id: ComponentId) -> SimDevice:
        component = self.components[component_id]
        tables = _by_table(component)
        blocks = (*_NOWHERE[:2], _sim_data(tables["holding"]), _sim_data(tables["input"]))
        return SimDevice(component.unit, blocks, action=self._action(component_id))

    def _action(self, component_id: ComponentId) -> SimAction:
        """pymodbus calls this before it answers; the registers are brought up to date in one step."""

        most = self.components[component_id].registers_per_read_max

        async def bring_up_to_date(
            function: int,
            _start: int,
            _address: int,
            count: int,
            registers: list[int],
            _values: list[int] | list[bool] | None,
        ) -> ExcCodes | None:
            table = _TABLE_BY_FUNCTION.get(function)
            if table is None:
                return ExcCodes.ILLEGAL_FUNCTION
            if count > most:
                return ExcCodes.ILLEGAL_VALUE
            image = self._images.get(component_id)
            if image is None:
                return ExcCodes.DEVICE_BUSY
            registers[: len(image[table])] = image[table]
            return None

        return bring_up_to_date


def _by_table(component: Component) -> dict[Table, list[Register | Gap]]:
    """Everything that a component's device answers."""
    places: list[Register | Gap] = [tag.register_ for tag in component.tags.values()]
    places += component.readable_gaps
    if component.cycle_register is not None:
        places.append(component.cycle_register)
    return {
        table: [place for place in places if place.table == table] for table in _TABLE_BY_FUNCTION.values()
    }


def _span(places: list[Register | Gap]) -> tuple[int, int]:
    """The first address of a table and how many registers it reaches over, holes included."""
    if not places:
        return 0, 0
    first = min(place.address for place in places)
    return first, max(place.address + place.count for place in places) - first


def _words(register: Register, value: float, name: str) -> tuple[int, ...]:
    try:
        return encode(register, value)
    except ValueError as error:
        raise ConfigError(name, [f"{error}; give the register another type or scale"]) from error


def _sim_data(places: list[Register | Gap]) -> list[SimData]:
    """Registers that exist; what lies between them stays invalid and answers exception 02."""
    addresses = sorted(a for place in places for a in range(place.address, place.address + place.count))
    runs = [
        [address for _, address in run]
        for _, run in groupby(enumerate(addresses), key=lambda pair: pair[1] - pair[0])
    ]
    data = [SimData(run[0], values=[0] * len(run), datatype=DataType.REGISTERS) for run in runs]
    return data or [SimData(0)]


# pymodbus wants something in each of the four tables: (coils, discrete inputs, holding, input).
_NOWHERE = (
    [SimData(0, values=[False] * 16, datatype=DataType.BITS)],
    [SimData(0, values=[False] * 16, datatype=DataType.BITS)],
    [SimData(0)],
    [SimData(0)],
)
