"""What the centre's people and services did and were refused, as a transparency log of its own.

One SQLite file that several processes write. A leaf is a `CentreEntry` as RFC 8785 JSON, the tree is
RFC 6962's, and each entry commits together with a C2SP checkpoint over it, signed by the centre's key; the
witness co-signs it and keeps it as files, as a site's log. Both keys and the file lie on the same machine:
whoever owns it can write another log, and only a checkpoint that somebody else kept tells the two apart.
"""

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from control_plane.audit.own_log import OwnLog
from shared.canonical import canonical_json
from shared.checkpoint import Checkpoint, sign_note
from shared.errors import ConfigError
from shared.merkle import Frontier, leaf_hash
from shared.schemas import Frozen, UtcTime, utc_now

ORIGIN = "pm-stack-smr/centre"
CENTRE_LOG = "centre"  # its name beside the sites': of its key and its folder of files
CENTRE = "the centre"  # beside sites' names, none of which has a space
TEXT_CHARS_MAX = (
    1000  # of a subject or a detail: a refusal's whole sentence; an entry stays below 65,535 bytes
)
DETAILS_MAX = 30
EXACT_INTEGER_MAX = 2**53 - 1  # what RFC 8785 can write as a number
LOCK_TIMEOUT_S = 30.0  # another process holds the file for a few milliseconds an entry

_TABLES = """
CREATE TABLE IF NOT EXISTS entries ("index" INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS checkpoints (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS tree (one INTEGER PRIMARY KEY CHECK (one = 1), frontier BLOB NOT NULL) STRICT;
"""


class CentreAct(StrEnum):
    """What was done, granted or refused."""

    KEYS_GENERATED = "keys_generated"
    ROOT_PROPOSED = "root_proposed"
    ROOT_SIGNED = "root_signed"
    ROOT_PUBLISHED = "root_published"
    KEY_ROTATED = "key_rotated"
    KEY_REVOKED = "key_revoked"
    METADATA_RENEWED = "metadata_renewed"
    METADATA_EXPIRING = "metadata_expiring"
    RELEASE_PROPOSED = "release_proposed"
    RELEASE_APPROVED = "release_approved"
    RELEASE_PUBLISHED = "release_published"
    RELEASE_REVOKED = "release_revoked"
    RELEASE_REFUSED = "release_refused"
    APPROVAL_REFUSED = "approval_refused"
    DIRECTOR_MADE = "director_made"
    SERVING_REFUSED = "serving_refused"
    SITE_TOKEN_ISSUED = "site_token_issued"  # noqa: S105 - an act, no secret
    SITE_ENROLLED = "site_enrolled"
    ENROLMENT_REFUSED = "enrolment_refused"
    CERTIFICATE_RENEWED = "certificate_renewed"
    CERTIFICATE_REVOKED = "certificate_revoked"
    CONNECTION_REFUSED = "connection_refused"
    REQUEST_REFUSED = "request_refused"
    ROLLOUT_STARTED = "rollout_started"
    ROLLOUT_REFUSED = "rollout_refused"
    ROLLOUT_PAUSED = "rollout_paused"
    ROLLOUT_RESUMED = "rollout_resumed"
    ROLLOUT_ABORTED = "rollout_aborted"
    ROLLOUT_PROMOTED = "rollout_promoted"
    ROLLOUT_ROLLED_BACK = "rollout_rolled_back"
    GATE_DECIDED = "gate_decided"
    RECORD_EXPORTED = "record_exported"
    ALERT_ACKNOWLEDGED = "alert_acknowledged"
    NOTICE_GIVEN_UP = "notice_given_up"
    SIGNED_IN = "signed_in"
    SIGNED_OUT = "signed_out"
    SIGN_IN_REFUSED = "sign_in_refused"
    ACCESS_REFUSED = "access_refused"
    ACCOUNT_ADDED = "account_added"
    ACCOUNT_DISABLED = "account_disabled"
    ROLES_CHANGED = "roles_changed"
    PASSWORD_GIVEN = "password_given"  # noqa: S105 - an act, no secret
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - an act, no secret
    API_TOKEN_MADE = "api_token_made"  # noqa: S105 - an act, no secret
    API_TOKEN_REMOVED = "api_token_removed"  # noqa: S105 - an act, no secret


class CentreEntry(Frozen):
    """One leaf. `index` counts from 0; `subject` is what was acted on: a site, a release, a roll-out."""

    SCHEMA: ClassVar[str] = "centre-audit/1"
    timestamp: UtcTime
    index: int = Field(ge=0)
    act: CentreAct
    subject: str
    detail: dict[str, str | int | float | bool] = Field(default_factory=dict, max_length=DETAILS_MAX)

    def leaf(self) -> bytes:
        """The bytes that are hashed into the log."""
        return canonical_json(self.model_dump(mode="json"))


class CentreLog(OwnLog):
    """The centre's log in `folder`; any number of processes may hold one."""

    origin, title, name, entry = ORIGIN, CENTRE, "the centre's log", CentreEntry

    def note(self, act: CentreAct, subject: str, **detail: str | int | float | bool) -> int:
        """Put an act on the record, flushed to disk with its checkpoint; its index.

        Blocking, milliseconds. Texts longer than TEXT_CHARS_MAX are cut. ConfigError when the file is
        damaged.
        """
        plain = {name: _plain(value) for name, value in detail.items()}
        with self._writing() as db:
            frontier = self._frontier(db)
            entry = CentreEntry(
                timestamp=utc_now(), index=frontier.size, act=act, subject=_text(subject), detail=plain
            )
            frontier.append(leaf_hash(entry.leaf()))
            note = sign_note(
                Checkpoint(ORIGIN, frontier.size, frontier.root()).text, ORIGIN, self._key.private
            )
            db.execute("INSERT INTO entries VALUES (?, ?)", (entry.index, entry.leaf().decode()))
            db.execute("INSERT INTO checkpoints VALUES (?, ?)", (frontier.size, note))
            db.execute("REPLACE INTO tree VALUES (1, ?)", (frontier.to_bytes(),))
        return entry.index

    def entries(self, first: int = 0) -> list[CentreEntry]:
        """Entries from index `first` on, in order."""
        return [CentreEntry.model_validate_json(leaf.data) for leaf in self.leaves(first)]

    def _rows(self, sql: str, *values: int) -> list[tuple]:  # type: ignore[type-arg]
        if not self._path.exists():
            return []
        try:
            with self._held(fcntl.LOCK_SH), closing(self._open()) as db:
                return db.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise ConfigError(str(self._path), [f"cannot be read: {error}"]) from error

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=LOCK_TIMEOUT_S, isolation_level=None)

    @contextmanager
    def _held(self, how: int) -> Iterator[None]:
        """One writer, or readers: SQLite gives up where two processes make the tables at once."""
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, how)
            yield

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that no other writer comes between."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._held(fcntl.LOCK_EX), closing(self._open()) as db:
                db.execute("PRAGMA journal_mode = TRUNCATE")
                db.execute("PRAGMA synchronous = FULL")
                db.executescript(_TABLES)
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise ConfigError(str(self._path), [f"cannot be written: {error}"]) from error

    def _frontier(self, db: sqlite3.Connection) -> Frontier:
        """The tree so far, of what was signed: an entry that was changed since does not slip into it."""
        row = db.execute("SELECT frontier FROM tree").fetchone()
        [(entries,)] = db.execute("SELECT count(*) FROM entries").fetchall()
        frontier = Frontier.from_bytes(row[0]) if row else Frontier()
        if frontier.size != entries:
            raise ConfigError(
                str(self._path),
                [f"has {entries} entries, its tree {frontier.size}: restore it from a backup"],
            )
        return frontier


def _plain(value: str | int | float | bool) -> str | int | float | bool:
    """A value that RFC 8785 can write; another as text."""
    if isinstance(value, str):
        return _text(value)
    return value if abs(value) <= EXACT_INTEGER_MAX else str(value)  # not a number is not below it either


def _text(value: str) -> str:
    return value[:TEXT_CHARS_MAX].encode(errors="replace").decode()
