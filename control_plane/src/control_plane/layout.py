"""What lies where under the centre's folder."""

import os
from dataclasses import dataclass
from pathlib import Path

from control_plane.release.fleet_store import FleetStore
from shared.log_key import LogKey

FLEET_DATABASE = "PM_FLEET_DATABASE"  # an SQLAlchemy URL; a centre without it keeps a SQLite file


@dataclass(frozen=True)
class Layout:
    """Every path under `data_dir`."""

    data_dir: Path

    @property
    def lake(self) -> Path:
        return self.data_dir / "lake"

    @property
    def repository(self) -> Path:
        return self.data_dir / "repository"

    @property
    def witness(self) -> Path:
        return self.data_dir / "witness"

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.data_dir.resolve()}/mlflow.db"

    def store(self) -> FleetStore:
        """Sites that have called, and the journal of roll-outs."""
        return FleetStore(os.environ.get(FLEET_DATABASE) or self.data_dir / "fleet.db")

    def witness_key(self) -> LogKey:
        """The key that co-signs, made at the first call."""
        return LogKey.load_or_create(self.witness / "witness.pem")
