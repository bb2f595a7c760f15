"""`edge-agent fault` and `edge-agent plant --faults` as processes: injected once, kept over kill -9."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.simulation.plant import PLANT_SEED, simulated
from shared.listen import free_port
from shared.reactor_config import load_fleet

DEADLINE_S = 60.0
COMMAND = "import typer; from edge_agent.commands.{0} import {0}; typer.run({0})"


@contextmanager
def plant(*options: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", COMMAND.format("plant"), *options])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def entries(ledger: Path) -> list[dict]:
    text = ledger.read_text() if ledger.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def wait_until(ledger: Path, cycle: int) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not any(entry["cycle"] >= cycle for entry in entries(ledger)):
        assert time.monotonic() < end_s, f"no cycle {cycle} in {DEADLINE_S} s"
        time.sleep(0.02)


def test_fault_injected_into_a_running_plant_survives_kill_9(tmp_path):
    """The command names the cycle; from it on, over a kill, the ledger is that of a fault in the file."""
    config, ledger, faults = (tmp_path / name for name in ("fleet.yaml", "ledger.jsonl", "faults.jsonl"))
    plant_of = f"{{port: {free_port()}, poll_period_s: 0.1, timeout_s: 0.1}}"
    config.write_text(f"TX01: {{plant: {plant_of}, R1: {{coolant_pump: {{}}}}}}")
    options = ["--config", str(config), "--faults", str(faults)]
    served = [*options, "--site", "TX01", "--ledger", str(ledger)]
    with plant(*served):
        wait_until(ledger, 2)
        place = ["--site-id", "TX01", "--reactor-id", "R1", "--component", "coolant_pump"]
        wanted = ["--type", "sensor_bias", "--tag", "flow_rate", "--size", "0.5"]
        command = [sys.executable, "-c", COMMAND.format("fault"), *options, *place, *wanted]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE_S).stdout
        begin = int(said.rpartition(" ")[2])
        wait_until(ledger, begin + 2)
    last = entries(ledger)[-1]["cycle"]
    with plant(*served):
        wait_until(ledger, last + 3)
    config.write_text(
        f"TX01: {{R1: {{coolant_pump: {{faults: [{{type: sensor_bias, at_cycle: {begin}, "
        "tag: flow_rate, size: 0.5}]}}}"
    )
    expected = simulated(load_fleet(config).components(), PLANT_SEED)
    for number, entry in enumerate(entries(ledger)):
        (row,) = next(expected)
        assert entry["cycle"] == row.cycle == number
        assert entry["labels"] == row.labels
        assert abs(entry["values"]["flow_rate"] - row.values["flow_rate"]) < 1e-3  # a float32 register
