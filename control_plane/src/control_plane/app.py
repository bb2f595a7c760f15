"""The centre's composition root: joins the rooms in one process, or starts one of them alone.

Kafka -> ingest -> lake -> console, API         repositories (static files over HTTP)
             \\-> audit witness -> fleet service -> sites        inference (gRPC)
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import structlog

STOP_DEADLINE_S = 10.0

log = structlog.get_logger()


class Part(StrEnum):
    """What can be started alone."""

    INGEST = "ingest"
    FLEET = "fleet"
    WEB = "web"  # console, API and repositories: one HTTP server
    INFERENCE = "inference"


@dataclass(frozen=True)
class CentreSettings:
    """Where everything is. Addresses are HOST:PORT; the centre's own data lies under `data_dir`."""

    config: Path
    data_dir: Path
    kafka: str
    listen: str
    fleet_listen: str
    inference_listen: str
    parts: frozenset[Part]

    @property
    def lake(self) -> Path:
        return self.data_dir / "lake"

    @property
    def repository(self) -> Path:
        return self.data_dir / "repository"

    @property
    def fleet_db(self) -> Path:
        return self.data_dir / "fleet.db"
