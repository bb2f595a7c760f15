"""Two slots a component type in one SQLite file: a power cut leaves a committed release, whole.

Beside the COMMITTED release lies either the PROVISIONAL one that is tried, or the PREVIOUS one that can be
gone back to. Each change of a slot is one transaction, together with the answer that follows from it.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from sqlite_utils import Database, Migrations

from edge_agent.update.answer import Answer, State
from edge_agent.update.evidence import check_bytes, newest_root, signed_targets
from edge_agent.update.release import Release, parse_manifest
from shared.errors import Untrusted
from shared.schemas import Assignment

STARTS_MAX = 3  # of an agent that ended unasked with the same release on trial: one may be a power cut
PROVEN_MAX = 16  # releases a type that are remembered as good: more than anyone goes back

Slot = Literal["PROVISIONAL", "COMMITTED", "PREVIOUS"]
migrations = Migrations("models")
_COLUMNS = "component_type, folder, manifest, model, assignment, image_targets, director_targets, roots"


@migrations()
def first_tables(db: Database) -> None:
    """One row a slot; a component type has at most one committed and one provisional release."""
    db.execute(
        "CREATE TABLE slots (component_type TEXT NOT NULL, state TEXT NOT NULL"
        " CHECK (state IN ('PROVISIONAL', 'COMMITTED')), folder TEXT NOT NULL, manifest BLOB NOT NULL,"
        " model BLOB NOT NULL, assignment TEXT NOT NULL, image_targets BLOB NOT NULL,"
        " director_targets BLOB NOT NULL, PRIMARY KEY (component_type, state)) STRICT"
    )


@migrations()
def trials(db: Database) -> None:
    """The release before, the roots' chain, how often a trial was begun, and what was answered."""
    db.execute(
        "CREATE TABLE places (component_type TEXT NOT NULL, state TEXT NOT NULL"
        " CHECK (state IN ('PROVISIONAL', 'COMMITTED', 'PREVIOUS')), folder TEXT NOT NULL,"
        " manifest BLOB NOT NULL, model BLOB NOT NULL, assignment TEXT NOT NULL,"
        " image_targets BLOB NOT NULL, director_targets BLOB NOT NULL, roots TEXT NOT NULL,"
        " starts INTEGER NOT NULL DEFAULT 0, watched INTEGER NOT NULL DEFAULT 0,"
        " PRIMARY KEY (component_type, state)) STRICT"
    )
    db.execute("INSERT INTO places SELECT *, '{}', 0, 0 FROM slots")
    db.execute("DROP TABLE slots")
    db.execute("ALTER TABLE places RENAME TO slots")
    db.execute(
        "CREATE TABLE answers (component_type TEXT PRIMARY KEY, rollout_id TEXT NOT NULL,"
        " generation INTEGER NOT NULL, identity TEXT NOT NULL, sha256 TEXT NOT NULL, state TEXT NOT NULL,"
        " detail TEXT NOT NULL, audited INTEGER NOT NULL) STRICT"
    )
    db.execute(
        "CREATE TABLE proven (number INTEGER PRIMARY KEY, component_type TEXT NOT NULL,"
        " identity TEXT NOT NULL, UNIQUE (component_type, identity)) STRICT"
    )


class Stored(NamedTuple):
    """A slot as it was found: the release where it verified, else why not."""

    component_type: str
    slot: Slot
    release: Release | None
    problem: Untrusted | None
    watched: bool


class ModelSlots:
    """The releases of a site; every read verifies them again against the trusted roots.

    `proven` are those that were committed here and did well: going back to them needs no trial.
    """

    def __init__(self, data_dir: Path, trust_dir: Path) -> None:
        self._path = data_dir / "models.db"
        self._trust_dir = trust_dir

    # --- what changes -----------------------------------------------------------------------------

    def provision(self, release: Release, answer: Answer | None = None) -> int:
        """Keep a release beside the committed one, in place of the previous; how often the same one was.

        It does not run after a restart. A release that is provisioned again and again without an `ended`
        between makes the agent end: see `STARTS_MAX`.
        """
        kind = release.manifest.component_type
        with self._transaction() as db:
            starts = 1 + _starts(db, kind, "PROVISIONAL", release.assignment.model_dump_json())
            db.execute("DELETE FROM slots WHERE component_type = ? AND state != 'COMMITTED'", (kind,))
            _insert(db, "PROVISIONAL", release, starts)
            _note(db, answer)
        return starts

    def commit(self, component_type: str, answer: Answer | None = None, *, watched: bool = False) -> None:
        """The provisional release becomes the one that runs, after every restart too; what ran before it is
        kept as the previous one. `watched`: it is compared with that one for a while yet."""
        kind = (component_type,)
        with self._transaction() as db:
            _move(db, component_type, "COMMITTED", "PREVIOUS")
            _move(db, component_type, "PROVISIONAL", "COMMITTED")
            db.execute(
                "UPDATE slots SET starts = 0, watched = ? WHERE component_type = ? AND state = 'COMMITTED'",
                (watched, *kind),
            )
            if not watched:
                _prove(db, component_type)
            _note(db, answer)

    def discard(self, component_type: str, answer: Answer | None = None) -> None:
        """Forget the provisional release."""
        with self._transaction() as db:
            db.execute(
                "DELETE FROM slots WHERE component_type = ? AND state = 'PROVISIONAL'", (component_type,)
            )
            _note(db, answer)

    def roll_back(self, component_type: str, identity: str, answer: Answer | None = None) -> None:
        """The previous release is the committed one again; the one that was is forgotten."""
        with self._transaction() as db:
            _move(db, component_type, "PREVIOUS", "COMMITTED")
            db.execute(
                "DELETE FROM proven WHERE (component_type, identity) = (?, ?)", (component_type, identity)
            )
            _note(db, answer)

    def adopt(self, slot: Slot, release: Release, answer: Answer | None = None) -> None:
        """What is in a slot goes on under another word of the director: same bytes, newer evidence."""
        with self._transaction() as db:
            db.execute(
                "UPDATE slots SET assignment = ?, image_targets = ?, director_targets = ?, roots = ?"
                " WHERE component_type = ? AND state = ?",
                (*_evidence(release), release.manifest.component_type, slot),
            )
            _note(db, answer)

    def keep_previous(self, release: Release) -> None:
        """Have a release to go back to, where there is none and nothing is tried."""
        with self._transaction() as db:
            _insert(db, "PREVIOUS", release, 0)

    def watched(self, component_type: str) -> None:
        """The committed release did well all the while."""
        with self._transaction() as db:
            db.execute("UPDATE slots SET watched = 0, starts = 0 WHERE component_type = ?", (component_type,))
            _prove(db, component_type)

    def started(self, component_type: str) -> int:
        """The agent begins with the committed release still watched; how often it did."""
        with self._transaction() as db:
            db.execute(
                "UPDATE slots SET starts = starts + 1 WHERE component_type = ? AND state = 'COMMITTED'",
                (component_type,),
            )
            return int(db.execute(
                "SELECT starts FROM slots WHERE component_type = ? AND state = 'COMMITTED'", (component_type,)
            ).fetchone()[0])  # fmt: skip

    def ended(self) -> None:
        """The agent ends because it was told to: no trial is to blame."""
        with self._transaction() as db:
            db.execute("UPDATE slots SET starts = 0")

    # --- what was answered ------------------------------------------------------------------------

    def note(self, answer: Answer) -> None:
        """Remember an answer that changed no slot."""
        with self._transaction() as db:
            _note(db, answer)

    def audited(self, answer: Answer) -> None:
        """The answer is on the record."""
        with self._transaction() as db:
            db.execute(
                "UPDATE answers SET audited = 1 WHERE component_type = ? AND generation = ? AND state = ?",
                (answer.component_type, answer.generation, answer.state),
            )

    def answers(self) -> tuple[list[Answer], list[Answer]]:
        """The newest answer for each component type, and those of them that may not be on the record."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT component_type, rollout_id, generation, identity, sha256, state, detail, audited"
                " FROM answers ORDER BY component_type"
            ).fetchall()
        found = [
            (Answer(kind, rollout, generation, identity, sha256, State(state), detail), audited)
            for kind, rollout, generation, identity, sha256, state, detail, audited in rows
        ]
        return [answer for answer, _ in found], [answer for answer, audited in found if not audited]

    # --- what is there ----------------------------------------------------------------------------

    def committed(self) -> tuple[list[Release], list[Untrusted]]:
        """The committed releases that verify, and why each other one does not."""
        found = [each for each in self.all() if each.slot == "COMMITTED"]
        return [s.release for s in found if s.release], [s.problem for s in found if s.problem]

    def all(self) -> list[Stored]:
        """Every slot, verified again, by component type."""
        with self._transaction() as db:
            rows = db.execute(
                f"SELECT state, watched, {_COLUMNS} FROM slots ORDER BY component_type, state"  # noqa: S608
            ).fetchall()
        return [self._read(state, bool(watched), *row) for state, watched, *row in rows]

    def proven(self, component_type: str, identity: str) -> bool:
        """Whether this release was committed here and did well."""
        with self._transaction() as db:
            found = db.execute(
                "SELECT 1 FROM proven WHERE (component_type, identity) = (?, ?)", (component_type, identity)
            )
            return found.fetchone() is not None

    def _read(self, slot: Slot, watched: bool, kind: str, *parts: object) -> Stored:
        try:
            return Stored(kind, slot, self._verified(*parts), None, watched)  # type: ignore[arg-type]
        except Untrusted as error:
            return Stored(kind, slot, None, error, watched)

    def _verified(
        self,
        folder: str,
        manifest: bytes,
        model: bytes,
        assignment: str,
        image: bytes,
        director: bytes,
        roots: str,
    ) -> Release:
        chains: dict[str, list[str]] = json.loads(roots)
        for repository, metadata in (("image", image), ("director", director)):
            trusted = (self._trust_dir / f"{repository}_root.json").read_bytes()
            root = newest_root(trusted, [each.encode() for each in chains.get(repository, [])])
            targets = signed_targets(root, metadata, repository)
            for name, data in (("model.onnx", model), ("manifest.json", manifest)):
                target = targets.get(f"{folder}/{name}")
                if target is None:
                    raise Untrusted(f"{repository} targets", f"{folder}/{name} is not named")
                check_bytes(target, data, repository)
        parsed = parse_manifest(manifest, folder, model)
        told = Assignment.model_validate_json(assignment)
        return Release(parsed, manifest, model, told, image, director, roots)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self._path, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            migrations.apply(Database(db))
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        finally:
            db.close()  # what was not committed never was


def _insert(db: sqlite3.Connection, slot: Slot, release: Release, starts: int) -> None:
    manifest = release.manifest
    db.execute(
        f"INSERT OR REPLACE INTO slots ({_COLUMNS}, state, starts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (
            manifest.component_type,
            manifest.folder,
            release.manifest_bytes,
            release.model,
            *_evidence(release),
            slot,
            starts,
        ),
    )


def _evidence(release: Release) -> tuple[str, bytes, bytes, str]:
    return (
        release.assignment.model_dump_json(),
        release.image_targets,
        release.director_targets,
        release.roots,
    )


def _starts(db: sqlite3.Connection, kind: str, slot: Slot, assignment: str) -> int:
    """How often what the director says of this release was begun already."""
    row = db.execute(
        "SELECT starts FROM slots WHERE component_type = ? AND state = ? AND assignment = ?",
        (kind, slot, assignment),
    ).fetchone()
    return int(row[0]) if row else 0


def _move(db: sqlite3.Connection, kind: str, old: Slot, new: Slot) -> None:
    """Into the other slot, what is there giving way; where the old one is empty the new one stays."""
    if db.execute("SELECT 1 FROM slots WHERE component_type = ? AND state = ?", (kind, old)).fetchone():
        db.execute("DELETE FROM slots WHERE component_type = ? AND state = ?", (kind, new))
        db.execute(
            "UPDATE slots SET state = ?, watched = 0, starts = 0 WHERE component_type = ? AND state = ?",
            (new, kind, old),
        )


def _prove(db: sqlite3.Connection, kind: str) -> None:
    """The committed release did well; of those before only the latest are remembered."""
    row = db.execute(
        "SELECT manifest FROM slots WHERE component_type = ? AND state = 'COMMITTED'", (kind,)
    ).fetchone()
    if row is None:
        return
    identity = hashlib.sha256(row[0]).hexdigest()
    db.execute("INSERT OR REPLACE INTO proven (component_type, identity) VALUES (?, ?)", (kind, identity))
    db.execute(
        "DELETE FROM proven WHERE component_type = ? AND number NOT IN"
        " (SELECT number FROM proven WHERE component_type = ? ORDER BY number DESC LIMIT ?)",
        (kind, kind, PROVEN_MAX),
    )


def _note(db: sqlite3.Connection, answer: Answer | None) -> None:
    if answer is not None:
        db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, 0)", answer)
