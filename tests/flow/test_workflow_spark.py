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
BUILD = "from control_plane.cli import main; main()"


def build(data: Path, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`control-plane dataset build`; two executors' tasks at a time where it is Spark."""
    command = [sys.executable, "-c", BUILD, "dataset", "build", "--data", str(data), "--output", str(output)]
    command += ["--component-type", "coolant_pump", "--window", "6", "--json", *options]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"JAVA_TOOL_OPTIONS": JVM},
    )


def test_two_workers_give_the_same_bits_and_the_same_refusals(tmp_path):
    """Three components, holes and bad values among their rows; a unit that never fails is named."""
    lives = [rows(run).assign(component=f"pump_{run % 3}", site_id="007") for run in range(6)]
    lives[1].loc[4, "flow_rate"] = None
    table = pd.concat([life.drop(index=[5]) for life in lives])
    data = saved(table, tmp_path)
    spark = ("--engine", "spark", "--spark-master", "local[2]")
    there = build(data, tmp_path / "there", *spark)
    assert there.returncode == 0, there.stderr
    here = build(data, tmp_path / "here")
    told, expected = (json.loads(found.stdout.splitlines()[-1]) for found in (there, here))
    assert told["sha256"] == expected["sha256"]
    assert (told["units"], told["rows"], told["engine"]) == (6, 90, "spark")
    for a, b in zip(read_dataset(tmp_path / "there"), read_dataset(tmp_path / "here"), strict=True):
        assert a.equals(b)
    lives[2]["true_RUL"] = None
    refused = build(saved(pd.concat(lives), tmp_path, "bad.csv"), tmp_path / "bad", *spark)
    assert refused.returncode == 78
    assert "007/R1/pump_2 run 2 never fails" in refused.stderr
    assert not (tmp_path / "bad").exists()
