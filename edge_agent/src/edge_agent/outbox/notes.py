"""Small texts kept beside the records and committed with them: a part's state that outlives the process.

A commit replaces a note as a whole, so that it never says what the records of its commit do not.
"""

import sqlite3
from collections.abc import Mapping

_PREFIX = "note:"  # in `meta`, beside what the outbox says of itself


def write(db: sqlite3.Connection, notes: Mapping[str, str]) -> None:
    """Replace these notes, within the caller's transaction; an empty one is removed."""
    for name, text in notes.items():
        if text:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_PREFIX + name, text))
        else:
            db.execute("DELETE FROM meta WHERE key = ?", (_PREFIX + name,))


def read(db: sqlite3.Connection) -> dict[str, str]:
    """Every note by name."""
    found = db.execute("SELECT key, value FROM meta WHERE key GLOB ?", (_PREFIX + "*",))
    return {key.removeprefix(_PREFIX): text for key, text in found}
