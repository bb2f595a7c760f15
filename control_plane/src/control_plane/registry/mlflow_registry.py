"""Runs, artifacts and registered versions in MLflow on SQLite or a server (PRD 3.3, 3.4)."""

import fcntl
import hashlib
import logging
import os
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from shared.errors import Rejected
from shared.schemas import Manifest

EXPERIMENT = "pm-stack-smr"
MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
CHAMPION = "champion"


class Registered(NamedTuple):
    """One registered version; `sha256` is computed from the stored bytes, not read from a tag."""

    name: str
    version: int
    sha256: str


class ModelRegistry:
    """The models under one tracking URI, for example `sqlite:///data/mlflow.db`."""

    def __init__(self, tracking_uri: str) -> None:
        self._uri = tracking_uri

    def log_model(
        self,
        model: bytes,
        manifest: Manifest,
        parameters: Mapping[str, Any],
        losses: list[tuple[float, float]],
        artifacts: list[Path],
    ) -> Manifest:
        """Log a run, register the model; the manifest with the version that it was given."""
        client = self._client()
        run = client.create_run(self._experiment(client), run_name=manifest.name)
        run_id = run.info.run_id
        for name, value in parameters.items():
            client.log_param(run_id, name, value)
        for name, value in manifest.metrics.items():
            client.log_metric(run_id, name, value)
        for epoch, (train, held) in enumerate(losses):
            client.log_metric(run_id, "loss", train, step=epoch)
            client.log_metric(run_id, "loss_held_out", held, step=epoch)
        version = self._register(client, run_id, manifest)
        numbered = manifest.model_copy(update={"version": version})
        self._store(client, run_id, model, numbered, artifacts)
        client.set_terminated(run_id)
        return numbered

    def load_model(self, name: str, version: int) -> tuple[bytes, Manifest]:
        """The bytes and the manifest of a version; Rejected when there is no such version."""
        client = self._client()
        try:
            run_id = client.get_model_version(name, str(version)).run_id
        except Exception as error:
            raise Rejected(f"{name}/{version} is not registered at {self._uri}") from error
        folder = Path(client.download_artifacts(run_id, ""))
        return (folder / MODEL_FILE).read_bytes(), Manifest.model_validate_json(
            (folder / MANIFEST_FILE).read_bytes()
        )

    def registered(self) -> list[Registered]:
        """Every registered version, with the SHA-256 of what is stored for it."""
        client = self._client()
        found = []
        for version in client.search_model_versions():
            model, _ = self.load_model(version.name, int(version.version))
            found.append(Registered(version.name, int(version.version), hashlib.sha256(model).hexdigest()))
        return sorted(found)

    def by_sha256(self, sha256: str) -> tuple[Manifest, bytes]:
        """The version whose stored bytes have this SHA-256; Rejected when none has."""
        for entry in self.registered():
            if entry.sha256 == sha256:
                model, manifest = self.load_model(entry.name, entry.version)
                return manifest, model
        raise Rejected(f"no registered model has SHA-256 {sha256}")

    def _client(self) -> Any:
        """A client; the first of several processes makes a SQLite file's tables while the others wait."""
        if not self._uri.startswith("sqlite:///"):
            return _mlflow().MlflowClient(self._uri, self._uri)
        path = Path(self._uri.removeprefix("sqlite:///"))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            client = _mlflow().MlflowClient(self._uri, self._uri)
            self._experiment(client)
        return client

    def _experiment(self, client: Any) -> str:
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        location = None
        if self._uri.startswith("sqlite:///"):
            location = (
                (Path(self._uri.removeprefix("sqlite:///")).parent / "mlflow-artifacts").resolve().as_uri()
            )
        return str(client.create_experiment(EXPERIMENT, artifact_location=location))

    def _register(self, client: Any, run_id: str, manifest: Manifest) -> int:
        from mlflow.exceptions import MlflowException

        try:
            client.create_registered_model(manifest.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        tags = {"sha256": manifest.sha256, "feature_spec_hash": manifest.feature_spec_hash}
        created = client.create_model_version(
            manifest.name, client.get_run(run_id).info.artifact_uri, run_id, tags=tags
        )
        client.set_registered_model_alias(manifest.name, CHAMPION, created.version)
        return int(created.version)

    def _store(
        self, client: Any, run_id: str, model: bytes, manifest: Manifest, artifacts: list[Path]
    ) -> None:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / MODEL_FILE).write_bytes(model)
            (Path(folder) / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2))
            client.log_artifacts(run_id, folder)
        for artifact in artifacts:
            client.log_artifact(run_id, str(artifact))


@cache
def _mlflow() -> ModuleType:
    """MLflow, imported late (seconds) and told to keep to itself."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return mlflow
