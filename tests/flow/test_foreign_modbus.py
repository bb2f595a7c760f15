"""The agent's source reads a Modbus server that is not ours: one on libmodbus, compiled here."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.sources import ModbusSource
from shared.listen import free_port
from shared.plant_config import Plant
from shared.reactor_config import parse_fleet
from shared.schemas import Quality, Telemetry

PROGRAM = Path(__file__).parents[1] / "support/libmodbus_server.c"
HEADERS = Path("/usr/include/modbus")
LIBMODBUS = pytest.mark.skipif(
    shutil.which("gcc") is None or not (HEADERS / "modbus.h").exists(),
    reason="no C compiler or no libmodbus headers; apt-get install gcc libc6-dev libmodbus-dev",
)


@contextmanager
def libmodbus_server(folder: Path) -> Iterator[int]:
    """Compiles and runs the server; gives its port."""
    program, port = folder / "server", free_port()
    flags = ["-Wall", "-Werror", "-I", str(HEADERS)]
    subprocess.run(["gcc", *flags, "-o", str(program), str(PROGRAM), "-lmodbus"], check=True)
    process = subprocess.Popen([str(program), str(port)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        yield port
    finally:
        process.kill()
        process.communicate()


async def polled(port: int, tags: dict[str, dict]) -> Telemetry:
    section = {"tags": {name: {"unit": "1", "register": register} for name, register in tags.items()}}
    fleet = parse_fleet({"TX01": {"R1": {"coolant_pump": section | {"cycle_register": None}}}}, "test")
    async with ModbusSource("TX01", Plant(port=port), fleet.components()) as source:
        (reading,) = await source.read()
        return reading


@LIBMODBUS
def test_source_reads_a_server_built_on_libmodbus(tmp_path):
    """Both tables, 125 registers a read, floats in all four orders; past the end a reason, no number."""
    words = {f"h{i}": {"address": i, "type": "uint16"} for i in range(100)}
    words |= {f"i{i}": {"address": i, "type": "uint16", "table": "input"} for i in range(100, 400)}
    floats = {
        order: {"address": 100 + 2 * i, "order": order}
        for i, order in enumerate(("ABCD", "DCBA", "BADC", "CDAB"))
    }
    with libmodbus_server(tmp_path) as port:
        reading = asyncio.run(polled(port, words | floats | {"past_the_end": {"address": 399}}))
    assert reading.quality == {"past_the_end": Quality.DEVICE_EXCEPTION}
    assert {order: reading.metrics.pop(order) for order in floats} == {
        "ABCD": 21.5,
        "DCBA": -3.25,
        "BADC": 1e6,
        "CDAB": 0.125,
    }
    expected = {f"h{i}": 7.0 * i for i in range(100)} | {f"i{i}": 11.0 * i for i in range(100, 400)}
    assert reading.metrics == expected
