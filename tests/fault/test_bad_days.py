"""The Modbus source on bad days: a number of its own tag and tick, or a reason; never anything else.

BAD_DAYS_SEED replays a run; BAD_DAYS_POLLS makes it longer (`make faults-long`: 100,000).
"""

import asyncio
import os
import secrets
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

from pymodbus.exceptions import ModbusException

from edge_agent.simulation.bad_days import BAD_SHARE, BadDay, BadDays
from edge_agent.simulation.modbus_server import PlantServer
from edge_agent.sources import ModbusSource
from edge_agent.sources.modbus_connection import ModbusConnection, ReadFailed
from shared.listen import free_port
from shared.plant_config import Plant
from shared.reactor_config import Component, parse_fleet
from shared.schemas import ComponentId, Quality, Telemetry

SEED = int(os.environ.get("BAD_DAYS_SEED", secrets.randbelow(2**32)))
POLLS = int(os.environ.get("BAD_DAYS_POLLS", "3000"))
LANES = 20  # plants side by side, so that their timeouts pass together
TIMEOUT_S = 0.05
DELAY_MAX_S = 1.5 * TIMEOUT_S
DOWN_MAX_S = 2 * TIMEOUT_S
WORSE_SHARE = 0.4  # of the requests, where two bad days in a row matter
BROKEN_POLLS, BROKEN_SEED = 1_000, 7  # of a reader that is broken on purpose
HOST = "127.0.0.1"
TYPES = ("float32", "uint32", "int32", "float64")
ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")


def components() -> dict[ComponentId, Component]:
    """Two units with the same holding map, so that an answer of the other one fits; one has inputs too."""
    holding = {f"t{i}": _tag("holding", 2 + 4 * i, i) for i in range(16)}
    inputs = {f"t{i}": _tag("input", 4 * i, i) for i in range(16, 20)}
    parts = {"pump_1": {"tags": holding}, "pump_2": {"tags": holding | inputs}}
    parts = {name: part | {"readable_gaps": _gaps(part["tags"])} for name, part in parts.items()}
    reactor = {name: {"type": "coolant_pump"} | part for name, part in parts.items()}
    return parse_fleet({"TX01": {"R1": reactor}}, "test").components()


def _tag(table: str, address: int, index: int) -> dict:
    register = {"table": table, "address": address, "type": TYPES[index % 4], "order": ORDERS[index // 4 % 4]}
    return {"unit": "1", "register": register}


def _gaps(tags: dict) -> list[dict]:
    """The two registers after each 32-bit value."""
    places = [tag["register"] for tag in tags.values()]
    return [
        {"table": p["table"], "address": p["address"] + 2, "count": 2}
        for p in places
        if p["type"] != "float64"
    ]


def expected(component: Component, tag: str, tick: int) -> float:
    """Different for every unit, tag and tick, and exact in a float32."""
    return float(1009 * tick + 101 * component.unit + int(tag[1:]))


@dataclass
class Tally:
    """What a run brought."""

    good: int = 0
    wrong: list[str] = field(default_factory=list)
    reasons: Counter[Quality] = field(default_factory=Counter)
    happened: Counter[BadDay] = field(default_factory=Counter)
    function_codes: Counter[int] = field(default_factory=Counter)

    def take(self, reading: Telemetry, component: Component, tick: int) -> None:
        """Check one poll's record against the register map and the poll's own tick."""
        told = [*reading.metrics, *reading.quality]
        if sorted(told) != sorted(component.tags):
            self.wrong.append(f"tick {tick} {reading.key}: tags {told}")
        if reading.cycle not in {None, tick}:
            self.wrong.append(f"tick {tick} {reading.key}: cycle {reading.cycle}")
        for tag, value in reading.metrics.items():
            self.good += 1
            right = expected(component, tag, tick)
            if value != right:
                age = (right - value) / 1009
                kind = f"{age:.0f} ticks old" if age == int(age) else "another register's"
                self.wrong.append(f"tick {tick} {reading.key} {tag}: {value}, not {right}: {kind}")
        self.reasons.update(reading.quality.values())


async def run(polls: int, seed: int) -> Tally:
    """`polls` polls over LANES plants, each behind a wire of its own with bad days from `seed` on."""
    print(f"BAD_DAYS_SEED={seed} replays this run")  # noqa: T201 - pytest shows it when the test fails
    tally, all_parts = Tally(), components()
    async with AsyncExitStack() as stack:
        lanes = []
        for number in range(LANES):
            # Every other site asks one question, on days worse still: what is late fits the next answer.
            worse = number % 2 == 0
            parts = dict(list(all_parts.items())[:1]) if worse else all_parts
            units = [component.unit for component in parts.values()]
            server = await stack.enter_async_context(PlantServer(HOST, free_port(), parts))
            address, own = (HOST, free_port()), (HOST, server.port)
            wire = BadDays(
                address,
                own,
                units,
                seed + number,
                share=WORSE_SHARE if worse else BAD_SHARE,
                delay_max_s=DELAY_MAX_S,
                down_max_s=DOWN_MAX_S,
            )
            await stack.enter_async_context(wire)
            plant = Plant(port=address[1], poll_period_s=1, timeout_s=TIMEOUT_S)
            source = await stack.enter_async_context(ModbusSource("TX01", plant, parts))
            lanes.append((server, wire, source))
        await asyncio.gather(*(poll(server, source, polls // LANES, tally) for server, _, source in lanes))
    for _, wire, _ in lanes:
        tally.happened += wire.happened
        tally.function_codes += wire.function_codes
    return tally


async def poll(server: PlantServer, source: ModbusSource, polls: int, tally: Tally) -> None:
    """Show a tick, poll it, check what was read."""
    for tick in range(1, polls + 1):
        for component_id, component in server.components.items():
            values = {tag: expected(component, tag, tick) for tag in component.tags}
            server.show(component_id, tick, values)
        for reading in await source.read():
            tally.take(reading, server.components[reading.component_id], tick)
        if Quality.DISCONNECTED in reading.quality.values():
            await asyncio.sleep(TIMEOUT_S)  # until the next poll


async def test_every_tag_has_its_own_number_of_this_tick_or_a_reason():
    """Polls with every bad day at random: misattributed 0, stale as good 0, every gap marked; only
    function codes 03 and 04 on the wire."""
    tally = await run(POLLS, SEED)
    assert tally.wrong == []
    assert tally.function_codes.keys() == {3, 4}
    assert tally.happened.keys() == set(BadDay)
    assert tally.reasons.keys() == {Quality.DEVICE_EXCEPTION, Quality.TIMEOUT, Quality.DISCONNECTED}
    assert tally.good > POLLS // 10  # on a busy machine most answers come too late


class TrustingConnection(ModbusConnection):
    """Takes for the answer whatever pymodbus takes for it."""

    async def ask(self, unit, block):
        client = await self._connected()
        self._function_code = 3 if block.table == "holding" else 4
        read = client.read_holding_registers if block.table == "holding" else client.read_input_registers
        try:
            reply = await read(block.address, count=block.count, device_id=unit)
        except ModbusException as error:
            self.close()
            raise ReadFailed(Quality.TIMEOUT) from error
        if reply.isError() or len(reply.body) != 1 + 2 * block.count:
            raise ReadFailed(Quality.DEVICE_EXCEPTION)
        return reply.body[1:]


class WritingConnection(ModbusConnection):
    """Writes a register when it has connected."""

    async def _connected(self):
        known, client = self._client, await super()._connected()
        if client is not known:
            self._function_code = 6
            with suppress(ModbusException):
                await client.write_register(2, 7, device_id=1)
        return client


async def test_source_that_trusts_transaction_0_is_found_out(monkeypatch):
    """The oracle can fail: an answer of a tick before, under transaction id 0, is seen as stale."""
    monkeypatch.setattr("edge_agent.sources.modbus.ModbusConnection", TrustingConnection)
    tally = await run(BROKEN_POLLS, BROKEN_SEED)
    assert any("ticks old" in wrong for wrong in tally.wrong)


async def test_source_that_writes_is_found_out(monkeypatch):
    """The record of the wire can fail: a write in a copy of the adapter is on it."""
    monkeypatch.setattr("edge_agent.sources.modbus.ModbusConnection", WritingConnection)
    tally = await run(LANES, BROKEN_SEED)
    assert 6 in tally.function_codes
