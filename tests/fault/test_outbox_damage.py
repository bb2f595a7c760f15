"""A damaged, deleted or rolled-back outbox file: what can be read is kept, the rest is explained.

OUTBOX_SEED replays a run; OUTBOX_ROUNDS makes it longer.
"""

import asyncio
import os
import random
import secrets
import shutil
import sqlite3
import time
import uuid
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

import pytest

from edge_agent.health import Metrics
from edge_agent.outbox import Outbox, OutboxLimits, OutboxStore, Replaced, recovery
from edge_agent.outbox.recovery import SET_ASIDE_KEPT
from edge_agent.recorder import Event, Recorder
from shared.log_key import LogKey
from shared.schemas import AuditEntry, AuditEvent, Outgoing, Telemetry, utc_now
from tests.support.outbox_account import SITE, Account, explained_rows

SEED = int(os.environ.get("OUTBOX_SEED", secrets.randbelow(2**32)))
ROUNDS = int(os.environ.get("OUTBOX_ROUNDS", "5"))
KEY = f"{SITE}/R1/coolant_pump"


COMMITS = 30  # in a file to damage: 180 rows
NOW_S = 1_767_225_600.0  # of every acknowledgement here


@pytest.fixture(autouse=True)
def seed(monkeypatch: pytest.MonkeyPatch) -> int:
    """A seed gives the same bytes again: ids and times are of it too."""
    print(f"OUTBOX_SEED={SEED} replays this run")  # noqa: T201 - pytest shows it when the test fails
    random_ = random.Random(SEED)
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=random_.getrandbits(128), version=4))
    monkeypatch.setattr(time, "time", lambda: NOW_S)
    return SEED


def batch(start: int) -> list[Outgoing]:
    """Five readings, of which some are alerts, and an audit entry."""
    rows = [
        Outgoing("alert/1" if i % 7 == 3 else "telemetry/1", KEY, i, f"reading {i} ".encode() * 20)
        for i in range(start, start + 5)
    ]
    return [*rows, Outgoing("audit/1", SITE, start, f"leaf {start}".encode())]


def filled(path: Path, not_in_the_file: int = COMMITS, overtook: Collection[int] = ()) -> Account:
    """An outbox with pending and acknowledged rows, left as a killed process leaves it: with its WAL.

    The last `not_in_the_file` commits are there alone; rows that `overtook` are acknowledged before others.
    """
    account, store = Account(), OutboxStore(path)
    store.__enter__()
    for turn in range(COMMITS):
        store.commit(batch(turn * 5))
        account.committed(store.store_id, store.stats().last_seq, batch(turn * 5))
        if turn == COMMITS // 2:
            acknowledged = [*range(1, 41), *overtook]
            store.acknowledge(acknowledged)
            account.acked |= {(store.store_id, n) for n in acknowledged}
        if turn == COMMITS - 1 - not_in_the_file:
            store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    copies = {part: part.read_bytes() for part in path.parent.iterdir()}
    store.__exit__()
    for part, data in copies.items():
        part.write_bytes(data)
    return account


def asides(path: Path) -> list[Path]:
    return [p for p in path.parent.glob("*.damaged-*") if not p.name.endswith(("-wal", "-shm"))]


def test_a_file_of_garbage_is_set_aside_and_its_rows_are_explained(tmp_path):
    """With nothing readable a new store begins; each row that was pending is explained; the log goes on."""
    path = tmp_path / "o.db"
    account = filled(path)
    old_id = next(iter(account.rows))[0]
    for part in (path, path.with_name("o.db-wal")):
        part.write_bytes(random.Random(SEED).randbytes(part.stat().st_size))
    with OutboxStore(path) as store:
        assert store.store_id != old_id
        kept, explained = account.check(store)
        assert explained == {(old_id, n) for n in range(41, 181)}
        assert {name for name in kept if name[0] == old_id} == set()
        assert store.stats().given_up_rows == 140
    assert len(asides(path)) == 1


@pytest.mark.parametrize("lost", ["o.db", "o.db-wal"])
def test_a_file_that_is_gone_is_not_taken_for_a_first_start(tmp_path, lost):
    """Rows that went with a deleted file are explained, none of their numbers is used again."""
    account = filled(tmp_path / "o.db")
    (tmp_path / lost).unlink()
    with OutboxStore(tmp_path / "o.db") as store:
        store.commit(batch(1_000))
        account.committed(store.store_id, store.stats().last_seq, batch(1_000))
        account.check(store)


def test_a_file_put_back_from_a_copy_does_not_number_rows_anew(tmp_path):
    """An older copy is found out by its anchor: its rows keep their numbers, later ones are explained."""
    path = tmp_path / "o.db"
    with OutboxStore(path) as store:
        account = Account()
        store.commit(batch(0))
        account.committed(store.store_id, 6, batch(0))
    shutil.copy(path, tmp_path / "copy")
    with OutboxStore(path) as store:
        store.commit(batch(5)[:5])
        account.committed(store.store_id, 11, batch(5)[:5])
        old_id = store.store_id
    shutil.copy(tmp_path / "copy", path)
    with OutboxStore(path) as store:
        kept, explained = account.check(store)
        assert explained == {(old_id, n) for n in range(7, 12)}
        assert {name for name in kept if name[0] == old_id} == {(old_id, n) for n in range(1, 7)}


def test_a_damage_in_use_is_found_and_the_store_goes_on(tmp_path):
    """Pages overwritten under a running store: it says so once, then keeps what comes."""
    path = tmp_path / "o.db"
    account = Account()
    with OutboxStore(path) as store:
        for turn in range(200):
            store.commit(batch(turn * 5))
            account.committed(store.store_id, store.stats().last_seq, batch(turn * 5))
        store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        store._db.execute("PRAGMA shrink_memory")  # what is cached is not read again
        with path.open("r+b") as file:
            file.write(b"\xff" * path.stat().st_size)
        old_id, found = store.store_id, []
        for turn in range(1_000, 1_010):
            try:
                store.commit(batch(turn))
            except Replaced as replaced:
                found.append(replaced)
                store.commit(batch(turn))
            with suppress(Replaced):
                store.pending(0, 10_000)
            account.committed(store.store_id, store.stats().last_seq, batch(turn))
        account.check(store)
        assert store.store_id != old_id


def flip(random_: random.Random, data: bytearray) -> None:
    for _ in range(random_.choice([1, 1, 3, 50])):
        data[random_.randrange(len(data))] ^= 1 << random_.randrange(8)


def structure(random_: random.Random, data: bytearray) -> None:
    """One bit of what is neither text nor empty: numbers, lengths, codes, places."""
    place = random_.choice([at for at, byte in enumerate(data) if byte and not 32 <= byte < 127])
    data[place] ^= 1 << random_.randrange(8)


def cut(random_: random.Random, data: bytearray) -> None:
    del data[random_.randrange(len(data)) :]


def blank(random_: random.Random, data: bytearray) -> None:
    start = random_.randrange(len(data))
    size = min(random_.choice([1, 512, 4_096, 20_000]), len(data) - start)
    data[start : start + size] = bytes(size)


def mix(random_: random.Random, data: bytearray) -> None:
    start = random_.randrange(len(data))
    size = min(random_.choice([16, 512, 4_096, 20_000]), len(data) - start)
    data[start : start + size] = random_.randbytes(size)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip, structure, cut, blank, mix])
@pytest.mark.parametrize("part", ["o.db", "o.db-wal"])
def test_whatever_happens_to_the_bytes_no_row_is_lost_unexplained_or_changed(tmp_path, part, damage):
    """Bits flipped, blocks blanked or mixed, files cut: the outbox opens, and answers for every row."""
    random_ = random.Random(f"{SEED} {part} {damage.__name__}")
    sound = []
    for left in (0, 2) if part == "o.db" else (COMMITS,):
        folder = tmp_path / f"{left} commits are not in the file"
        folder.mkdir()
        sound.append((folder, filled(folder / "o.db", left, overtook=(44, 46, *range(61, 67)))))
    for _ in range(ROUNDS):
        folder, account = random_.choice(sound)
        leaves = list(account.leaves)
        shutil.rmtree(tmp_path / "round", ignore_errors=True)
        path = shutil.copytree(folder, tmp_path / "round") / "o.db"
        data = bytearray((path.parent / part).read_bytes())
        damage(random_, data)
        (path.parent / part).write_bytes(data)
        account.leaves = list(leaves)
        with OutboxStore(path) as store:
            account.check(store)
            store.commit(batch(10_000))
            twin = Account(dict(account.rows), account.acked, list(leaves))
            twin.committed(store.store_id, store.stats().last_seq, batch(10_000))
            twin.check(store)


@pytest.mark.parametrize(
    "name",
    [
        "stores",
        "records",
        "records_urgent",
        "records_marked",
        "settled",
        "audit_log",
        "_sqlite_migrations",
        "applied_at",
    ],
)
def test_a_file_whose_tables_have_other_names_is_set_aside(tmp_path, name):
    """A name damaged in the file's own list of tables does not keep the agent from keeping."""
    path = tmp_path / "o.db"
    account = filled(path)
    with OutboxStore(path):
        assert not asides(path)  # its end brings everything into the file
    data = path.read_bytes()
    assert name.encode() in data
    path.write_bytes(data.replace(name.encode(), name.encode().swapcase()[::-1]))
    with OutboxStore(path) as store:
        account.check(store)
        store.commit(batch(1_000))
    assert len(asides(path)) == 1


@pytest.mark.parametrize("word", [b"CREATE TABLE", b"TEXT", b"INTEGER"])
def test_a_file_whose_tables_are_described_in_no_text_is_set_aside(tmp_path, word):
    """SQLite quotes the damaged words in its message, which Python then cannot make a text."""
    path = tmp_path / "o.db"
    account = filled(path)
    with OutboxStore(path):
        assert not asides(path)
    data = path.read_bytes()
    assert word in data
    path.write_bytes(data.replace(word, b"\xf3" * len(word)))
    with OutboxStore(path) as store:
        account.check(store)
        store.commit(batch(1_000))
    assert len(asides(path)) == 1


def test_a_row_that_changed_on_the_disk_is_given_up_and_not_forwarded(tmp_path):
    """A body that does not fit its checksum never leaves; a gap record stands for it."""
    path = tmp_path / "o.db"
    account = Account()
    with OutboxStore(path) as store:
        store.commit(batch(0))
        account.committed(store.store_id, 6, batch(0))
        other = sqlite3.connect(path)
        other.execute(
            "UPDATE records SET body = CAST(replace(body, 'reading', 'Reading') AS BLOB) WHERE seq = 3"
        )
        other.commit()
        other.close()
        _, explained = account.check(store)
        assert explained == {(store.store_id, 3)}


def changed(path: Path, *statements: str) -> None:
    """Change what the file says behind the store's back."""
    other = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        other.execute(statement)
    other.close()


@pytest.mark.parametrize("change", ["to_seq = 100", "at_ms = at_ms + 1", "crc = 0", "to_seq = 100000"])
def test_a_line_of_what_is_settled_that_changed_on_the_disk_silences_no_row(tmp_path, change):
    """Such a line counts for nothing: rows are sent again, and the next line stands in its place."""
    path = tmp_path / "o.db"
    account = filled(path)
    with OutboxStore(path) as store:
        store.acknowledge(range(41, 51))
    changed(path, f"UPDATE settled SET {change} WHERE to_seq = 50")  # noqa: S608 - of this test
    with OutboxStore(path) as store:
        assert [row.number for row in store.pending(0, 1_000)] == list(range(41, 181))
        store.acknowledge(range(41, 101))
        assert store.pending(0, 1)[0].number == 101
    with OutboxStore(path) as store:
        assert store.pending(0, 1)[0].number == 101
        store.commit(batch(1_000))
        account.committed(store.store_id, store.stats().last_seq, batch(1_000))
        account.acked |= {(store.store_id, number) for number in range(41, 101)}
        account.check(store)


def without(path: Path, index: str, *statements: str) -> None:
    """Change rows so that an index does not hear of it, as a flipped bit does."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA writable_schema = ON")
    [said] = other.execute("SELECT * FROM sqlite_master WHERE name = ?", (index,)).fetchall()
    other.execute("DELETE FROM sqlite_master WHERE name = ?", (index,))
    other.close()
    changed(path, *statements)
    changed(path, "PRAGMA writable_schema = ON", f"INSERT INTO sqlite_master VALUES {said!r}")  # noqa: S608


MARKED_101 = "UPDATE records SET acked_ms = 0 WHERE seq = 101"


def test_a_bit_that_makes_a_row_look_acknowledged_does_not_silence_it(tmp_path):
    """One bit in the header of a row says "0" where "none" stood; no page is wrong by it."""
    path = tmp_path / "o.db"
    account = filled(path)
    with OutboxStore(path) as store:
        row = store.pending(100, 1)[0]
    data = bytearray(path.read_bytes())
    at = data.rindex(row.record.schema.encode(), 0, data.index(row.record.body)) - 2
    assert data[at] == 0  # SQLite's code for NULL
    data[at] = 8  # for the number 0
    path.write_bytes(data)
    with OutboxStore(path) as store:
        kept, explained = account.check(store)
        assert (row.store_id, 101) in kept
        assert not explained
    assert len(asides(path)) == 1


def test_a_row_that_comes_to_look_acknowledged_in_use_is_not_settled(tmp_path):
    """A line of what is settled passes over no mark that the index of marks does not have."""
    path = tmp_path / "o.db"
    account = filled(path)
    with OutboxStore(path) as store:
        without(path, "records_marked", MARKED_101)
        assert 101 not in [row.number for row in store.pending(0, 1_000)]
        with pytest.raises(Replaced, match="1 are marked as acknowledged, 0 were"):
            store.acknowledge([*range(41, 101), *range(102, 121)])
        kept, explained = account.check(store)
        assert {number for _, number in kept} >= set(range(41, 181))
        assert not explained


def test_a_row_that_only_the_index_of_marks_calls_acknowledged_is_not_pruned(tmp_path):
    """Rows are dropped by what they say themselves."""
    path = tmp_path / "o.db"
    account = filled(path, overtook=[50, 51, 53])
    account.acked.remove((next(iter(account.rows))[0], 51))
    with OutboxStore(path, OutboxLimits(acked_rows_kept=1)) as store:
        without(path, "records_marked", "UPDATE records SET acked_ms = NULL WHERE seq = 51")
        store.acknowledge([180])
        account.acked.add((store.store_id, 180))
        assert store._db.execute("SELECT count(*) FROM records WHERE seq IN (50, 51)").fetchone() == (1,)
        account.check(store)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE records SET seq = 180 + 64 WHERE seq = 180",
        "UPDATE sqlite_sequence SET seq = 180 + 64 WHERE name = 'records'",
        "UPDATE sqlite_sequence SET seq = 180 - 4 WHERE name = 'records'",
    ],
)
def test_a_bit_in_the_newest_number_leaves_no_number_unexplained(tmp_path, change):
    """The newest row, the count of rows and the anchor have to agree; what is between them is explained."""
    path = tmp_path / "o.db"
    account = filled(path)
    changed(path, change)
    with OutboxStore(path) as store:
        store.commit(batch(1_000))
        account.committed(store.store_id, store.stats().last_seq, batch(1_000))
        kept, explained = account.check(store)
        old = {number for store_id, number in kept | explained if store_id != store.store_id}
        assert old >= set(range(41, max(old) + 1))
    assert len(asides(path)) == 1


@pytest.mark.parametrize("bit", [4, 6, 7])  # 117, 37, 12,937
def test_a_bit_in_the_number_of_a_row_costs_that_row_alone(tmp_path, bit):
    """Rows after one whose number has become larger or smaller are read and saved."""
    path = tmp_path / "o.db"
    account = filled(path)
    with OutboxStore(path) as store:
        row = store.pending(100, 1)[0]
    data = bytearray(path.read_bytes())
    at = data.rindex(row.record.schema.encode(), 0, data.index(row.record.body))
    number = at - 10  # before the header of the row
    assert data[number] == 101
    data[number] ^= 1 << bit
    path.write_bytes(data)
    with OutboxStore(path) as store:
        _, explained = account.check(store)
        assert explained == {(row.store_id, 101)}


def test_a_file_that_a_bit_makes_read_only_is_set_aside(tmp_path):
    """The agent does not wait for ever to write to it; every row of it is saved."""
    path = tmp_path / "o.db"
    account = filled(path, 0)
    path.with_name("o.db-wal").unlink()
    data = bytearray(path.read_bytes())
    data[18] ^= 1  # the version of the format that a program must know to write
    path.write_bytes(data)
    with OutboxStore(path) as store:
        kept, explained = account.check(store)
        assert not explained
        assert {number for _, number in kept} >= set(range(41, 181))
    assert len(asides(path)) == 1


def test_a_file_that_says_more_is_settled_than_it_has_rows_silences_no_later_row(tmp_path):
    """It is set aside: rows to come would have the numbers that it calls done."""
    path = tmp_path / "o.db"
    with OutboxStore(path) as store:
        store.commit(batch(0))
        store.acknowledge(range(1, 7))
    path.with_name("o.db.anchor").unlink()
    changed(path, "DELETE FROM records WHERE seq > 2", "UPDATE sqlite_sequence SET seq = 2")
    with OutboxStore(path) as store:
        store.commit(batch(5))
        assert [row.store_id for row in store.pending(0, 100)].count(store.store_id) == 6
    assert len(asides(path)) == 1


def test_what_is_settled_is_not_saved_to_be_sent_again(tmp_path):
    """Also where the anchor is lost, the damaged file's own lines say what Kafka has."""
    path = tmp_path / "o.db"
    account = filled(path)
    with OutboxStore(path):
        pass
    path.with_name("o.db.anchor").unlink()
    path.write_bytes(path.read_bytes().replace(b"records_marked", b"DEKRAM_sdrocer"))
    with OutboxStore(path) as store:
        kept, _ = account.check(store)
        assert not kept & account.acked
    assert len(asides(path)) == 1


def test_a_column_that_has_another_name_in_use_does_not_keep_the_agent_from_keeping(tmp_path):
    """The names of what is rarely written are first read when it is needed: then the file is set aside."""
    path = tmp_path / "o.db"
    account = filled(path)
    with OutboxStore(path):
        assert not asides(path)
    data = path.read_bytes().replace(b"told TEXT", b"tolt TEXT")
    path.write_bytes(data.replace(b"reading 70 ", b"reading 07 ", 1))
    with OutboxStore(path) as store:
        _, explained = account.check(store)
        assert [number for _, number in explained] == [85]
    assert len(asides(path)) == 1


def test_an_alert_that_its_index_does_not_have_is_not_left_behind(tmp_path):
    """Only by the index do urgent rows leave: one that lacks a row is found out at the start."""
    path = tmp_path / "o.db"
    with OutboxStore(path) as store:
        store.commit([*batch(0), Outgoing("alert/1", KEY, 1, b"alert")])
        [said] = store._db.execute("SELECT sql FROM sqlite_master WHERE name = 'records_urgent'").fetchone()
        old_id = store.store_id
    changed(
        path,
        "DROP INDEX records_urgent",
        "CREATE INDEX records_urgent ON records (seq) WHERE schema = 'none'",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = '{}' WHERE name = 'records_urgent'".format(  # noqa: S608 - of this test
            said.replace("'", "''")
        ),
    )
    with OutboxStore(path) as store:
        assert [(row.store_id, row.number) for row in store.pending(0, 10, urgent=True)] == [
            (old_id, 4),
            (old_id, 7),
        ]


def test_nothing_of_a_new_store_is_settled_while_rows_of_the_damaged_one_wait(tmp_path):
    """`settled_seq` is the newest store's own number; what it says of the centre's ledger is true."""
    path = tmp_path / "o.db"
    filled(path)
    with OutboxStore(path) as store:
        old_id, base = store.store_id, store.stats().last_seq
    recovery.replace(path, "for this test")
    with OutboxStore(path) as store:
        store.commit(batch(1_000))
        stats, rows = store.stats(), store.pending(0, 1_000)
        assert (stats.last_seq, stats.settled_seq, stats.pending_rows) == (6, 0, base - 40 + 6)
        assert {row.store_id for row in rows} == {old_id, store.store_id}
        store.acknowledge([row.seq for row in rows if row.store_id == old_id][:-1])
        assert store.stats().settled_seq == 0
        store.acknowledge([row.seq for row in rows if row.store_id == old_id or row.number <= 2])
        assert (store.stats().settled_seq, store.stats().last_seq) == (2, 6)


@pytest.mark.parametrize("told", ["as it was", "damaged"])
def test_a_second_damage_does_not_forget_what_befell_rows_in_the_first(tmp_path, told):
    """What is not on the record yet goes into the next file, if it can still be read."""
    path = tmp_path / "o.db"
    account = filled(path)
    with OutboxStore(path) as store:
        changed(path, "UPDATE records SET crc = 0 WHERE seq = 41")
        assert store.pending(0, 1)[0].number == 42  # the damaged row is given up
        account.acked.add((store.store_id, 42))
        store.acknowledge([42])
        if told == "damaged":
            changed(path, "UPDATE incidents SET told = replace(told, 'rows', 'rovs')")
            account.acked.add((store.store_id, 41))  # nothing knows of it any more
    recovery.replace(path, "for this test")
    with OutboxStore(path) as store:
        _, explained = account.check(store)
        assert [number for _, number in explained] == ([41] if told == "as it was" else [])


def test_only_the_newest_damaged_files_are_kept(tmp_path):
    """Whatever befalls the disk, the folder does not fill with damaged files."""
    path = tmp_path / "o.db"
    for turn in range(SET_ASIDE_KEPT + 3):
        with OutboxStore(path) as store:
            store.commit(batch(turn))
        path.write_bytes(b"garbage" * 1_000)
    with OutboxStore(path):
        assert len(asides(path)) == SET_ASIDE_KEPT


def die_before(call: str, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let the `count`-th rename fail as if the process had died there."""
    real: Callable[[Path, Path], Path] = getattr(Path, call)
    left = [count]

    def dies(self: Path, *arguments: Path) -> Path:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return real(self, *arguments)

    monkeypatch.setattr(Path, call, dies)


@pytest.mark.parametrize("renames", [1, 2, 3, 4])
def test_a_process_that_dies_while_it_replaces_the_file_loses_nothing(tmp_path, monkeypatch, renames):
    """At each step of putting the new file in place a restart goes on, and every row is answered for."""
    path = tmp_path / "o.db"
    account = filled(path)
    path.with_name("o.db-wal").write_bytes(b"garbage" * 1_000)
    with monkeypatch.context() as patch:
        die_before("rename", patch, renames)
        store = OutboxStore(path)
        with pytest.raises(KeyboardInterrupt):
            store.__enter__()
        store.__exit__()
    with OutboxStore(path) as store:
        account.check(store)
    assert not path.with_name("o.db.new").exists()


async def test_the_recorder_puts_a_damage_on_the_record_and_the_log_goes_on(tmp_path):
    """After a damage the audit log continues at its size, says what happened, and no poll is lost."""
    key, path = LogKey.load_or_create(tmp_path / "key.pem"), tmp_path / "outbox.db"
    async with Outbox(OutboxStore(path)) as outbox:
        recorder = Recorder(outbox, SITE, key, Metrics())
        await recorder.open()
        await recorder.keep([reading(1)], [Event(AuditEvent.AGENT_STARTED, SITE)])
        old_id = outbox.store_id
    for part in tmp_path.glob("outbox.db*"):
        if part.suffix != ".anchor":
            part.write_bytes(b"garbage" * 1_000)
    async with Outbox(OutboxStore(path)) as outbox:
        recorder = Recorder(outbox, SITE, key, Metrics())
        await recorder.open()
        await recorder.keep([reading(2)], [Event(AuditEvent.ALERT, SITE)])
        rows = [row.record for row in await asyncio.to_thread(outbox.pending, 0, 100)]
        entries = [AuditEntry.model_validate_json(r.body) for r in rows if r.schema == AuditEntry.SCHEMA]
        assert [(e.index, e.event) for e in entries] == [(1, "outbox_replaced"), (2, "alert")]
        assert entries[0].detail["why"] == "file is not a database"
        assert explained_rows(rows) == {(old_id, 1), (old_id, 2)}
        assert not outbox.has_incidents
        assert recorder.failing is None


def reading(cycle: int) -> Telemetry:
    return Telemetry(
        timestamp=utc_now(),
        site_id=SITE,
        reactor_id="R1",
        component="coolant_pump",
        cycle=cycle,
        metrics={"flow_rate": float(cycle)},
    )
