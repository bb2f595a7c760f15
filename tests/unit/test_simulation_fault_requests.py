"""Faults asked of a running plant: taken once, answered, and the same after a restart."""

import json
import threading
import time

import pytest
import typer
from typer.testing import CliRunner

from edge_agent.commands.fault import fault
from edge_agent.simulation.fault_requests import FaultRequests, answer_to, ask
from edge_agent.simulation.plant import simulated
from shared.errors import ConfigError, Retryable
from shared.fault_config import ScheduledFault
from shared.reactor_config import parse_fleet
from shared.schemas import ComponentId

PUMP = ComponentId("TX01", "R1", "coolant_pump")
FLEET = {
    "TX01": {"R1": {"coolant_pump": {"faults": [{"type": "spike", "at_cycle": 6}]}, "heat_exchanger": {}}}
}
COMPONENTS = parse_fleet(FLEET, "test").components()
BIAS = ScheduledFault(type="sensor_bias", at_cycle=0)
app = typer.Typer()
app.command()(fault)


def requests(path) -> FaultRequests:
    found = FaultRequests(path)
    found.load()
    return found


def test_asked_fault_begins_with_the_next_cycle_and_outlives_a_restart(tmp_path):
    """The answer names the cycle; a plant that starts again, at any cycle, shows the same rows."""
    path = tmp_path / "faults.jsonl"
    running = simulated(COMPONENTS, 3, requests=requests(path))
    shown = [next(running) for _ in range(4)]
    asked = ask(path, PUMP, BIAS)
    assert answer_to(path, asked) is None
    shown.append(next(running))
    assert answer_to(path, asked) == {"answer": asked, "at_cycle": 4}
    ask(path, PUMP, BIAS)
    shown += [next(running) for _ in range(5)]
    labels = [tick[0].labels["fault"] for tick in shown]
    assert labels == [None] * 4 + ["sensor_bias"] * 2 + ["sensor_bias+spike"] * 3 + ["sensor_bias"]
    for first in (0, 4, 7):
        again = simulated(COMPONENTS, 3, first, requests(path))
        assert [next(again) for _ in range(10 - first)] == shown[first:]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            {"component": "TX01/R9/valve", "fault": {"type": "leak"}},
            "'TX01/R9/valve' is not here; here are TX01",
        ),
        ({"component": PUMP.key, "fault": {"type": "flood"}}, "fault type 'flood'; allowed: sudden_failure"),
        ({"component": PUMP.key, "fault": {"type": "leak", "fault_type": 1}}, "fault_type"),
        ({"component": PUMP.key, "fault": {}}, "fault type 'None'"),
    ],
)
def test_wrong_request_is_answered_and_the_plant_goes_on(tmp_path, line, reason):
    """Whatever somebody writes into the file, the plant refuses it once, by name, and shows its rows."""
    path = tmp_path / "faults.jsonl"
    path.write_text(f"not JSON\n[1]\n{json.dumps({'request': 'x', **line})}\n" + '{"torn": ')
    running = simulated(COMPONENTS, 3, requests=requests(path))
    sound = simulated(COMPONENTS, 3)
    assert [next(running) for _ in range(3)] == [next(sound) for _ in range(3)]
    written = path.read_text()
    assert written.count("refused") == 1
    assert reason in written
    again = requests(path)
    assert again.due() == []  # the answer stands on a line of its own, behind a torn one too


@pytest.fixture
def command(tmp_path):
    (tmp_path / "fleet.yaml").write_text("TX01: {R1: {coolant_pump: {}, heat_exchanger: {}}}")
    path = tmp_path / "faults.jsonl"

    def invoke(*options: str):
        place = ["--site-id", "TX01", "--reactor-id", "R1", "--component", "coolant_pump"]
        files = ["--config", str(tmp_path / "fleet.yaml"), "--faults", str(path)]
        result = CliRunner().invoke(app, [*files, *place, *options])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output

    return path, invoke


def test_command_waits_for_the_plant_and_says_at_which_cycle(command):
    """One line; the plant is another thread here, as it is another process there."""
    path, invoke = command
    running = simulated(COMPONENTS, 3, requests=requests(path))
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            next(running)
            time.sleep(0.01)

    plant = threading.Thread(target=serve)
    plant.start()
    try:
        said = invoke("--type", "sensor_stuck", "--tag", "flow_rate", "--duration-cycles", "5")
    finally:
        stop.set()
        plant.join()
    assert said.startswith("TX01/R1/coolant_pump: sensor_stuck begins at cycle ")


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (
            ["--type", "leak", "--wait-s", "0"],
            Retryable,
            "no plant answered in 0 s; is one running with --faults",
        ),
        (["--type", "fouling_surge"], ConfigError, "makes no sense for a coolant_pump"),
        (
            ["--type", "spike", "--tag", "level"],
            ConfigError,
            "spike on tag 'level'; the tags are shaft_speed",
        ),
        (["--type", "leak", "--component", "valve"], ConfigError, "'TX01/R1/valve' is not in the file"),
    ],
)
def test_command_refuses_what_cannot_be(command, options, kind, message):
    """A wrong fault never reaches the file; a plant that is away is said so."""
    path, invoke = command
    path.touch()
    with pytest.raises(kind, match=message):
        invoke(*options)
    assert (kind is Retryable) == bool(path.read_text())


def test_missing_or_overlong_file_is_named(command, tmp_path):
    """No file: no plant was started with it. A file beyond the limit is not one of ours."""
    path, invoke = command
    with pytest.raises(ConfigError, match="does not exist; start the plant with --faults"):
        invoke("--type", "leak")
    path.write_bytes(b"x" * (4 * 1024 * 1024 + 1))
    with pytest.raises(ConfigError, match="is longer than 4194304 bytes; give the plant a new file"):
        requests(path)
    with pytest.raises(ConfigError, match=r"--faults.*\n.*cannot be written"):
        requests(tmp_path / "no" / "faults.jsonl")
