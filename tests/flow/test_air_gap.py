"""What a courier carries is what Kafka would have brought: `edge-agent export` to `control-plane import`."""

import json
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
import typer
from confluent_kafka import Consumer

from control_plane.commands.import_ import import_
from control_plane.ingest import consumer
from control_plane.ingest.bundles import messages, read_bundle
from control_plane.ingest.completeness import read_accounts
from control_plane.layout import Layout
from control_plane.sinks.lake import LakeReader
from control_plane.sinks.lake_lock import lake_lock
from control_plane.sinks.lake_tables import TABLES
from edge_agent.audit.log import AuditLog, origin
from edge_agent.bundle import OutboxFile, Signer
from edge_agent.bundle import export as write_bundles
from edge_agent.commands.export import export as export_command
from edge_agent.outbox import recovery
from shared.errors import ConfigError, Retryable
from shared.log_key import LogKey
from shared.schemas import TOPICS, AuditEvent, Outgoing, utc_now
from tests.support.dying_ingest import AtOnce
from tests.support.pipeline import (
    CONFIG_HASH,
    OneThread,
    broker,
    forwarding,
    ingesting,
    site_status,
    telemetry,
    until,
)


@pytest.fixture(autouse=True)
def no_wait(monkeypatch):
    """The group's own wait for more members is tested elsewhere."""
    monkeypatch.setattr(consumer, "Consumer", AtOnce)


class Site:
    """A site's folder, its outbox and its key; the centre's folder knows the key."""

    def __init__(self, folder: Path) -> None:
        self.backlog = OneThread(folder / "site" / "outbox.db")
        key = LogKey.load_or_create(folder / "site" / "audit.pem")
        self.signer = Signer("TX01", CONFIG_HASH, origin("TX01"), key)
        self.centre, self.courier = folder / "centre", folder / "courier"
        Layout(self.centre).store().seen(
            "TX01", str(self.signer.verifier), "0.1.0", self.backlog.store_id, []
        )
        self._log = AuditLog("TX01", key, [])
        self.since = utc_now()

    def commit(self, *records: Outgoing) -> None:
        self.backlog.ask(self.backlog.store.commit, records)

    def live(self, cycles: int) -> None:
        """Some cycles with all that a site says, audit entries and a heartbeat among it."""
        for cycle in range(cycles):
            entry = self._log.append(
                AuditEvent.ALERT, "TX01/R1/coolant_pump", utc_now(), detail={"cycle": cycle}
            )
            self.commit(telemetry(cycle), telemetry(cycle, "heat_exchanger"), entry.outgoing())
        stats = self.backlog.ask(self.backlog.store.stats)
        self.commit(site_status(stats, self.backlog.store_id), self._log.checkpoint(utc_now()).outgoing())

    def export(self, folder: Path | None = None):
        with OutboxFile(self.centre.parent / "site" / "outbox.db") as outbox:
            return write_bundles(outbox, self.since, folder or self.courier, self.signer, lambda rows: None)


@pytest.fixture
def site(tmp_path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def imported(site, capsys):
    """`control-plane import`: its exit code and a row for each bundle."""

    def run(folder=None, kafka=None, key=None):
        with pytest.raises(typer.Exit) as ended:
            import_(folder or site.courier, site.centre, kafka, key, as_json=True)
        return ended.value.exit_code, json.loads(capsys.readouterr().out)

    return run


def contents(lake: Path) -> dict[str, list]:
    """Every table, every column, as text, in the order of row numbers."""
    reader = LakeReader(lake)
    sql = "SELECT * FROM {} ORDER BY store_id, seq"
    return {spec.name: [str(r) for r in reader.rows(sql.format(spec.name))] for spec in TABLES.values()}


@pytest.mark.slow
def test_a_bundle_brings_the_messages_and_the_rows_that_kafka_brings(site, imported, tmp_path):
    """Topic, key, headers and body are equal byte for byte, and so are the two lakes, column by column."""
    site.live(20)
    [path] = site.export().bundles
    with broker() as address:
        with ingesting(tmp_path / "kafka-lake", address) as ingest, forwarding(site.backlog, address):
            until(lambda: ingest.accepted == 62)
        by_kafka = everything_in(address, 62)
    bundle = read_bundle(path, lambda _: site.signer.verifier)
    by_courier = {
        (m.topic, m.key, tuple((k, str(v).encode()) for k, v in dict(m.headers).items()), m.body)
        for m in messages(bundle, path)
    }
    assert by_courier == by_kafka
    assert imported() == (0, [row(path, new=62)])
    lake = Layout(site.centre).lake
    assert contents(lake) == contents(tmp_path / "kafka-lake")
    assert sum(map(len, contents(lake).values())) == 62


def everything_in(address: str, count: int) -> set:
    reader = Consumer({"bootstrap.servers": address, "group.id": "t", "auto.offset.reset": "earliest"})
    reader.subscribe(list(TOPICS))
    found = []
    until(lambda: found.extend(reader.consume(count, 1.0)) or len(found) >= count)
    reader.close()
    return {(m.topic(), m.key(), tuple(m.headers()), m.value()) for m in found}


def row(path: Path, new: int = 0, repeats: int = 0) -> dict:
    found = {"bundle": path.name, "site": "TX01", "rows": new + repeats, "refused": None}
    return found | {"new": new, "repeats": repeats, "set_aside": 0}


@pytest.mark.slow
def test_importing_twice_or_what_kafka_brought_changes_nothing(site, imported):
    """Half came by Kafka, all by the courier, twice: each record is in the lake once."""
    site.live(5)
    lake = Layout(site.centre).lake
    with broker() as address, ingesting(lake, address) as ingest, forwarding(site.backlog, address):
        until(lambda: ingest.accepted == 17)
    site.live(5)
    [path] = site.export().bundles
    assert imported() == (0, [row(path, new=17, repeats=17) | {"rows": 34}])
    before = contents(lake)
    assert imported() == (0, [row(path, repeats=34)])
    assert contents(lake) == before
    [account] = read_accounts(lake)
    assert (account.produced, account.arrived, account.twice, account.repeats) == (34, 34, 0, 51)


def test_exported_rows_still_wait_for_kafka_and_the_next_export_brings_the_rest(site):
    """An export acknowledges nothing; into the same folder, it adds what is new and rewrites what is torn."""
    site.live(3)
    site.backlog.acknowledge([1, 2, 3])
    first = site.export()
    assert (first.rows, first.rows_there) == (11, 0)  # what Kafka acknowledged is in as well
    assert site.backlog.pending_rows() == 8
    site.live(1)
    second = site.export()
    assert (second.rows, second.rows_there) == (5, 11)
    assert (site.export().rows, len(list(site.courier.iterdir()))) == (0, 2)
    whole = first.bundles[0].read_bytes()
    first.bundles[0].write_bytes(whole[:-1])
    (site.courier / f"{first.bundles[0].name}.part").write_bytes(b"half")
    assert site.export().rows == 11
    assert len(list(site.courier.iterdir())) == 2


def test_only_what_is_at_or_after_the_time_and_all_behind_it_is_exported(site):
    """A clock that was set back later leaves nothing out."""
    early, late = telemetry(1)._replace(time_ms=1_000), telemetry(2)._replace(time_ms=9_000)
    site.commit(early, late, early, early)
    site.since = site.since.fromtimestamp(9.0, site.since.tzinfo)
    [path] = site.export().bundles
    rows = read_bundle(path, lambda _: site.signer.verifier).rows
    assert [each.seq for each in rows] == [2, 3, 4]


def test_the_command_exports_what_the_centre_takes(site, imported, tmp_path, capsys):
    """`edge-agent export` needs no more than the agent's own folder and configuration, and prints the key."""
    site.live(2)
    (tmp_path / "fleet.yaml").write_text("TX01: {R1: {coolant_pump: {}}}")
    where = {"config": tmp_path / "fleet.yaml", "site": "TX01", "data_dir": tmp_path / "site"}
    export_command(**where, since=site.since.isoformat(), to=site.courier, as_json=True)
    done = json.loads(capsys.readouterr().out)
    assert (done["rows"], done["rows_there"], done["key"]) == (8, 0, str(site.signer.verifier))
    assert imported() == (0, [row(Path(done["bundles"][0]), new=8)])
    for wrong, problem in (({"site": "TX09"}, "--site"), ({"data_dir": tmp_path}, "no audit.pem")):
        with pytest.raises(ConfigError, match=problem):
            export_command(**where | wrong, since="2026-01-01", to=site.courier)


def test_rows_that_changed_on_the_disk_are_named_and_not_exported(site, imported, tmp_path, capsys):
    """Of a salvaged outbox, which has two stores: each store's bundle has its sound rows alone."""
    site.live(2)
    old_id, path = site.backlog.store_id, tmp_path / "site" / "outbox.db"
    site.backlog.ask(site.backlog.store.__exit__)
    recovery.replace(path, "for this test")
    site.backlog = OneThread(path)
    site.live(2)
    change_bodies(path, 3, 4, 10)  # rows 3 and 4 of the old store, row 2 of the new
    (tmp_path / "fleet.yaml").write_text("TX01: {R1: {coolant_pump: {}}}")
    where = {"config": tmp_path / "fleet.yaml", "site": "TX01", "data_dir": tmp_path / "site"}
    export_command(**where, since=site.since.isoformat(), to=site.courier, as_json=True)
    done = json.loads(capsys.readouterr().out)
    new_id = site.backlog.store_id
    assert done["corrupt"] == {old_id: [[3, 4]], new_id: [[2, 2]]}
    assert done["rows"] == 13
    assert imported()[0] == 0
    spans = LakeReader(Layout(site.centre).lake).spans()
    assert spans == {old_id: [(1, 2), (5, 8)], new_id: [(1, 1), (3, 8)]}
    export_command(**where, since=site.since.isoformat(), to=tmp_path / "other")
    assert f"left out, not what was committed: 2 rows of store {old_id}: 3 to 4\n" in capsys.readouterr().out


def change_bodies(path: Path, *seqs: int) -> None:
    """What a failing disk does; SQLite does not notice."""
    with closing(sqlite3.connect(path)) as db:
        for seq in seqs:
            db.execute("UPDATE records SET body = CAST(body || ' ' AS BLOB) WHERE seq = ?", (seq,))
        db.commit()


def test_a_full_medium_leaves_whole_bundles_and_no_half(site, monkeypatch):
    """The write that fails takes its part file away; the next call goes on behind what is there."""
    monkeypatch.setattr("shared.bundle.ROWS_MAX", 10)
    site.live(10)
    real, writes = os.fsync, []

    def full(descriptor: int) -> None:
        writes.append(descriptor)
        if len(writes) == 5:  # two bundles, each with its folder; then this
            assert len(list(site.courier.glob("*.bundle"))) == 2  # a process killed now leaves no third
            raise OSError(28, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(Retryable, match="No space left on device; what is there is whole, run it again"):
            site.export()
    assert len(list(site.courier.glob("*.bundle"))) == len(list(site.courier.iterdir())) == 2
    rest = site.export()
    assert (rest.rows_there, rest.rows) == (20, 12)


def test_refused_bundles_are_named_and_the_others_taken(site, imported, tmp_path):
    """Tampered, of a site without a key, and of a site with another key: each says its check."""
    site.live(2)
    [path] = site.export().bundles
    data = path.read_bytes()
    (site.courier / "Tampered.bundle").write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    (site.courier / "Alien.bundle").write_bytes(data.replace(b'"TX01"', b'"XX99"', 1))
    code, rows = imported()
    assert code == 1
    alien, taken, tampered = (row["refused"] for row in rows)
    assert alien == "bundle key: no key of site XX99 is known here; give it with --key"
    assert taken is None
    assert tampered.startswith("bundle sha256: found ")
    other = tmp_path / "other.keys"
    other.write_text(f"{LogKey.load_or_create(tmp_path / 'x.pem').verifier(origin('TX01'))}\n")
    refused = imported(key=other)[1][1]["refused"]
    assert refused == f"bundle key: {other} has another key of TX01 than the one it first called with"


def test_a_site_that_never_called_is_checked_with_a_given_key(site, imported, tmp_path):
    """Its key comes by another way; without it nothing of it is taken."""
    site.centre = tmp_path / "new-centre"
    site.live(1)
    [path] = site.export().bundles
    assert imported()[1][0]["refused"].startswith("bundle key: no key of site TX01 is known here")
    keys = tmp_path / "keys"
    keys.write_text(f"{site.signer.verifier}\n")
    assert imported(key=keys) == (0, [row(path, new=5)])


@pytest.mark.slow
def test_while_ingest_runs_an_import_goes_by_way_of_kafka(site, imported):
    """The lake has one writer: a direct import says so; with --kafka the running ingest takes the records."""
    site.live(4)
    site.export()
    lake = Layout(site.centre).lake
    with broker() as address, lake_lock(lake), ingesting(lake, address) as ingest:
        with pytest.raises(Retryable, match=r"is writing to this lake; give --kafka"):
            import_(site.courier, site.centre)
        for sent in (1, 2):
            assert imported(kafka=address)[1][0]["sent"] == 14
            until(lambda: ingest.accepted + ingest.repeats == 14 * sent)
    assert (ingest.accepted, ingest.repeats) == (14, 14)
    assert LakeReader(lake).spans() == {site.backlog.store_id: [(1, 14)]}


def test_an_export_reads_while_the_agent_writes(site, imported):
    """Each bundle is a run without holes of what was committed; nothing the writer does is held up."""
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            site.commit(telemetry(1), telemetry(2))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        until(lambda: site.backlog.ask(site.backlog.store.stats).last_seq > 50)
        for _ in range(5):
            site.export()
    finally:
        stop.set()
        writer.join()
    site.export()
    assert imported()[0] == 0
    last = site.backlog.ask(site.backlog.store.stats).last_seq
    assert LakeReader(Layout(site.centre).lake).spans() == {site.backlog.store_id: [(1, last)]}
