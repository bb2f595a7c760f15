"""Two slots a component type in one SQLite file: a power cut leaves the last committed release.

A release is written PROVISIONAL beside the committed one; committing it is one transaction.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils import Database, Migrations

from edge_agent.update.evidence import check_bytes, newest_root, signed_targets
from edge_agent.update.release import Release, parse_manifest
from shared.errors import Untrusted
from shared.schemas import Assignment

migrations = Migrations("models")


@migrations()
def first_tables(db: Database) -> None:
    """One row a slot; a component type has at most one committed and one provisional release."""
    db.execute(
        "CREATE TABLE slots (component_type TEXT NOT NULL, state TEXT NOT NULL"
        " CHECK (state IN ('PROVISIONAL', 'COMMITTED')), folder TEXT NOT NULL, manifest BLOB NOT NULL,"
        " model BLOB NOT NULL, assignment TEXT NOT NULL, image_targets BLOB NOT NULL,"
        " director_targets BLOB NOT NULL, PRIMARY KEY (component_type, state)) STRICT"
    )


class ModelSlots:
    """The releases of a site; every read verifies them again against the trusted roots."""

    def __init__(self, data_dir: Path, trust_dir: Path) -> None:
        self._path = data_dir / "models.db"
        self._history = data_dir / "tuf"
        self._trust_dir = trust_dir

    def provision(self, release: Release) -> None:
        """Keep a release beside the committed one; it does not run after a restart."""
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO slots VALUES (?, 'PROVISIONAL', ?, ?, ?, ?, ?, ?)",
                (
                    release.manifest.component_type,
                    release.manifest.folder,
                    release.manifest_bytes,
                    release.model,
                    release.assignment.model_dump_json(),
                    release.image_targets,
                    release.director_targets,
                ),
            )

    def commit(self, component_type: str) -> None:
        """The provisional release becomes the one that runs, after every restart too."""
        with self._transaction() as db:
            db.execute(
                "DELETE FROM slots WHERE component_type = ? AND state = 'COMMITTED'", (component_type,)
            )
            db.execute("UPDATE slots SET state = 'COMMITTED' WHERE component_type = ?", (component_type,))

    def discard(self, component_type: str) -> None:
        """Forget the provisional release."""
        with self._transaction() as db:
            db.execute(
                "DELETE FROM slots WHERE component_type = ? AND state = 'PROVISIONAL'", (component_type,)
            )

    def committed(self) -> tuple[list[Release], list[Untrusted]]:
        """The committed releases that verify, and why each other one does not."""
        releases, refused = [], []
        with self._transaction() as db:
            rows = db.execute(
                "SELECT folder, manifest, model, assignment, image_targets, director_targets"
                " FROM slots WHERE state = 'COMMITTED' ORDER BY component_type"
            ).fetchall()
        for row in rows:
            try:
                releases.append(self._verified(*row))
            except Untrusted as error:
                refused.append(error)
        return releases, refused

    def _verified(
        self, folder: str, manifest: bytes, model: bytes, assignment: str, image: bytes, director: bytes
    ) -> Release:
        for repository, metadata in (("image", image), ("director", director)):
            trusted = (self._trust_dir / f"{repository}_root.json").read_bytes()
            root = newest_root(trusted, self._history / repository / "root_history")
            targets = signed_targets(root, metadata, repository)
            for name, data in (("model.onnx", model), ("manifest.json", manifest)):
                target = targets.get(f"{folder}/{name}")
                if target is None:
                    raise Untrusted(f"{repository} targets", f"{folder}/{name} is not named")
                check_bytes(target, data, repository)
        parsed = parse_manifest(manifest, folder, model)
        return Release(parsed, manifest, model, Assignment.model_validate_json(assignment), image, director)

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
