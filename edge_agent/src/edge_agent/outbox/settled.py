"""Up to which row everything is done with: one line for each time that this moved.

A line holds for every row up to `to_seq`, so a damaged one could silence rows that nobody has: each has a
checksum, and one that does not fit counts for nothing. The line before it holds then: rows are sent again.
"""

import sqlite3
from zlib import crc32

# When the row was acknowledged; a row that was marked by itself says so itself.
ACKED_MS = "ifnull(acked_ms, (SELECT at_ms FROM settled WHERE to_seq >= records.seq ORDER BY to_seq LIMIT 1))"


def settled_seq(db: sqlite3.Connection) -> int:
    """The newest row up to which every row was acknowledged or given up; 0 when there is none."""
    for to_seq, at_ms, crc in db.execute("SELECT to_seq, at_ms, crc FROM settled ORDER BY to_seq DESC"):
        if crc == _checksum(to_seq, at_ms):
            return int(to_seq)
    return 0


def settle(db: sqlite3.Connection, to_seq: int, now_ms: int) -> None:
    """Every row up to `to_seq` is done with. Runs within the caller's transaction."""
    db.execute("INSERT OR REPLACE INTO settled VALUES (?, ?, ?)", (to_seq, now_ms, _checksum(to_seq, now_ms)))


def forget(db: sqlite3.Connection, to_seq: int) -> None:
    """No row up to `to_seq` is kept: drop what tells of those alone. The newest line stays."""
    db.execute(
        "DELETE FROM settled WHERE to_seq <= ? AND to_seq < (SELECT max(to_seq) FROM settled)", (to_seq,)
    )


def _checksum(to_seq: int, at_ms: int) -> int:
    return crc32(b"%d %d" % (to_seq, at_ms))
