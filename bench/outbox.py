"""Rows per second that the outbox commits, against a bare SQLite table in the same mode.

Both: WAL, synchronous=FULL, one transaction of 50 records of about 300 bytes, in turns, so that a
noisy machine slows both. Limit: at least 0.5 of the bare table.
"""

import json
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.arguments import takes_none
from edge_agent.outbox import OutboxStore
from shared.schemas import Outgoing

ROWS_PER_COMMIT = 50
COMMITS_PER_TURN = 200
TURNS = 8
RATIO_MIN = 0.5
RECORDS = [
    Outgoing("telemetry/1", f"TX01/R{i % 4}/coolant_pump", 1_767_225_600_000 + i, b'{"metrics":' + b"1" * 290)
    for i in range(ROWS_PER_COMMIT)
]


def main() -> None:
    """Print rows per second of both, and the ratio; the last line is JSON."""
    with tempfile.TemporaryDirectory() as folder, OutboxStore(Path(folder) / "outbox.db") as outbox:
        bare = _bare_table(Path(folder) / "bare.db")
        ours_s = bare_s = 0.0
        for _ in range(TURNS):
            bare_s += _timed(lambda: _commit_bare(bare))
            ours_s += _timed(lambda: outbox.commit(RECORDS))
        bare.close()
    rows = TURNS * COMMITS_PER_TURN * ROWS_PER_COMMIT
    figures = {"rows_per_s": round(rows / ours_s), "bare_rows_per_s": round(rows / bare_s)}
    ratio = round(bare_s / ours_s, 3)
    print(f"outbox     {figures['rows_per_s']:>9,} rows/s")
    print(f"bare table {figures['bare_rows_per_s']:>9,} rows/s")
    print(f"ratio      {ratio:>9} (limit: at least {RATIO_MIN})")
    print(json.dumps({"benchmark": "outbox", **figures, "ratio": ratio, "held": ratio >= RATIO_MIN}))


def _timed(commit: Callable[[], None]) -> float:
    start = time.perf_counter()
    for _ in range(COMMITS_PER_TURN):
        commit()
    return time.perf_counter() - start


def _bare_table(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE r (seq INTEGER PRIMARY KEY, schema TEXT, key TEXT, time_ms INTEGER, body BLOB)")
    return db


def _commit_bare(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT INTO r (schema, key, time_ms, body) VALUES (?, ?, ?, ?)", RECORDS)
    db.execute("COMMIT")


if __name__ == "__main__":
    takes_none(__doc__)
    main()
