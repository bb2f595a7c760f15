"""Models in MLflow's registry (PRD 3.4): logged, registered, found again byte for byte, promoted."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from control_plane.registry.mlflow_client import EXPERIMENT, MlflowClient, RunRecord
from control_plane.registry.mlmodel import MODEL_FILE, mlmodel_files
from shared.errors import Rejected, Retryable, Untrusted
from shared.schemas import Manifest

MANIFEST_FILE = "manifest.json"
REPORT_FILE = "report.json"  # of a validation
TORCHSCRIPT_FILE = "model.pt"
CHAMPION = "champion"  # moves only when a person says so
CHALLENGER = "challenger"  # the newest version
MODELS_MAX = 1000  # asked for at once; the store's own limit
URI_FORMS = "models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN_ID"


class Registered(NamedTuple):
    """One registered version; `sha256` is computed from the stored bytes, not read from a tag."""

    name: str
    version: int
    sha256: str


class Located(NamedTuple):
    """Where a model URI leads: a run, and the version where it is a registered one."""

    uri: str
    run_id: str
    name: str | None
    version: int | None
    aliases: tuple[str, ...]


class RunSummary(NamedTuple):
    """What a run left: its parameters and its last metrics."""

    name: str
    parameters: dict[str, str]
    metrics: dict[str, float]


class RegistryAliases:
    """Where one alias leads now: what `control_plane.serving` asks."""

    def __init__(self, registry: "ModelRegistry", name: str) -> None:
        self._registry, self.name = registry, name

    def versions(self) -> dict[str, int]:
        """The version that has the alias, by model; Retryable when MLflow does not answer."""
        return self._registry.versions_with(self.name)


class ModelRegistry:
    """The models under one tracking URI, for example `sqlite:///data/mlflow.db`."""

    def __init__(self, tracking_uri: str, experiment: str = EXPERIMENT) -> None:
        self.runs = MlflowClient(tracking_uri, experiment)

    def log_model(self, model: bytes, manifest: Manifest, record: RunRecord) -> Manifest:
        """Log a run, register the model; the manifest with the version that it was given.

        The version is `challenger` from now on, and `champion` where the model had none.
        """
        spec = {"feature_spec_hash": manifest.feature_spec_hash, "sha256": manifest.sha256}
        record = record._replace(
            parameters={**record.parameters, **spec}, metrics={**record.metrics, **manifest.metrics}
        )
        run_id = self.runs.start(record)
        client = self.runs.client()
        version = self._register(client, run_id, manifest)
        numbered = manifest.model_copy(update={"version": version})
        files = {MODEL_FILE: model, MANIFEST_FILE: numbered.model_dump_json(indent=2).encode()}
        files |= mlmodel_files(model, manifest, run_id)
        self.runs.finish(run_id, record._replace(files={**record.files, **files}))
        self._set_aliases(client, manifest.name, version)
        return numbered

    def load_model(self, model_uri: str) -> tuple[bytes, Manifest]:
        """The bytes that were logged, and their manifest (see URI_FORMS).

        Rejected when there is no such model, or when this program cannot read its manifest; Untrusted
        when the stored bytes are not those that the manifest describes.
        """
        model, manifest = self._stored(self.locate(model_uri))
        found = hashlib.sha256(model).hexdigest()
        if found != manifest.sha256:
            raise Untrusted(
                "model digest", f"{model_uri} has SHA-256 {found}; its manifest says {manifest.sha256}"
            )
        return model, manifest

    def load_file(self, model_uri: str, name: str) -> bytes:
        """A file beside the model, for example TORCHSCRIPT_FILE; Rejected when it is not there."""
        place = self.locate(model_uri)
        try:
            return Path(self.runs.client().download_artifacts(place.run_id, name)).read_bytes()
        except Exception as error:  # each kind of store raises classes of its own
            raise Rejected(f"{model_uri} has no {name}; train it anew") from error

    def locate(self, model_uri: str) -> Located:
        """The run behind a URI; Rejected with what there is instead when it leads nowhere."""
        kind, _, rest = model_uri.partition(":/")
        client = self.runs.client()
        if kind == "runs" and rest:
            return self._run(client, model_uri, rest.strip("/"))
        name, mark, alias = rest.partition("@")
        if not mark:
            name, mark, alias = rest.partition("/")
        if kind != "models" or not (name and mark and alias):
            raise Rejected(f"found {model_uri!r}; a model's URI is {URI_FORMS}")
        return self._version(client, model_uri, name, alias, by_alias="@" in rest)

    def registered(self) -> list[Registered]:
        """Every registered version, with the SHA-256 of what is stored for it."""
        client = self.runs.client()
        found = []
        for each in client.search_model_versions():
            path = Path(client.download_artifacts(each.run_id, MODEL_FILE))
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found.append(Registered(each.name, int(each.version), digest))
        return sorted(found)

    def versions_with(self, alias: str) -> dict[str, int]:
        """The version that has the alias, by model; Retryable when MLflow does not answer."""
        try:
            models = self.runs.client().search_registered_models(max_results=MODELS_MAX)
        except Exception as error:  # each kind of store raises classes of its own
            raise Retryable(f"MLflow at {self.runs.uri}: {str(error)[:200]}") from error
        return {each.name: int(each.aliases[alias]) for each in models if alias in each.aliases}

    def by_sha256(self, sha256: str) -> tuple[Manifest, bytes]:
        """The version whose stored bytes have this SHA-256; Rejected when none has."""
        for entry in self.registered():
            if entry.sha256 == sha256:
                model, manifest = self.load_model(f"models:/{entry.name}/{entry.version}")
                return manifest, model
        raise Rejected(f"no registered model has SHA-256 {sha256}")

    def summary(self, place: Located) -> RunSummary:
        """Parameters and last metrics of the run behind a model."""
        run = self.runs.client().get_run(place.run_id)
        return RunSummary(str(run.info.run_name), dict(run.data.params), dict(run.data.metrics))

    def validation_report(self, manifest: Manifest) -> bytes | None:
        """The newest `report.json` that `control-plane validate` logged for these bytes, if there is one."""
        client = self.runs.client()
        found = client.search_runs(
            [each.experiment_id for each in client.search_experiments()],
            f"tags.kind = 'validation' AND params.sha256 = '{manifest.sha256}'",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        if not found:
            return None
        return Path(client.download_artifacts(found[0].info.run_id, REPORT_FILE)).read_bytes()

    def promote(self, place: Located) -> None:
        """Make a version its model's champion; Rejected for a run that is not registered."""
        if place.name is None or place.version is None:
            raise Rejected(f"{place.uri} is a run; only a registered version can be {CHAMPION}")
        self.runs.client().set_registered_model_alias(place.name, CHAMPION, str(place.version))

    def _stored(self, place: Located) -> tuple[bytes, Manifest]:
        client = self.runs.client()
        try:
            model = Path(client.download_artifacts(place.run_id, MODEL_FILE)).read_bytes()
            text = Path(client.download_artifacts(place.run_id, MANIFEST_FILE)).read_bytes()
        except Exception as error:  # each kind of store raises classes of its own
            raise Rejected(f"{place.uri} holds no model: the run has no {MODEL_FILE}") from error
        try:
            return model, Manifest.model_validate_json(text)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            raise Rejected(
                f"{place.uri} was made by another version of this program: its manifest's {where}: "
                f"{problem['msg']}; train it anew"
            ) from error

    def _run(self, client: Any, uri: str, run_id: str) -> Located:
        from mlflow.exceptions import MlflowException

        try:
            client.get_run(run_id)
        except MlflowException as error:
            raise Rejected(f"{uri}: there is no such run at {self.runs.uri}") from error
        for each in client.search_model_versions(f"run_id = '{run_id}'"):
            return self._version(client, uri, each.name, each.version, by_alias=False)
        return Located(uri, run_id, None, None, ())

    def _version(self, client: Any, uri: str, name: str, key: str, *, by_alias: bool) -> Located:
        from mlflow.exceptions import MlflowException

        try:
            get = client.get_model_version_by_alias if by_alias else client.get_model_version
            found = get(name, key)
        except MlflowException as error:
            raise Rejected(f"{uri} is not registered; {self._known(client, name)}") from error
        aliases = client.get_registered_model(name).aliases
        own = tuple(sorted(alias for alias, version in aliases.items() if version == found.version))
        return Located(uri, str(found.run_id), name, int(found.version), own)

    def _known(self, client: Any, name: str) -> str:
        models = {each.name: each for each in client.search_registered_models()}
        if name not in models:
            return f"{self.runs.uri} has {', '.join(sorted(models)) or 'no model yet'}"
        versions = sorted(int(v.version) for v in client.search_model_versions(f"name = '{name}'"))
        aliases = ", ".join(f"@{alias}" for alias in sorted(models[name].aliases)) or "no alias"
        return f"{name} has the versions {', '.join(map(str, versions))} and {aliases}"

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
        return int(created.version)

    def _set_aliases(self, client: Any, name: str, version: int) -> None:
        client.set_registered_model_alias(name, CHALLENGER, str(version))
        if CHAMPION not in client.get_registered_model(name).aliases:
            client.set_registered_model_alias(name, CHAMPION, str(version))
