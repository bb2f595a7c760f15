"""`edge-agent plant`, `check` and `read` as processes: kill -9, resume, replay, SIGTERM."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from edge_agent.commands.check import check
from edge_agent.commands.plant import plant
from edge_agent.commands.read import read
from edge_agent.simulation.plant import PLANT_SEED, simulated
from edge_agent.sources import FreshnessGuard, ModbusSource
from shared.listen import free_port
from shared.reactor_config import load_fleet
from shared.schemas import Quality

PERIOD_S = 0.1
DEADLINE_S = 60.0
PLANT = "import typer; from edge_agent.commands.plant import plant; typer.run(plant)"
RIG_TAGS = "{current: {unit: A, column: Current}, pressure: {unit: bar, column: Pressure}}"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.yaml"
    tx01 = f"plant: {{port: {free_port()}, poll_period_s: {PERIOD_S}, timeout_s: {PERIOD_S}}}"
    rig = f"plant: {{port: {free_port()}, poll_period_s: {PERIOD_S}, timeout_s: {PERIOD_S}}}"
    path.write_text(
        f"TX01:\n  {tx01}\n  R1:\n"
        "    coolant_pump: {faults: [{type: sudden_failure, at_cycle: 4}]}\n    heat_exchanger: {}\n"
        f"RIG01:\n  {rig}\n  LOOP1: {{pump_rig: {{tags: {RIG_TAGS}}}}}\n"
    )
    return path


@contextmanager
def running(*options: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", PLANT, *options], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def once(command: Callable[..., None], *options: str) -> Result:
    """A command in this process."""
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, options)


def lines_of(path: Path) -> list[dict]:
    whole = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in whole[: whole.rfind(b"\n") + 1].splitlines()]


def wait_for_lines(path: Path, count: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while len(lines_of(path)) < count:
        assert time.monotonic() < deadline, "the plant wrote too few lines"
        time.sleep(0.02)


def test_killed_plant_goes_on_with_the_same_numbers(config, tmp_path):
    """kill -9, a torn last line, restart: the ledger is what one uninterrupted plant would have written."""
    ledger = tmp_path / "ledger.jsonl"
    options = ["--config", str(config), "--site", "TX01", "--ledger", str(ledger), "--speed", "4"]
    for round_number in (1, 2, 3):
        with running(*options) as process:
            wait_for_lines(ledger, 8 * round_number)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        with ledger.open("ab") as file:
            file.write(b'{"key": "TX01/R1/coolant_pump", "cyc')
    entries = lines_of(ledger)
    components = load_fleet(config).components("TX01")
    expected = simulated(components, PLANT_SEED)
    rows = [row for _ in range(len(entries) // 2) for row in next(expected)]
    assert [(e["key"], e["cycle"]) for e in entries] == [(row.component_id.key, row.cycle) for row in rows]
    assert [e["labels"] for e in entries] == [row.labels for row in rows]
    assert [e["values"]["flow_rate"] for e in entries] == pytest.approx([r.values["flow_rate"] for r in rows])
    assert {e["labels"]["fault"] for e in entries} == {None, "sudden_failure"}


def test_plant_ticks_half_a_period_after_the_agents_polls(config, tmp_path):
    """Ticks are at (k + 0.5) periods of the wall clock, and none is left out."""
    ledger = tmp_path / "ledger.jsonl"
    with running("--config", str(config), "--site", "TX01", "--ledger", str(ledger)):
        wait_for_lines(ledger, 14)
    times = [datetime.fromisoformat(entry["time"]).timestamp() for entry in lines_of(ledger)[2::2]]
    phases = sorted((moment / PERIOD_S) % 1.0 for moment in times)
    assert 0.45 < phases[len(phases) // 2] < 0.75


async def test_replayed_recording_is_read_and_goes_stale_at_its_end(config, tmp_path):
    """Recorded rows reach the agent with their row number as cycle; after the last one all is STALE."""
    folder, ledger = tmp_path / "recording", tmp_path / "ledger.jsonl"
    folder.mkdir()
    (folder / "0.csv").write_text("datetime;Current;Pressure;anomaly\nx;1.5;2;0.0\nx;;3;1.0\n")
    (folder / "1.csv").write_text("Current;Pressure;anomaly\n2.5;4;1.0\n")
    options = ["--site", "RIG01", "--replay", str(folder), "--ledger", str(ledger), "--speed", "0.25"]
    fleet = load_fleet(config)
    source = ModbusSource("RIG01", fleet.sites["RIG01"].plant, fleet.components("RIG01"))
    guard, fresh = FreshnessGuard(), {}
    with running("--config", str(config), *options) as process:
        async with asyncio.timeout(DEADLINE_S), source:
            while True:
                (reading,) = await source.read()
                checked = guard.check(reading)
                if checked is not None and Quality.STALE in checked.quality.values():
                    if checked.cycle == 2:
                        break
                elif checked is not None and checked.cycle is not None:
                    fresh[checked.cycle] = checked
                await asyncio.sleep(PERIOD_S)
        process.terminate()
        output, _ = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0
    assert checked.cycle == 2
    assert set(checked.quality.values()) == {Quality.STALE}
    assert {cycle: r.metrics for cycle, r in fresh.items()} == {
        0: {"current": 1.5, "pressure": 2.0},
        1: {"pressure": 3.0},
        2: {"current": 2.5, "pressure": 4.0},
    }
    assert fresh[1].quality == {"current": Quality.NOT_A_NUMBER}
    assert "the recording has ended" in output
    entries = lines_of(ledger)
    assert [entry["labels"] for entry in entries] == [{"anomaly": 0.0}, {"anomaly": 1.0}, {"anomaly": 1.0}]
    assert entries[1]["values"] == {"current": None, "pressure": 3.0}
    assert "nothing is left" in once(plant, "--config", str(config), *options).stdout


def test_check_prints_the_request_plan(config):
    """'N requests touching M registers', for people and as JSON."""
    options = ["--config", str(config), "--site", "TX01"]
    assert "TX01/R1/coolant_pump (unit 1): 1 request touching 18 registers" in once(check, *options).stdout
    document = json.loads(once(check, *options, "--json").stdout)
    assert [part["requests"][0]["registers"] for part in document["components"]] == [18, 16]
    assert "its sites are TX01, RIG01" in str(once(check, "--config", str(config), "--site", "ZZ").exception)


def test_read_once_prints_each_tag_with_its_quality(config):
    """A running plant: good values and exit 0; none: disconnected and exit 1."""
    options = ["--once", "--config", str(config), "--site", "TX01", "--json"]
    away = once(read, *options)
    assert away.exit_code == 1
    assert {row["quality"] for row in json.loads(away.stdout)} == {"disconnected"}
    with running("--config", str(config), "--site", "TX01") as process:
        assert process.stdout is not None
        assert "Modbus TCP on 127.0.0.1" in process.stdout.readline()
        time.sleep(2 * PERIOD_S)
        good = once(read, *options)
        table = once(read, *options[:-1])
    rows = json.loads(good.stdout)
    assert good.exit_code == 0
    assert len(rows) == 15
    assert rows[0].keys() == {"component", "cycle", "tag", "value", "unit", "quality", "age_s", "request"}
    assert {row["quality"] for row in rows} == {"good"}
    assert "bearing_temperature" in table.stdout
    assert "unit 1 holding 0..17" in table.stdout


def test_plant_with_bad_days_answers_at_the_same_address(config):
    """`--bad-days SEED`: most polls are read, some values have a reason and no number."""
    options = ["--config", str(config), "--site", "TX01"]
    seen: Counter[str] = Counter()
    with running(*options, "--bad-days", "7") as process:
        assert process.stdout is not None
        assert "Modbus TCP on 127.0.0.1" in process.stdout.readline()
        assert "one request in 10 has a bad day" in process.stdout.readline()
        time.sleep(2 * PERIOD_S)
        deadline = time.monotonic() + DEADLINE_S
        while not (seen["good"] > 100 and seen.total() > seen["good"]):
            assert time.monotonic() < deadline, f"only {seen}"
            result = once(read, "--once", *options, "--json")
            seen.update(row["quality"] for row in json.loads(result.stdout))
        process.terminate()
        process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0


def test_opc_ua_plant_with_bad_days_answers_at_the_same_address(tmp_path):
    """`--bad-days SEED` over OPC UA: the agent still reads numbers; over what is encrypted it is refused."""
    path = tmp_path / "fleet.yaml"
    section = f"protocol: opc_ua, port: {free_port()}, poll_period_s: 1, timeout_s: 1"
    path.write_text(f"TX01:\n  plant: {{{section}}}\n  R1: {{coolant_pump: {{}}}}\n")
    options = ["--config", str(path), "--site", "TX01"]
    good, deadline = False, time.monotonic() + 2 * DEADLINE_S
    with running(*options, "--bad-days", "7") as process:
        assert process.stdout is not None
        assert "OPC UA on 127.0.0.1" in process.stdout.readline()
        assert "one answer in 33" in process.stdout.readline()
        while not good:
            assert time.monotonic() < deadline
            rows = json.loads(once(read, "--once", *options, "--json").stdout)
            good = any(row["quality"] == "good" for row in rows)
    secured = "policy: Basic256Sha256, certificate: a, key: b, trusted: c"
    path.write_text(f"TX01:\n  plant: {{{section}, security: {{{secured}}}}}\n  R1: {{coolant_pump: {{}}}}\n")
    assert "cannot spoil what is encrypted" in str(once(plant, *options, "--bad-days", "7").exception)
