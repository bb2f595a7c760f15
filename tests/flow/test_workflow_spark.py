"""The training table on a Spark cluster of two workers against the one built in this process."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from control_plane.training.dataset import read_dataset
from tests.support.pump_table import rows, saved

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java 17"),
]
JVM = "-Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # a short life: less to compile, fewer threads
COMMANDS = """
import json, sys
from control_plane.cli import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["control-plane", *command]
    try:
        main()
    except SystemExit as end:
        print(json.dumps({"status": end.code or 0}))
"""


def build(data: Path, output: Path, *options: str) -> list[str]:
    """`control-plane dataset build`, its arguments."""
    command = ["dataset", "build", "--data", str(data), "--output", str(output), "--json"]
    return [*command, "--component-type", "coolant_pump", "--window", "6", *options]


def run(*commands: list[str]) -> tuple[list[dict], str]:
    """Commands in one process, because Java takes long to start: each line of JSON on stdout, and stderr."""
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"JAVA_TOOL_OPTIONS": JVM},
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")], done.stderr


def test_two_workers_give_the_same_bits_and_the_same_refusals(tmp_path):
    """Three components, holes and bad values among their rows; a unit that never fails is named."""
    lives = [rows(run).assign(component=f"pump_{run % 3}", site_id="007") for run in range(6)]
    lives[1].loc[4, "flow_rate"] = None
    table = pd.concat([life.drop(index=[5]) for life in lives])
    data = saved(table, tmp_path)
    lives[2] = lives[2].assign(true_RUL=None)
    bad = saved(pd.concat(lives), tmp_path, "bad.csv")
    spark = ("--engine", "spark", "--spark-master", "local[2]")
    found, errors = run(
        build(data, tmp_path / "there", *spark),
        build(data, tmp_path / "here"),
        build(bad, tmp_path / "bad", *spark),
    )
    assert [line["status"] for line in found if "status" in line] == [0, 0, 78], errors
    told, expected = (line for line in found if "status" not in line)
    assert told["sha256"] == expected["sha256"]
    assert (told["units"], told["rows"], told["engine"]) == (6, 90, "spark")
    for a, b in zip(read_dataset(tmp_path / "there"), read_dataset(tmp_path / "here"), strict=True):
        assert a.equals(b)
    assert "007/R1/pump_2 run 2 never fails" in errors
    assert not (tmp_path / "bad").exists()
