"""SIGKILL for the ingest at random moments while a real Kafka's topic is read.

At length: CONSUMER_RECORDS=1000000 CONSUMER_KILLS=20 (about 10 minutes); with CONSUMER_BATCH=50000 as in use.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from deltalake import DeltaTable

from control_plane.ingest import consumer
from control_plane.ingest.completeness import read_accounts
from control_plane.ingest.consumer import Ingest
from control_plane.ingest.known_rows import KnownRows
from control_plane.sinks.lake import LakeReader, LakeWriter
from tests.support import killed_ingest
from tests.support.dying_ingest import AtOnce
from tests.support.pipeline import thread
from tests.support.readings import SITES, send

RECORDS = int(os.environ.get("CONSUMER_RECORDS", "10000"))
KILLS = int(os.environ.get("CONSUMER_KILLS", "2"))
SEED = int(os.environ.get("CONSUMER_KILLS_SEED", "20260301"))
LIFE_S = max(1.0, RECORDS / 10_000 / KILLS)  # at the longest: about 10,000 records/s come in
ROOT = Path(__file__).parents[2]
DEADLINE_S = 120.0 + RECORDS / 1_000


@pytest.mark.slow
@pytest.mark.timeout(2 * DEADLINE_S + 120 * KILLS)
def test_killed_while_kafka_is_read_the_lake_holds_each_record_once(tmp_path, kafka, monkeypatch):
    """Exactly once in the lake, nothing of it missed by the sink before; read again, nothing changes."""
    chance, lake, seen = random.Random(SEED), tmp_path / "lake", tmp_path / "seen"
    LakeWriter(lake).create()
    send(kafka.bootstrap, 0, RECORDS)
    for kill in range(KILLS):
        life_s = chance.uniform(0.2, LIFE_S)
        seen.touch()
        live(lake, kafka.bootstrap, seen, life_s)
        sys.stdout.write(
            f"seed {SEED}: killed after {life_s:.3f} s, {rows(lake)} rows ({kill + 1}/{KILLS})\n"
        )
    held = {
        f"{row['store_id']} {row['seq']}\n"
        for row in LakeReader(lake).rows("SELECT store_id, seq FROM telemetry")
    }
    with seen.open() as file:
        assert held <= set(file)
    monkeypatch.setattr(consumer, "Consumer", AtOnce)
    again(lake, kafka.bootstrap, consumer.GROUP)
    held = LakeReader(lake).rows(
        "SELECT store_id, count(*) n, count(DISTINCT seq) seqs, min(seq) first, max(seq) last"
        " FROM telemetry GROUP BY store_id"
    )
    each = RECORDS // SITES
    assert [(r["n"], r["seqs"], r["first"], r["last"]) for r in held] == [(each, each, 1, each)] * SITES
    assert [(a.arrived, a.twice) for a in read_accounts(lake)] == [(each, 0)] * SITES
    version = DeltaTable(lake / "telemetry").version()
    accepted, repeats = again(lake, kafka.bootstrap, "from-offset-0")
    assert (accepted, repeats) == (0, RECORDS)
    assert DeltaTable(lake / "telemetry").version() == version


def live(lake: Path, address: str, seen: Path, life_s: float) -> None:
    """One life of an ingest, from when it begins to read."""
    command = [sys.executable, "-m", killed_ingest.__name__, str(lake), address, str(seen)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        while child.stdout.readline().strip() != "ready":
            assert child.poll() is None
        time.sleep(life_s)  # the moment itself is what is tried, not something that is waited for
        child.kill()


def again(lake: Path, address: str, group: str) -> tuple[int, int]:
    """Read all that is left for the group: `(accepted, repeats)`."""
    known = KnownRows(LakeReader(lake).spans())
    ingest = Ingest(address, [LakeWriter(lake)], known, group=group)
    end = time.monotonic() + DEADLINE_S
    with thread(ingest.run):
        while rows(lake) < RECORDS or (
            group != consumer.GROUP and ingest.accepted + ingest.repeats < RECORDS
        ):
            assert time.monotonic() < end, f"{rows(lake)} rows, {ingest.repeats} repeats"
            time.sleep(0.2)
    return ingest.accepted, ingest.repeats


def rows(lake: Path) -> int:
    """How many the table holds, by its log alone."""
    found = DeltaTable(lake / "telemetry").get_add_actions(flatten=True).column("num_records").to_pylist()
    return sum(found)
