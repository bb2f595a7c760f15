"""The ledger over a lake that was filled through Kafka's protocol."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
import typer

from control_plane.commands.completeness import completeness as command
from control_plane.ingest import consumer
from control_plane.ingest.completeness import read_accounts
from control_plane.ingest.progress import FILE_NAME, Progress
from control_plane.sinks.lake import LakeReader, LakeWriter
from control_plane.sinks.lake_lock import lake_lock
from edge_agent.outbox import recovery
from shared.errors import Retryable
from tests.support.dying_ingest import AtOnce
from tests.support.pipeline import OneThread, broker, forwarding, ingesting, site_status, telemetry, until


@pytest.fixture(autouse=True)
def no_wait(monkeypatch):
    """The group's own wait for more members is tested elsewhere."""
    monkeypatch.setattr(consumer, "Consumer", AtOnce)


@pytest.fixture
def completeness(tmp_path, capsys):
    """`control-plane completeness`: its exit code and its JSON."""

    def run(site=None):
        with pytest.raises(typer.Exit) as ended:
            command(tmp_path, site, as_json=True)
        return ended.value.exit_code, json.loads(capsys.readouterr().out)

    return run


@pytest.mark.slow
def test_lost_rows_turn_red_only_when_they_can_no_longer_arrive(tmp_path, monkeypatch, completeness):
    """Three rows acknowledged but never sent: first not there yet, then unexplained, exit code 1."""
    monkeypatch.setattr("control_plane.ingest.consumer.PROGRESS_PERIOD_S", 0.2)
    backlog, lake = OneThread(tmp_path / "o.db"), tmp_path / "lake"
    commit = lambda *records: backlog.ask(backlog.store.commit, records)  # noqa: E731
    commit(*(telemetry(cycle) for cycle in range(10)))
    backlog.acknowledge([4, 5, 6])  # as if a broker had said so and then forgotten them
    with broker() as address, ingesting(lake, address) as ingest, forwarding(backlog, address):
        until(lambda: ingest.accepted == 7)
        [found] = read_accounts(lake)
        assert (found.produced, found.arrived, found.not_yet, found.unexplained) == (10, 7, 3, 0)
        assert completeness()[0] == 0
        until(lambda: backlog.pending_rows() == 0)
        commit(site_status(backlog.ask(backlog.store.stats), backlog.store_id))
        until(lambda: Progress(lake / FILE_NAME).final_seq == {backlog.store_id: 10})
    code, [account] = completeness("TX01")
    assert code == 1
    assert (account["unexplained"], account["unexplained_spans"]) == (3, [[4, 6]])
    assert (account["produced"], account["arrived"], account["not_yet"]) == (11, 8, 0)
    assert completeness("ID01") == (0, [])


@pytest.mark.slow
def test_missed_polls_are_told_across_restarts_and_not_said_by_an_older_agent(tmp_path):
    """An agent counts from 0 when it starts: 5, 7, then 2 are 9. Who says nothing has no number."""
    lake, places = tmp_path / "lake", {}
    with broker() as address, ingesting(lake, address) as ingest:
        for name, counts in (("new", (5, 7, 2)), ("old", (None,))):
            backlog = OneThread(tmp_path / f"{name}.db")
            places[backlog.store_id] = name
            for count in counts:
                status = site_status(backlog.ask(backlog.store.stats), backlog.store_id, count)
                backlog.ask(backlog.store.commit, [status])
            with forwarding(backlog, address):
                until(lambda backlog=backlog: backlog.pending_rows() == 0)
        until(lambda: ingest.accepted == 4)
    found = {places[account.store_id]: account.polls_missed for account in read_accounts(lake)}
    assert found == {"new": 9, "old": None}


@pytest.mark.slow
def test_a_row_that_could_not_be_read_is_explained(tmp_path):
    """A body that is no record leaves a reason in the ledger, and its number stays open for a better copy."""
    backlog, lake = OneThread(tmp_path / "o.db"), tmp_path / "lake"
    bad = telemetry(1)._replace(body=b'{"site_id": "TX01"}')
    backlog.ask(backlog.store.commit, [telemetry(0), bad, telemetry(2)])
    with broker() as address, ingesting(lake, address) as ingest, forwarding(backlog, address):
        until(lambda: ingest.accepted == 3)  # two records, and the note of the third
    [found] = read_accounts(lake)
    assert (found.produced, found.arrived, found.explained) == (3, 2, {"rejected": 1})
    assert LakeReader(lake).spans() == {backlog.store_id: [(1, 1), (3, 3)]}


@pytest.mark.slow
def test_a_salvaged_outbox_has_two_stores_that_both_add_up(tmp_path, monkeypatch):
    """Rows of the damaged store that waited arrive under it, the unreadable one is explained, and a
    heartbeat of the new store settles nothing while any of them waits."""
    monkeypatch.setattr("control_plane.ingest.consumer.PROGRESS_PERIOD_S", 0.2)
    backlog, lake, path = OneThread(tmp_path / "o.db"), tmp_path / "lake", tmp_path / "o.db"
    old_id = backlog.store_id
    backlog.ask(backlog.store.commit, [telemetry(cycle) for cycle in range(10)])
    backlog.ask(backlog.store.__exit__)
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE records SET body = X'00' WHERE seq = 4")
        db.commit()
    recovery.replace(path, "for this test")
    backlog = OneThread(path)
    commit = lambda *records: backlog.ask(backlog.store.commit, records)  # noqa: E731
    commit(*(gap.outgoing() for i in backlog.ask(backlog.store.incidents, "TX01") for gap in i.gaps))
    commit(telemetry(10), site_status(backlog.ask(backlog.store.stats), backlog.store_id))
    with broker() as address, ingesting(lake, address) as ingest, forwarding(backlog, address):
        until(lambda: ingest.accepted == 12 and backlog.pending_rows() == 0)
        until(lambda: Progress(lake / FILE_NAME).final_seq == {backlog.store_id: 0})
        commit(site_status(backlog.ask(backlog.store.stats), backlog.store_id))
        until(lambda: Progress(lake / FILE_NAME).final_seq == {backlog.store_id: 3})
    found = {account.store_id: account for account in read_accounts(lake)}
    old, new = found[old_id], found[backlog.store_id]
    assert (old.produced, old.arrived, old.explained, old.not_yet) == (10, 9, {"corrupt": 1}, 0)
    assert (new.produced, new.arrived, new.not_yet) == (4, 4, 0)
    assert old.complete
    assert new.complete


def test_an_older_lake_gets_the_new_columns(tmp_path, monkeypatch):
    """Tables made before a column existed take it; their rows are empty there."""
    import control_plane.sinks.lake as sinks_lake

    older = {
        schema: spec._replace(schema=spec.schema.remove(spec.schema.get_field_index("gap_store_id")))
        if spec.name == "gaps"
        else spec
        for schema, spec in sinks_lake.TABLES.items()
    }
    with monkeypatch.context() as before:
        before.setattr(sinks_lake, "TABLES", older)
        LakeWriter(tmp_path).create()
    LakeWriter(tmp_path).create()
    assert read_accounts(tmp_path) == []


def test_two_writers_never_share_a_lake(tmp_path):
    """The second is told who holds it; a holder that dies lets go."""
    code = "import sys, time, pathlib\nfrom control_plane.sinks.lake_lock import lake_lock\n"
    code += "with lake_lock(pathlib.Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(Retryable, match=f"process {holder.pid} is writing to this lake"),
            lake_lock(tmp_path),
        ):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with lake_lock(tmp_path, wait_s=5.0):
        pass


@pytest.mark.slow
def test_a_row_that_kafka_refused_is_explained(tmp_path):
    """A record larger than Kafka takes goes to the site's dead letters, and the ledger knows its reason."""
    backlog, lake = OneThread(tmp_path / "o.db"), tmp_path / "lake"
    huge = telemetry(1)._replace(body=b"x" * 2_000_000)
    backlog.ask(backlog.store.commit, [telemetry(0), huge, telemetry(2)])
    with broker() as address, ingesting(lake, address) as ingest, forwarding(backlog, address):
        until(lambda: ingest.accepted == 3)
    [found] = read_accounts(lake)
    assert (found.produced, found.arrived, found.explained) == (3, 2, {"rejected": 1})
