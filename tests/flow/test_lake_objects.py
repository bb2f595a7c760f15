"""The lake's tables in an object store: a real S3 API (moto); the other tests have them in a folder."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from moto.server import ThreadedMotoServer

import control_plane.sinks.lake as sinks_lake
import control_plane.sinks.sql as sinks_sql
from control_plane.api.history_follower import HistoryFollower
from control_plane.api.lake_follower import LakeFollower
from control_plane.api.long_history import HistoryDesk, Span
from control_plane.audit.query import Question, ask
from control_plane.commands.ingest import ingest
from control_plane.commands.maintain import maintain as maintain_command
from control_plane.commands.query import query
from control_plane.ingest import consumer
from control_plane.ingest.completeness import read_accounts
from control_plane.layout import Layout
from control_plane.sinks.influx_feed import InfluxFeed
from control_plane.sinks.influx_points import LINES
from control_plane.sinks.lake import LakeReader, LakeWriter
from control_plane.sinks.lake_place import FILE_NAME, STORE, open_table, settle
from control_plane.sinks.lake_upkeep import FILES_PER_STEP_MAX, maintain
from control_plane.training.source_tables import find_source
from shared.errors import ConfigError, Retryable
from tests.support import dying_ingest
from tests.support.console_lake import PUMP, ConsoleLake, fleet, gap, prediction, telemetry
from tests.support.lake_objects import ADDRESS, away, emptied, settled, watched
from tests.support.object_store import object_store
from tests.support.pipeline import OneThread, broker, forwarding, ingesting, until
from tests.support.pipeline import telemetry as reading

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROWS = 80  # two batches of the ingest that dies
LATER = 10  # while the store is away
EVENT, SEED = 3, 1  # it dies with its first batch in the lake, and no offset of it committed
CHILD_DEADLINE_S = 180.0


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadedMotoServer]:
    with pytest.MonkeyPatch.context() as patch, object_store(patch) as found:
        yield found


@pytest.fixture
def s3(server) -> ThreadedMotoServer:
    """With an empty bucket."""
    emptied(server)
    return server


@pytest.fixture
def lake(s3, tmp_path) -> ConsoleLake:
    """Empty tables in the store."""
    return ConsoleLake(settled(tmp_path / "lake")).create()


def filled(lake: ConsoleLake, first: int, last: int) -> None:
    """A commit to each of two tables a cycle."""
    for cycle in range(first, last):
        when = NOW - timedelta(seconds=100 - cycle)
        lake.write(telemetry(PUMP, when, cycle), prediction(PUMP, when, cycle))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_and_run_again_ingest_has_written_every_record_once(s3, tmp_path, monkeypatch):
    """A death between the commit and Kafka's offsets, then a store that is away for a time; the account of
    the site adds up, and no table is in the folder."""
    for name in ("Consumer", "BATCH_MESSAGES_MAX", "BATCH_WAIT_S"):
        monkeypatch.setattr(consumer, name, getattr(consumer, name))  # given back at the end
    lake, backlog = settled(tmp_path / "lake"), OneThread(tmp_path / "o.db")
    backlog.ask(backlog.store.commit, [reading(n) for n in range(ROWS)])
    with broker() as address, forwarding(backlog, address):
        until(lambda: backlog.pending_rows() == 0)
        command = [sys.executable, dying_ingest.__file__, str(lake), address, str(EVENT), str(SEED)]
        killed = subprocess.run(command, timeout=CHILD_DEADLINE_S, check=False)
        assert killed.returncode == -signal.SIGKILL
        assert LakeReader(lake).spans() == {backlog.store_id: [(1, dying_ingest.BATCH_MESSAGES)]}
        dying_ingest.hasten()
        with ingesting(lake, address) as again:
            until(lambda: LakeReader(lake).spans() == {backlog.store_id: [(1, ROWS)]})
            assert again.repeats == dying_ingest.BATCH_MESSAGES
            with away(s3) as refused:
                backlog.ask(backlog.store.commit, [reading(n) for n in range(ROWS, ROWS + LATER)])
                until(lambda: bool(refused))
            until(lambda: LakeReader(lake).spans() == {backlog.store_id: [(1, ROWS + LATER)]})
    [account] = read_accounts(lake)
    assert (account.arrived, account.twice, account.unexplained) == (ROWS + LATER, 0, 0)
    assert [path.name for path in lake.iterdir() if path.is_dir()] == []


def test_every_question_is_answered_from_the_store(lake, tmp_path, capsys):
    """Commands, pages, the record and training find the tables by the folder alone."""
    filled(lake, 0, 3)
    query("SELECT cycle FROM telemetry ORDER BY cycle", tmp_path, as_json=True)
    assert capsys.readouterr().out == '{"cycle": 0}\n{"cycle": 1}\n{"cycle": 2}\n'
    span = Span(NOW - timedelta(seconds=200), NOW)
    history = asyncio.run(HistoryDesk(lake.folder, fleet()).history(PUMP, span))
    assert sum(history.telemetry.rows) == 3
    assert ask(Layout(tmp_path), Question()) == []
    source = find_source(tmp_path)
    assert (source.version, source.address) == (3, f"{ADDRESS}/telemetry")


def test_the_store_stays_tidy_and_pages_see_each_row_once(s3, tmp_path, monkeypatch, capsys):
    """Rows before, between and after a compaction that removes at once; also for a page that slept."""
    monkeypatch.setattr(sinks_lake, "KEPT", dict.fromkeys(sinks_lake.KEPT, "interval 0 hours"))
    lake = ConsoleLake(settled(tmp_path / "lake")).create()
    awake, slept = LakeFollower(lake.folder), HistoryFollower(lake.folder, PUMP, 60, NOW)
    filled(lake, 0, 3)
    awake.refresh(NOW)
    slept.refresh(NOW)
    for cycle in range(3, FILES_PER_STEP_MAX + 2):
        lake.write(telemetry(PUMP, NOW - timedelta(seconds=100 - cycle), cycle))
    awake.refresh(NOW)
    before = len(open_table(lake.folder, "telemetry").file_uris())
    maintain_command(tmp_path, as_json=True)
    [done] = [each for each in json.loads(capsys.readouterr().out) if each["table"] == "telemetry"]
    assert (done["files_before"], done["files_after"]) == (before, 1)
    assert done["removed"] >= before
    last = FILES_PER_STEP_MAX + 2
    lake.write(telemetry(PUMP, NOW, last), gap("TX01", NOW, count=7))
    awake.refresh(NOW)
    slept.refresh(NOW)
    assert [row["cycle"] for row in slept.telemetry] == list(range(last + 1))
    assert awake.state.telemetry[PUMP]["cycle"] == last
    assert awake.state.rows_given_up("TX01") == 7


def test_influxdb_follows_the_store(lake):
    """What was there, what came since, nothing twice; the mark is on this machine."""
    written: list[str] = []

    class Writer:
        rejected = 0

        def write(self, lines: list[str]) -> None:
            written.extend(line for line in lines if line.startswith("telemetry,"))

    feed = InfluxFeed(lake.folder, Writer())  # type: ignore[arg-type]
    filled(lake, 0, 2)
    assert feed.step()
    filled(lake, 2, 4)
    assert feed.step()
    assert not feed.step()
    assert len(written) == len(set(written)) == 4
    marks = json.loads((lake.folder / "influx.json").read_text())
    versions = {schema: open_table(lake.folder, sinks_lake.TABLES[schema].name).version() for schema in LINES}
    assert {schema: version for schema, (version, _) in marks.items()} == versions


def test_no_commit_replaces_another_whatever_the_environment_says(s3, tmp_path, monkeypatch):
    """Every commit is put with `If-None-Match: *`, as the store's own guard against a second writer."""
    monkeypatch.setenv("AWS_S3_ALLOW_UNSAFE_RENAME", "true")
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    with watched(s3) as seen:
        lake = ConsoleLake(settled(tmp_path / "lake")).create()
        filled(lake, 0, 1)
        other = LakeWriter(lake.folder)
        other.create()
        other.accept([lake._arrival(telemetry(PUMP, NOW, 7))])
        with pytest.raises(
            ConfigError, match=f"{ADDRESS}/telemetry.*\n?.*another process writes to this lake"
        ):
            filled(lake, 1, 2)
    puts = [each for each in seen if each["REQUEST_METHOD"] == "PUT"]
    commits = [
        each for each in puts if each["PATH_INFO"].endswith(".json") and "_delta_log" in each["PATH_INFO"]
    ]
    assert len(commits) == len(sinks_lake.TABLES) + 3
    assert {each.get("HTTP_IF_NONE_MATCH") for each in commits} == {"*"}
    assert not [each for each in puts if "HTTP_X_AMZ_COPY_SOURCE" in each]


def test_a_store_that_is_away_is_told_and_noted_by_nobody(s3, tmp_path, monkeypatch):
    """At the first start, and later by every question: where, and what the store said, in one line."""
    folder = tmp_path / "lake"
    monkeypatch.setitem(STORE, "max_retries", "0")
    told = rf"{ADDRESS}: .*503 Service Unavailable"
    with away(s3), pytest.raises(Retryable, match=told):
        ingest(tmp_path, lake=ADDRESS)
    with pytest.raises(Retryable, match=r"s3://nobucket/lake: .*NoSuchBucket"):
        settle(folder, "s3://nobucket/lake")
    assert not (folder / FILE_NAME).exists()
    lake = ConsoleLake(settled(folder)).create()
    filled(lake, 0, 1)
    follower = LakeFollower(folder)
    questions = (
        lambda: query("SELECT 1", tmp_path), lambda: LakeReader(folder).spans(),
        lambda: list(maintain(folder)), lambda: ask(Layout(tmp_path), Question()),
        lambda: follower.refresh(NOW), lambda: find_source(tmp_path), lambda: LakeWriter(folder).create(),
    )  # fmt: skip
    with away(s3):
        for question in questions:
            with pytest.raises(Retryable, match="503 Service Unavailable") as error:
                question()
            assert len(str(error.value).splitlines()) == 1
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(Retryable, match="Connection refused"):
        LakeReader(folder).spans()


def test_a_store_that_leaves_in_the_middle_of_a_question_is_told_too(s3, lake, tmp_path, monkeypatch):
    """The table is open when it goes: not the question's fault, and said in the same words."""
    filled(lake, 0, 1)
    for room, question in (
        (sinks_lake, lambda: LakeReader(lake.folder).rows("SELECT sum(cycle) FROM telemetry")),
        (sinks_sql, lambda: query("SELECT sum(cycle) FROM telemetry", tmp_path)),
    ):
        with ExitStack() as gone:

            def opened(folder, name, gone=gone):
                table = open_table(folder, name)
                if name == "telemetry":  # the last one
                    gone.enter_context(away(s3))
                return table

            monkeypatch.setattr(room, "open_table", opened)
            with pytest.raises(Retryable, match=f"^{lake.folder}: .*503 Service Unavailable"):
                question()


@pytest.mark.parametrize(
    "address",
    ["bucket/lake", "file:///lake", "s3://", "s3://bucket/a b", "s3://bucket//lake", "s3a://bucket/lake"],
)
def test_what_is_no_address_is_refused(tmp_path, address):
    with pytest.raises(ConfigError, match="expected s3://bucket/prefix or gs://bucket/prefix"):
        settle(tmp_path / "lake", address)
    assert not (tmp_path / "lake").exists()


def test_a_second_address_is_refused(s3, tmp_path):
    """The tables stay where they are: in the store of the first start, or in the folder."""
    settle(tmp_path / "lake", f"{ADDRESS}/")
    settle(tmp_path / "lake", ADDRESS)
    with pytest.raises(ConfigError, match=f"found s3://bucket/other; the tables lie at {ADDRESS}"):
        ingest(tmp_path, lake="s3://bucket/other")
    LakeWriter(tmp_path / "here" / "lake").create()
    with pytest.raises(ConfigError, match=f"found {ADDRESS}; the tables lie in .*here/lake already"):
        ingest(tmp_path / "here", lake=ADDRESS)


def test_a_folder_that_was_lost_is_begun_anew_over_the_same_tables(lake, tmp_path):
    """Another machine takes over: what is there is known, and written on."""
    filled(lake, 0, 2)
    folder = settled(tmp_path / "new" / "lake")
    assert LakeReader(folder).spans() == {"store-TX01": [(1, 4)]}
