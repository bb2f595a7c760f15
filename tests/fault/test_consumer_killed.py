"""SIGKILL for the ingest, wherever it is: between two tables, in a write, before and after its offsets."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from control_plane.ingest import consumer
from control_plane.ingest.completeness import read_accounts
from control_plane.sinks.lake import LakeReader, LakeWriter
from shared.schemas import Alert, Outgoing, utc_now
from tests.support import dying_ingest
from tests.support.pipeline import OneThread, broker, forwarding, ingesting, telemetry, until

KILLS = int(os.environ.get("CONSUMER_KILLS", "3"))
SEED = int(os.environ.get("CONSUMER_KILLS_SEED", "20260301"))
EVENTS_MAX = 8  # what two batches of 40 rows make at the least: a write and a commit each
ROWS_A_KILL = 80
CHILD_DEADLINE_S = 180.0  # on a busy machine Python and its libraries alone take a minute to start


def alert(number: int) -> Outgoing:
    return Alert(
        timestamp=utc_now(), site_id="TX01", reactor_id="R1", component="coolant_pump", alert_id=str(number),
        kind="anomaly", severity="alarm", state="raised", cycle=number, subject="anomaly", value=9.0,
        threshold=3.0, message="m",
    ).outgoing()  # fmt: skip


def die(lake: Path, address: str, event: int, seed: int) -> None:
    """One life of an ingest."""
    command = [sys.executable, dying_ingest.__file__, str(lake), address, str(event), str(seed)]
    assert subprocess.run(command, timeout=CHILD_DEADLINE_S, check=False).returncode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.timeout(300 + 30 * KILLS)
def test_killed_at_any_moment_the_lake_holds_every_record_once(tmp_path, monkeypatch):
    """After every death and a last life, what the outbox held is in the lake exactly once, in order."""
    chance = random.Random(SEED)
    lake, backlog = tmp_path / "lake", OneThread(tmp_path / "o.db")
    LakeWriter(lake).create()
    for name in ("Consumer", "BATCH_MESSAGES_MAX", "BATCH_WAIT_S"):
        monkeypatch.setattr(consumer, name, getattr(consumer, name))  # given back at the end
    with broker() as address, forwarding(backlog, address):
        for kill in range(KILLS):
            first = kill * ROWS_A_KILL
            rows = [alert(n) if n % 5 == 0 else telemetry(n) for n in range(first, first + ROWS_A_KILL)]
            backlog.ask(backlog.store.commit, rows)
            until(lambda: backlog.pending_rows() == 0)
            event, seed = chance.randint(1, EVENTS_MAX), chance.randrange(10**6)
            sys.stdout.write(f"seed {SEED}, life {kill}: killed at event {event}, moment {seed}\n")
            die(lake, address, event, seed)
        dying_ingest.hasten()
        total = KILLS * ROWS_A_KILL
        with ingesting(lake, address):
            until(lambda: LakeReader(lake).spans() == {backlog.store_id: [(1, total)]})
    [account] = read_accounts(lake)
    assert (account.arrived, account.twice) == (total, 0)
    for table in ("telemetry", "alerts"):
        rows = LakeReader(lake).rows(f"SELECT seq, cycle FROM {table} ORDER BY seq")  # noqa: S608
        assert all(row["seq"] == row["cycle"] + 1 for row in rows)
