"""The tables of the outbox file, and how an older file becomes a newer one."""

from sqlite_utils import Database, Migrations

from shared.schemas import URGENT_SCHEMAS

# As the index says it. OR, not IN: SQLite would build a set for each row that is inserted.
IS_URGENT = f"acked_ms IS NULL AND ({' OR '.join(f'schema = {schema!r}' for schema in URGENT_SCHEMAS)})"
INDICES = {"records_urgent": IS_URGENT, "records_marked": "acked_ms IS NOT NULL"}

migrations = Migrations("outbox")


@migrations()
def first_tables(db: Database) -> None:
    """Row numbers are never used twice (AUTOINCREMENT), not even after every row is pruned."""
    db.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT")
    db.execute(
        "CREATE TABLE records (seq INTEGER PRIMARY KEY AUTOINCREMENT, schema TEXT NOT NULL,"
        " key TEXT NOT NULL, time_ms INTEGER NOT NULL, body BLOB NOT NULL, acked_ms INTEGER) STRICT"
    )
    db.execute("CREATE INDEX records_pending ON records (seq) WHERE acked_ms IS NULL")
    db.execute("CREATE TABLE audit_log (idx INTEGER PRIMARY KEY, leaf BLOB NOT NULL) STRICT")


@migrations()
def urgent_rows(db: Database) -> None:
    """What overtakes is found at once behind a backlog of a million rows."""
    db.execute(f"CREATE INDEX records_urgent ON records (seq) WHERE {IS_URGENT}")


@migrations()
def checksums(db: Database) -> None:
    """Each row can be checked by itself; a row made before has no checksum (NULL)."""
    db.execute("ALTER TABLE records ADD COLUMN crc INTEGER")


@migrations()
def stores(db: Database) -> None:
    """Rows above `base` belong to `store_id` and are numbered from there; more than one after a salvage."""
    db.execute("CREATE TABLE stores (base INTEGER PRIMARY KEY, store_id TEXT NOT NULL) STRICT")
    db.execute("INSERT INTO stores SELECT 0, value FROM meta WHERE key = 'store_id'")
    db.execute("DELETE FROM meta WHERE key = 'store_id'")


@migrations()
def incidents(db: Database) -> None:
    """What befell an earlier file, as JSON, until it is on the record."""
    db.execute("CREATE TABLE incidents (id INTEGER PRIMARY KEY, told TEXT NOT NULL) STRICT")


@migrations()
def settled(db: Database) -> None:
    """What has no pending row before it is acknowledged in one line; other rows are marked one by one.

    All that is pending lies together then, and is read in the order of the table: no index of it is kept.
    """
    db.execute(
        "CREATE TABLE settled"
        " (to_seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, crc INTEGER NOT NULL) STRICT"
    )
    db.execute("DROP INDEX records_pending")
    db.execute("CREATE INDEX records_marked ON records (seq) WHERE acked_ms IS NOT NULL")
