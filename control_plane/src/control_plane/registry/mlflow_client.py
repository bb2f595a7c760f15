"""MLflow on SQLite or a server (PRD 3.3): the client, the experiment, and runs."""

import fcntl
import json
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from control_plane.registry.provenance import code_version, environment
from shared.errors import Retryable

EXPERIMENT = "pm-stack-smr"
ENVIRONMENT_FILE = "environment.txt"
BATCH_MAX = 100  # parameters in one call; the server's own limit
METRICS_MAX = 1000  # metrics in one call; likewise
PARAMETER_CHARS_MAX = 6000  # likewise
DIGEST_CHARS_MAX = 36  # likewise, of a data set's digest; the whole hash is a parameter beside it
REQUEST_TIMEOUT_S = "20"  # to a server, each try
REQUEST_RETRIES = "2"  # MLflow's own default of 7 waits for minutes before it says that nobody answers


class DatasetRef(NamedTuple):
    """The data of a run: where it lies, its SHA-256, and its version where it has one (Delta)."""

    source: str
    sha256: str
    version: int | None = None


class RunRecord(NamedTuple):
    """What is kept of a training, a trial or a validation. `curves` hold a value an epoch.

    `files` are artifacts by name; `artifacts` are files on disk. `parent` is the run it is nested in.
    """

    name: str
    parameters: Mapping[str, Any] = {}
    metrics: Mapping[str, float] = {}
    curves: Mapping[str, Sequence[float]] = {}
    dataset: DatasetRef | None = None
    artifacts: Sequence[Path] = ()
    files: Mapping[str, bytes] = {}
    tags: Mapping[str, str] = {}
    parent: str | None = None


class MlflowClient:
    """Runs under one tracking URI, for example `sqlite:///data/mlflow.db` or `http://127.0.0.1:5000`."""

    def __init__(self, tracking_uri: str, experiment: str = EXPERIMENT) -> None:
        self.uri = tracking_uri
        self._experiment_name = experiment

    def start(self, record: RunRecord) -> str:
        """Begin a run with its parameters, curves and data; its id. It stays open until `finish`."""
        client = self.client()
        tags = {"mlflow.source.git.commit": code_version(), **record.tags}
        if record.parent is not None:
            tags["mlflow.parentRunId"] = record.parent
        run = client.create_run(self._experiment(client), tags=tags, run_name=record.name)
        run_id = str(run.info.run_id)
        self._log(client, run_id, record)
        return run_id

    def finish(self, run_id: str, record: RunRecord) -> None:
        """Store the run's files and end it."""
        client = self.client()
        with tempfile.TemporaryDirectory() as folder:
            for name, content in record.files.items():
                (Path(folder) / name).write_bytes(content)
            (Path(folder) / ENVIRONMENT_FILE).write_text("\n".join(environment()) + "\n")
            client.log_artifacts(run_id, folder)
        for artifact in record.artifacts:
            client.log_artifact(run_id, str(artifact))
        client.set_terminated(run_id)

    def log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Add metrics to a run that has been started, ended or not."""
        client = self.client()
        for name, value in metrics.items():
            client.log_metric(run_id, name, value)

    def log_run(self, record: RunRecord) -> str:
        """Start and finish a run; its id."""
        run_id = self.start(record)
        self.finish(run_id, record)
        return run_id

    def client(self) -> Any:
        """MLflow's client; the first of several processes makes a SQLite file's tables, others wait.

        Retryable when a server does not answer.
        """
        if not self.uri.startswith("sqlite:///"):
            client = mlflow().MlflowClient(self.uri, self.uri)
            try:
                self._experiment(client)
            except Exception as error:  # requests, urllib3 and MLflow raise classes of their own
                raise Retryable(f"MLflow at {self.uri} does not answer: {str(error)[:200]}") from error
            return client
        path = Path(self.uri.removeprefix("sqlite:///"))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            client = mlflow().MlflowClient(self.uri, self.uri)
            self._experiment(client)
        return client

    def _experiment(self, client: Any) -> str:
        found = client.get_experiment_by_name(self._experiment_name)
        if found is not None:
            return str(found.experiment_id)
        location = None
        if self.uri.startswith("sqlite:///"):
            location = (
                (Path(self.uri.removeprefix("sqlite:///")).parent / "mlflow-artifacts").resolve().as_uri()
            )
        return str(client.create_experiment(self._experiment_name, artifact_location=location))

    def _log(self, client: Any, run_id: str, record: RunRecord) -> None:
        from mlflow.entities import Metric, Param

        parameters = dict(record.parameters) | {"code_version": code_version()}
        if record.dataset is not None:
            parameters |= {"dataset_sha256": record.dataset.sha256, "dataset_version": record.dataset.version}
            client.log_inputs(run_id, [_input(record.dataset)])
        rows = [Param(name, str(value)[:PARAMETER_CHARS_MAX]) for name, value in parameters.items()]
        now = int(time.time() * 1000)
        metrics = [Metric(name, float(value), now, 0) for name, value in record.metrics.items()]
        for name, curve in record.curves.items():
            metrics += [Metric(name, float(value), now, epoch) for epoch, value in enumerate(curve)]
        for first in range(0, len(rows), BATCH_MAX):
            client.log_batch(run_id, params=rows[first : first + BATCH_MAX])
        for first in range(0, len(metrics), METRICS_MAX):
            client.log_batch(run_id, metrics=metrics[first : first + METRICS_MAX])


def _input(dataset: DatasetRef) -> Any:
    from mlflow.entities import Dataset, DatasetInput

    name = Path(dataset.source).name
    source = json.dumps({"uri": dataset.source})
    digest = dataset.sha256[:DIGEST_CHARS_MAX]
    return DatasetInput(Dataset(name, digest, source_type="local", source=source), tags=[])


@cache
def mlflow() -> ModuleType:
    """MLflow, imported late (seconds) and told to keep to itself."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", REQUEST_TIMEOUT_S)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", REQUEST_RETRIES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return mlflow
