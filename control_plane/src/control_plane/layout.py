"""What lies where under the centre's folder."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.log_key import LogKey

if TYPE_CHECKING:  # each is loaded by the command that asks for it
    from control_plane.access.desk import AccessDesk
    from control_plane.alerts.store import AlertStore
    from control_plane.audit.centre_log import CentreLog
    from control_plane.audit.inference_log import InferenceLog
    from control_plane.audit.own_log import OwnLog
    from control_plane.audit.prediction_logger import AuditLogger
    from control_plane.audit.prediction_spool import PredictionSpool
    from control_plane.enrolment.authority import Authority
    from control_plane.enrolment.enrolment import Enrolment
    from control_plane.enrolment.register import Register
    from control_plane.release.fleet_store import FleetStore

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
    def tiles(self) -> Path:
        """The sites' logs and the centre's own as files, a folder each."""
        return self.data_dir / "audit"

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.data_dir.resolve()}/mlflow.db"

    def store(self) -> "FleetStore":
        """Sites that have called, and the journal of roll-outs."""
        from control_plane.release.fleet_store import FleetStore

        return FleetStore(os.environ.get(FLEET_DATABASE) or self.data_dir / "fleet.db")

    def alert_store(self) -> "AlertStore":
        """The operator's alarm list, and the notices of it."""
        from control_plane.alerts.store import AlertStore

        return AlertStore(self.data_dir / "alerts.db")

    def access(self) -> "AccessDesk":
        """Accounts, sessions and API tokens of the web."""
        from control_plane.access.database import AccessDatabase
        from control_plane.access.desk import AccessDesk

        return AccessDesk(AccessDatabase(self.data_dir / "access.db"), self.centre_log())

    def witness_key(self) -> LogKey:
        """The key that co-signs, made at the first call."""
        return LogKey.load_or_create(self.witness / "witness.pem")

    @property
    def has_centre_log(self) -> bool:
        """Whether the centre has put anything on its record yet."""
        return (self._centre_log / "log.db").exists()

    def centre_log(self) -> "CentreLog":
        """What the centre's people and services did; its key is made at the first call."""
        from control_plane.audit.centre_log import CentreLog

        return CentreLog(self._centre_log, LogKey.load_or_create(self._centre_log / "centre.pem"))

    @property
    def _centre_log(self) -> Path:
        return self.data_dir / "centre_log"

    @property
    def has_inference_log(self) -> bool:
        """Whether the centre's inference has put anything on its record yet."""
        return (self._inference / "log.db").exists()

    def inference_log(self) -> "InferenceLog":
        """What the centre's inference answered; its key is made at the first call."""
        from control_plane.audit.inference_log import InferenceLog

        return InferenceLog.of(self._inference)

    def own_logs(self) -> "dict[str, OwnLog]":
        """The centre's own logs that are there, by the names of their keys and folders."""
        from control_plane.audit.centre_log import CENTRE_LOG
        from control_plane.audit.inference_log import INFERENCE_LOG

        found: dict[str, OwnLog] = {}
        if self.has_centre_log:
            found[CENTRE_LOG] = self.centre_log()
        if self.has_inference_log:
            found[INFERENCE_LOG] = self.inference_log()
        return found

    def audit_logger(self) -> "AuditLogger":
        """What puts answers into `inference_log`; a context manager, for one process at a time."""
        from control_plane.audit.prediction_logger import AuditLogger

        return AuditLogger(self._inference)

    def prediction_spool(self) -> "PredictionSpool":
        """What puts answers there for that process; a context manager, for any number of others."""
        from control_plane.audit.prediction_spool import PredictionSpool

        return PredictionSpool(self._inference)

    @property
    def audit_log(self) -> Path:
        """The Parquet parts of `audit_log` that are made of the inference log."""
        return self._inference / "audit_log.parquet"

    @property
    def _inference(self) -> Path:
        return self.data_dir / "inference_log"

    def authority(self) -> "Authority":
        """The private certificate authority; its key is made at the first call of `begin`."""
        from control_plane.enrolment.authority import Authority

        return Authority(self.data_dir / "enrolment")

    def register(self) -> "Register":
        """Tokens and certificates of the sites."""
        from control_plane.enrolment.register import Register

        return Register(self.data_dir / "enrolment" / "register.db")

    def enrolment(self, register: "Register") -> "Enrolment":
        """What grants and revokes certificates."""
        from control_plane.enrolment.enrolment import Enrolment

        return Enrolment(self.authority(), register, self.repository, self.centre_log())
