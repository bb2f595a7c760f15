"""A damaged file: what can be read of it goes into a new one, and it is set aside itself.

The new file has a new store id. Rows that were saved keep their number and the id they had, so that
whoever has seen one already knows it again; rows that were pending and are not readable are named in an
incident, which becomes gap records. The site's log goes on where it stood: its frontier is in the anchor.

The limit: what was committed after the anchor last reached the disk (a power loss together with a
damage) and is not readable either is not known to have been there. Rows that were sent before the
damage and are not readable may be counted as given up, though they arrived.

What is acknowledged is believed by its lines in `settled` alone, which have a checksum: a flipped bit makes
any row look marked. So marked rows are saved too, and sent again.
"""

import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from edge_agent.outbox import anchor as anchors
from edge_agent.outbox import notes
from edge_agent.outbox.file import FAILURES, Damaged, connect, connect_to_read, file_set, migrate, transaction
from edge_agent.outbox.gaps import Run, merged
from edge_agent.outbox.leaves import Leaves, begin
from edge_agent.outbox.rows import checksum, is_intact
from edge_agent.outbox.settled import settled_seq
from shared.durable import flush_folder
from shared.errors import Rejected
from shared.merkle import Frontier
from shared.schemas import Outgoing, parse_record

SET_ASIDE_KEPT = 2  # damaged file sets kept for whoever looks into it; each as large as the bound at most
UNREADABLE_MAX = 200  # places that may fail to read before the rest is left
SKIP_ROWS = 1  # after a place that cannot be read; doubles until one can be read again
_COLUMNS = "seq, schema, key, time_ms, body, crc"


@dataclass
class Salvage:
    """What an unreadable file still says. `saved` are runs of rows."""

    stores: list[tuple[int, str]] = field(default_factory=list)
    last_seq: int = 0
    first_pending: int = 1
    log: Frontier | None = None
    saved: list[Run] = field(default_factory=list)

    def missing(self) -> list[Run]:
        """Rows that may have been pending and are not saved."""
        known = merged([(0, self.first_pending - 1), *self.saved])
        ends = [*known, (self.last_seq + 1, self.last_seq + 1)]
        between = [(a[1] + 1, min(b[0] - 1, self.last_seq)) for a, b in pairwise(ends)]
        return [(first, last) for first, last in between if first <= last]


def replace(path: Path, why: str) -> int:
    """Build the new file beside the damaged one, then let them change places; how many rows are given up.

    FAILURES or OSError when there is no room for it: nothing has happened then, try again.
    """
    fresh = _fresh(path)
    for part in file_set(fresh):
        part.unlink(missing_ok=True)
    now = datetime.now(UTC)
    aside = path.with_name(f"{path.name}.damaged-{now:%Y%m%dT%H%M%S.%fZ}")
    told: dict[str, object] = {"why": why, "at": now.isoformat(), "file": aside.name if path.exists() else ""}
    given_up = _build(path, fresh, told)
    for part, kept in zip(file_set(path), file_set(aside), strict=True):
        if part.exists():
            part.rename(kept)
    fresh.rename(path)
    flush_folder(path.parent)
    _forget_oldest(path)
    return given_up


def finish_interrupted(path: Path) -> None:
    """Go on where a process died in `replace`."""
    fresh = _fresh(path)
    if fresh.exists() and not path.exists():
        for part in file_set(path):
            part.unlink(missing_ok=True)
        fresh.rename(path)


def _fresh(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _build(path: Path, fresh: Path, told: dict[str, object]) -> int:
    found = Salvage()
    new = connect(fresh, journal="DELETE")
    try:
        migrate(new)
        with transaction(new):
            _copy(path, new, found)
            missing = found.missing()
            told |= {"rows": missing, "saved": sum(b - a + 1 for a, b in found.saved)}
            told["log_size"] = -1 if found.log is None else found.log.size
            if found.stores:
                new.execute("INSERT INTO incidents (told) VALUES (?)", (json.dumps(told),))
            _begin_store(new, found)
    finally:
        new.close()
    return sum(last - first + 1 for first, last in missing)


def _begin_store(new: sqlite3.Connection, found: Salvage) -> None:
    """After the newest row. A store in which nothing was committed keeps a place: the anchor names it."""
    unused = bool(found.stores) and found.stores[-1][0] == found.last_seq
    base = found.last_seq + unused
    new.executemany("INSERT INTO stores VALUES (?, ?)", [*found.stores, (base, str(uuid.uuid4()))])
    new.execute("DELETE FROM sqlite_sequence WHERE name = 'records'")
    new.execute("INSERT INTO sqlite_sequence VALUES ('records', ?)", (base,))
    if found.log is not None:
        begin(new, found.log)


def _copy(path: Path, new: sqlite3.Connection, found: Salvage) -> None:
    """Everything that can be read, into the new file; `found` says what that was."""
    anchor = anchors.read(path)
    if anchor is not None:
        found.stores, found.log = [(anchor.base, anchor.store_id)], anchor.log
        found.last_seq, found.first_pending = anchor.last_seq, anchor.first_pending
    try:
        old = connect_to_read(path)
    except (OSError, *FAILURES):
        return
    try:
        if _take_stores(old, found):
            _take_log(old, found)
            _take_notes(old, new)
            _take_incidents(old, new)
            _take_rows(old, new, found)
    finally:
        old.close()


def _take_stores(old: sqlite3.Connection, found: Salvage) -> bool:
    """The ids of the file; whether its rows are known to be of them."""
    stores: set[tuple[int, str]] = set()
    for sql in ("SELECT base, store_id FROM stores", "SELECT 0, value FROM meta WHERE key = 'store_id'"):
        try:
            stores |= {(base, id_) for base, id_ in old.execute(sql) if isinstance(base, int) and id_}
        except FAILURES:
            continue
    if not stores:
        return bool(found.stores)  # the anchor's, then
    if found.stores and found.stores[0] not in stores:
        return False  # another site's file, or an older one
    found.stores = sorted(stores)
    return True


def _take_log(old: sqlite3.Connection, found: Salvage) -> None:
    """The log as its leaves have it, where that is longer than the anchor knows."""
    leaves = Leaves(old)
    try:
        whole = leaves.load()
    except (sqlite3.Error, ValueError, TypeError):
        return
    if whole and (found.log is None or leaves.frontier.size > found.log.size):
        found.log = leaves.frontier


def _take_notes(old: sqlite3.Connection, new: sqlite3.Connection) -> None:
    with suppress(*FAILURES, TypeError, AttributeError):
        notes.write(new, notes.read(old))


def read_incident(told: str) -> dict[str, Any]:
    """What befell rows, whose runs are under `rows`; Damaged when it does not say so."""
    try:
        found: dict[str, Any] = json.loads(told)
        found["rows"] = [(int(first), int(last)) for first, last in found["rows"]]
    except (ValueError, TypeError, LookupError) as error:
        raise Damaged(f"what befell rows cannot be read: {error}") from error
    return found


def _take_incidents(old: sqlite3.Connection, new: sqlite3.Connection) -> None:
    """What is not on the record yet: the rows it names are in no file any more."""
    with suppress(*FAILURES):
        for (told,) in old.execute("SELECT told FROM incidents ORDER BY id"):
            with suppress(Damaged):
                read_incident(told)
                new.execute("INSERT INTO incidents (told) VALUES (?)", (told,))


def _take_rows(old: sqlite3.Connection, new: sqlite3.Connection, found: Salvage) -> None:
    anchored = found.last_seq > 0
    try:
        last = old.execute("SELECT seq FROM sqlite_sequence WHERE name = 'records'").fetchone()
        found.last_seq = max(found.last_seq, last[0] if last else 0)
    except (*FAILURES, TypeError):
        pass
    _take_settled(old, found)
    first_saved: int | None = None
    after = max(found.stores[0][0], found.first_pending - 1)
    for seq, record, crc in _readable(old, after):
        found.last_seq = max(found.last_seq, seq)
        new.execute(
            "INSERT OR IGNORE INTO records (seq, schema, key, time_ms, body, crc) VALUES (?, ?, ?, ?, ?, ?)",
            (seq, *record, crc),
        )
        first_saved = seq if first_saved is None else first_saved
        _extend(found.saved, seq)
    if not anchored:
        found.first_pending = found.last_seq + 1 if first_saved is None else first_saved


def _take_settled(old: sqlite3.Connection, found: Salvage) -> None:
    """What the file says is done with, where that is more than the anchor knows."""
    with suppress(sqlite3.Error, TypeError, ValueError):
        settled = settled_seq(old)
        if settled <= found.last_seq:
            found.first_pending = max(found.first_pending, settled + 1)


def _extend(runs: list[Run], seq: int) -> None:
    if runs and runs[-1][1] == seq - 1:
        runs[-1] = (runs[-1][0], seq)
    elif not runs or runs[-1][1] < seq:
        runs.append((seq, seq))


def _readable(old: sqlite3.Connection, after: int) -> Iterator[tuple[int, Outgoing, int]]:
    """Rows in order that are what was committed: `(seq, record, crc)`."""
    skip, failures = SKIP_ROWS, 0
    while failures < UNREADABLE_MAX:
        try:
            for seq, *record, crc in _scan(old, after):
                outgoing = Outgoing(*record)
                if not _holds(seq, outgoing, crc):
                    continue  # its number, too, says nothing of where the next row is
                if seq <= after:  # a page that points backwards
                    raise sqlite3.DatabaseError("rows out of order")
                after, skip = seq, SKIP_ROWS
                yield seq, outgoing, checksum(seq, outgoing)
            return
        except (sqlite3.Error, TypeError, ValueError, OverflowError):
            after += skip
            skip *= 2
            failures += 1


def _scan(old: sqlite3.Connection, after: int) -> sqlite3.Cursor:
    sql = "SELECT {} FROM records NOT INDEXED WHERE seq > ? ORDER BY seq"
    try:
        return old.execute(sql.format(_COLUMNS), (after,))
    except sqlite3.OperationalError as error:
        if "no such column: crc" not in str(error):
            raise
        return old.execute(sql.format(_COLUMNS.replace("crc", "NULL")), (after,))


def _holds(seq: int, record: Outgoing, crc: int | None) -> bool:
    """Whether a row is what was committed; one of before checksums has to be a record at least."""
    if crc is not None:
        return is_intact(seq, record, crc)
    try:
        parse_record(record.schema, record.body)
    except Rejected:
        return False
    return True


def _forget_oldest(path: Path) -> None:
    """Keep the newest damaged file sets only."""
    stamp = len(f"{path.name}.damaged-") + len("20260101T000000.000000Z")
    names = {part.name[:stamp] for part in path.parent.glob(f"{path.name}.damaged-*")}
    for name in sorted(names)[:-SET_ASIDE_KEPT]:
        for part in file_set(path.with_name(name)):
            part.unlink(missing_ok=True)
