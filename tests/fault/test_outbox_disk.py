"""Disks that are full, fail or lose power, and a writer that is killed: what was committed is there."""

import asyncio
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
import structlog

from edge_agent.health import Metrics
from edge_agent.outbox import Outbox, OutboxStore, store
from edge_agent.recorder import Event, Recorder
from shared.errors import Retryable
from shared.log_key import LogKey
from shared.schemas import AuditEntry, AuditEvent, GapRecord, Outgoing, Telemetry, utc_now
from tests.support.faulty_disk import FaultyDisk
from tests.support.outbox_account import SITE

KEY = f"{SITE}/R1/coolant_pump"
KILLS = 3
DEADLINE_S = 110.0  # of a child that starts Python; below the time limit of a test


def telemetry(cycle: int) -> Telemetry:
    return Telemetry(
        timestamp=utc_now(),
        site_id=SITE,
        reactor_id="R1",
        component="coolant_pump",
        cycle=cycle,
        metrics={"flow_rate": float(cycle)},
    )


def test_what_was_committed_survives_a_power_loss(tmp_path):
    """Whatever sectors of later writes reached the disk, every committed row is there."""
    disk = FaultyDisk()
    with disk.mounted(), OutboxStore(tmp_path / "a" / "o.db") as outbox:
        for turn in range(1, 30):
            outbox.commit([Outgoing("telemetry/1", KEY, turn, b"reading " * 50)])
            disk.power_lost(tmp_path / "a", tmp_path / str(turn), random.Random(turn))
            with OutboxStore(tmp_path / str(turn) / "o.db") as after:
                assert [row.number for row in after.pending(0, 100)] == list(range(1, turn + 1))
                assert after.store_id == outbox.store_id


@pytest.mark.parametrize("full", [True, False])
async def test_polls_go_on_while_the_disk_is_full_and_the_loss_is_explained(tmp_path, full):
    """Nothing raises while no write succeeds; then a gap record and an audit entry say what is lost."""
    disk = FaultyDisk()
    with disk.mounted():
        async with Outbox(OutboxStore(tmp_path / "outbox.db")) as outbox:
            recorder = Recorder(outbox, SITE, LogKey.load_or_create(tmp_path / "key.pem"), Metrics())
            await recorder.open()
            await recorder.keep([telemetry(0)], [Event(AuditEvent.AGENT_STARTED, SITE)])
            disk.fail_at, disk.lasting, disk.full = 0, True, full
            before = utc_now()
            with structlog.testing.capture_logs() as lines:
                for cycle in range(1, 6):
                    await recorder.keep([telemetry(cycle)], [Event(AuditEvent.ALERT, KEY)])
                    await recorder.checkpoint()
                    assert "cannot be written" in (recorder.failing or "")
                disk.work()
                await recorder.keep([telemetry(6)])
                await recorder.keep([])
            assert recorder.failing is None
            begun, over = lines  # a line a failed commit would fill the disk that is full
            assert begun["event"].startswith("not kept")
            assert (over["event"], over["lost_records"]) == ("kept again", 10)
            rows = await asyncio.to_thread(outbox.pending, 0, 100)
            [gap] = [GapRecord.model_validate_json(r.record.body) for r in rows if r.record.schema == "gap/1"]
            assert (gap.from_seq, gap.to_seq, gap.count, gap.reason) == (3, 12, 10, "disk_full")
            assert gap.by_schema == {"telemetry/1": 5, "audit/1": 5}
            assert gap.from_time is not None
            assert abs((gap.from_time - before).total_seconds()) < 0.1
            entries = [
                AuditEntry.model_validate_json(r.record.body) for r in rows if r.record.schema == "audit/1"
            ]
            assert [(e.index, e.event) for e in entries] == [(0, "agent_started"), (1, "audit_failure")]
            assert entries[1].detail == {"records": 10}
            numbers = {row.number for row in rows} | set(range(gap.from_seq, gap.to_seq + 1))
            assert numbers == set(range(1, (await outbox.stats()).last_seq + 1))


async def test_an_agent_that_starts_on_a_full_disk_begins_to_keep_when_there_is_room(tmp_path, monkeypatch):
    """The outbox that could not even be opened at the start is opened later; what was lost is counted."""
    monkeypatch.setattr(store, "REOPEN_WAIT_S", 0.0)
    disk = FaultyDisk()
    disk.fail_at, disk.lasting, disk.full = 0, True, True
    with disk.mounted():
        async with Outbox(OutboxStore(tmp_path / "outbox.db")) as outbox:
            recorder = Recorder(outbox, SITE, LogKey.load_or_create(tmp_path / "key.pem"), Metrics())
            await recorder.open()
            await recorder.keep([telemetry(1)])
            await recorder.checkpoint()
            assert outbox.store_id == ""
            assert (await outbox.stats()).pending_rows == 0
            disk.work()
            await recorder.keep([telemetry(2)])
            rows = await asyncio.to_thread(outbox.pending, 0, 100)
            assert [row.record.schema for row in rows] == ["gap/1", "telemetry/1", "audit/1"]
            assert outbox.store_id == rows[0].store_id != ""


def test_a_full_file_system_recovers_by_itself(tmp_path):
    """With a real limit on file sizes commits are refused, reads go on, and room is enough to go on."""
    script = f"""
import resource, signal
from pathlib import Path
from edge_agent.outbox import OutboxStore
from shared.errors import Retryable
from shared.schemas import Outgoing
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
rows = [Outgoing("telemetry/1", "{KEY}", i, bytes(1_000)) for i in range(100)]
with OutboxStore(Path({str(tmp_path / "o.db")!r})) as store:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    kept = refused = 0
    for _ in range(40):
        try:
            store.commit(rows)
            kept += 100
        except Retryable:
            refused += 1
    assert refused > 5, refused
    assert [row.number for row in store.pending(0, 10_000)] == list(range(1, kept + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.commit(rows)
    assert store.stats()[:2] == (kept + 100, kept + 100)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=DEADLINE_S)


WRITER = """
import sys
from pathlib import Path
from edge_agent.outbox import OutboxLimits, OutboxStore
from shared.schemas import Outgoing
with OutboxStore(Path(sys.argv[1]), OutboxLimits(pending_rows_max=500)) as store:
    while True:
        start = store.stats().last_seq + 1
        numbers = range(start, start + 7)
        rows = [Outgoing("telemetry/1", sys.argv[2], n, b"reading %d " % n * 30) for n in numbers]
        store.commit([*rows, Outgoing("audit/1", "TX01", start, b"leaf %d" % start)])
        print(start + 7, flush=True)
        pending = store.pending(0, 3)
        store.acknowledge([row.seq for row in pending])
"""


@pytest.mark.slow
def test_a_writer_that_is_killed_loses_nothing_that_it_reported(tmp_path):
    """kill -9 at random moments: what was reported as committed is there, and the next life goes on."""
    random_ = random.Random(time.time_ns())
    path, reported = tmp_path / "o.db", 0
    for _ in range(KILLS):
        command = [sys.executable, "-c", WRITER, str(path), KEY]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        first = writer.stdout.readline()
        time.sleep(random_.uniform(0, 0.5))
        writer.send_signal(signal.SIGKILL)
        lines = [first, *writer.stdout.read().splitlines()]
        writer.stdout.close()
        writer.wait(DEADLINE_S)
        assert int(first) > reported
        reported = max(int(line) for line in lines)
        with OutboxStore(path) as outbox:
            assert outbox.stats().last_seq >= reported
            rows = outbox.pending(0, 10_000)
            for row in rows:
                if row.record.schema == "telemetry/1":
                    assert row.record.body == b"reading %d " % row.number * 30
            assert not list(tmp_path.glob("*.damaged-*"))


def test_a_failed_commit_does_not_block_the_next(tmp_path):
    """After any call of a commit has failed, the next commit goes through, and rows have no hole."""
    disk = FaultyDisk()
    with disk.mounted(), OutboxStore(tmp_path / "o.db") as outbox:
        outbox.commit([telemetry(0).outgoing()])
        for call in range(8):
            disk.fail_at = call
            with suppress(Retryable):
                outbox.commit([telemetry(1).outgoing()])
            disk.work()
            outbox.commit([telemetry(2).outgoing()])
        assert disk.failed >= 3
        numbers = [row.number for row in outbox.pending(0, 100)]
        assert numbers == list(range(1, len(numbers) + 1))


def test_an_acknowledgement_costs_a_few_writes_however_many_rows(tmp_path):
    """Rows that Kafka has are not written again to say so."""
    disk = FaultyDisk()
    with disk.mounted(), OutboxStore(tmp_path / "o.db") as outbox:
        outbox.commit([telemetry(cycle).outgoing() for cycle in range(2_000)])
        outbox._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        calls, flushes = disk.calls, disk.flushes
        outbox.acknowledge(range(1, 1_991))
        assert disk.calls - calls < 20
        assert disk.flushes <= flushes + 2  # the first commit into an empty log flushes its head


def test_a_commit_is_one_flush_however_many_records(tmp_path):
    """The cost of durability is paid once a poll, not once a record."""
    disk = FaultyDisk()
    with disk.mounted(), OutboxStore(tmp_path / "o.db") as outbox:
        outbox.commit([telemetry(0).outgoing()])
        before = disk.flushes
        outbox.commit([telemetry(cycle).outgoing() for cycle in range(300)])
        assert disk.flushes == before + 1
