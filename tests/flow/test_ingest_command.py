"""`control-plane ingest`: alone, and one of them to a lake."""

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from control_plane import ingest_part
from control_plane.ingest.routing import Routes, Rule
from control_plane.ingest_part import IngestSettings, run_ingest
from control_plane.layout import Layout
from control_plane.sinks.lake import LakeReader
from shared.errors import ConfigError, Retryable
from shared.listen import free_port
from tests.support.pipeline import OneThread, broker, forwarding, telemetry, until

END_DEADLINE_S = 60.0


def held(lake: Path) -> dict:
    try:
        return LakeReader(lake).spans()
    except Retryable:
        return {}


@pytest.mark.slow
def test_ingest_runs_alone_and_a_second_one_is_told_why_it_may_not(tmp_path, monkeypatch):
    """Records reach the lake and are counted for Prometheus; a second ingest of the group is refused by
    process number; SIGTERM ends it."""
    monkeypatch.setattr(ingest_part, "LAKE_LOCK_WAIT_S", 0.0)
    metrics = f"127.0.0.1:{free_port()}"
    backlog, lake = OneThread(tmp_path / "o.db"), tmp_path / "lake"
    backlog.ask(backlog.store.commit, [telemetry(n) for n in range(3)])
    with broker() as address, forwarding(backlog, address):
        code = "from control_plane.cli import main; main()"
        command = [
            sys.executable, "-c", code, "ingest", "--data-dir", str(tmp_path), "--kafka", address,
            "--ingest-metrics", metrics,
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == f"ingest             {address} (Kafka) to {lake}\n"
            until(lambda: held(lake) == {backlog.store_id: [(1, 3)]})
            counted = urllib.request.urlopen(f"http://{metrics}/metrics").read().decode()
            assert 'centre_ingest_records_total{schema="telemetry/1"} 3.0' in counted
            assert "centre_ingest_dead_letters_total 0.0" in counted
            told = rf"process {process.pid} is writing to this lake\. One ingest writes to a lake"
            with pytest.raises(Retryable, match=told):
                run_ingest(IngestSettings(Layout(tmp_path), address), pytest.fail)
            process.send_signal(signal.SIGTERM)
            assert process.wait(END_DEADLINE_S) == 0


def test_a_rule_that_names_a_sink_which_is_not_there_is_refused(tmp_path):
    """Before anything is read, with what is missing."""
    routes = Routes([Rule(to=("lake", "influx"))])
    with pytest.raises(ConfigError, match="a rule names influx, which is not set up here"):
        run_ingest(IngestSettings(Layout(tmp_path), "127.0.0.1:1", routes=routes), pytest.fail)
