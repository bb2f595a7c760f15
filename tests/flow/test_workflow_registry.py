"""The catalogue: what is logged comes back byte for byte, under aliases that move only on request."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest

from control_plane.commands.compare import compare
from control_plane.commands.validate import validate
from control_plane.registry.mlflow_client import DatasetRef, RunRecord
from control_plane.registry.mlflow_registry import CHALLENGER, CHAMPION, ModelRegistry
from control_plane.registry.provenance import PACKAGES_MAX, code_version, environment
from shared.config_defaults import builtin_types
from shared.errors import ConfigError, Rejected, Retryable, Untrusted
from shared.features import window_features
from shared.listen import free_port
from shared.schemas.window import values_from_blob
from tests.support.pump_table import rows, saved
from tests.support.releases import make_release

PUMP = "models:/coolant_pump"
RECORD = RunRecord(
    "coolant_pump",
    {"epochs": 2, "learning_rate": 0.01},
    curves={"loss": [0.5, 0.25], "loss_held_out": [0.6, 0.4]},
    dataset=DatasetRef("pumps.parquet", "ab" * 32, 7),
    files={"model.pt": b"script"},
    tags={"kind": "training"},
)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """A registry with two versions of a pump's model, and what was logged."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
    registry = ModelRegistry(uri, "pumps of 2026")
    logged = [make_release(bias=bias, metrics={"rmse_cycles": 10.0 - bias}) for bias in (0.0, 1.0)]
    manifests = [registry.log_model(model, manifest, RECORD) for manifest, model in logged]
    return registry, manifests, [model for _, model in logged]


def test_a_model_comes_back_byte_for_byte_by_version_alias_and_run(catalogue):
    """PRD 3.4's round trip: the same bytes, so the same predictions."""
    registry, manifests, models = catalogue
    assert [manifest.version for manifest in manifests] == [1, 2]
    second = registry.locate(f"{PUMP}/2")
    for uri in (f"{PUMP}/2", f"{PUMP}@{CHALLENGER}", f"runs:/{second.run_id}"):
        model, manifest = registry.load_model(uri)
        assert model == models[1]
        assert manifest == manifests[1]
        assert registry.locate(uri).version == 2
    assert registry.by_sha256(manifests[0].sha256) == (manifests[0], models[0])
    assert registry.load_file(f"{PUMP}/1", "model.pt") == b"script"


def test_a_run_keeps_all_that_made_the_model(catalogue):
    """Parameters, metrics, curves, signature, example, spec, data, code and environment."""
    registry, manifests, _ = catalogue
    client = registry.runs.client()
    place = registry.locate(f"{PUMP}/1")
    run = client.get_run(place.run_id)
    expected = {
        "epochs": "2", "learning_rate": "0.01", "dataset_sha256": "ab" * 32, "dataset_version": "7",
        "feature_spec_hash": manifests[0].feature_spec_hash, "sha256": manifests[0].sha256,
        "code_version": code_version(),
    }  # fmt: skip
    assert run.data.params == expected
    assert run.data.metrics["rmse_cycles"] == 10
    assert [m.value for m in client.get_metric_history(place.run_id, "loss")] == [0.5, 0.25]
    assert run.data.tags["mlflow.source.git.commit"] == code_version()
    assert [found.dataset.digest for found in run.inputs.dataset_inputs] == [("ab" * 32)[:36]]
    assert client.get_experiment(run.info.experiment_id).name == "pumps of 2026"
    assert run.info.status == "FINISHED"
    folder = Path(client.download_artifacts(place.run_id, ""))
    packages = (folder / "environment.txt").read_text().splitlines()
    assert packages == list(environment())
    assert 50 < len(packages) <= PACKAGES_MAX
    described = mlflow.models.Model.load(folder)
    assert described.signature.inputs.input_names() == ["features"]
    assert described.signature.outputs.input_names() == ["anomaly_score", "ood_score", "rul"]
    example = json.loads((folder / "input_example.json").read_text())["inputs"]["features"]
    assert np.array(example, np.float32).tobytes() == features(manifests[0]).tobytes()


def features(manifest):
    """Those of the first golden window."""
    values = values_from_blob(manifest.golden[0].window, len(manifest.feature_spec.tags))
    return window_features(values[np.newaxis], manifest.feature_spec)


@pytest.mark.filterwarnings("ignore::UserWarning")  # mlflow.pyfunc's, about its own type hints
def test_any_mlflow_client_can_run_the_model(catalogue):
    """`mlflow.pyfunc` answers what the release says it must, through the very same bytes."""
    registry, manifests, _ = catalogue
    folder = registry.runs.client().download_artifacts(registry.locate(f"{PUMP}/1").run_id, "")
    answers = mlflow.pyfunc.load_model(folder).predict({"features": features(manifests[0])})
    for name, wanted in manifests[0].golden[0].outputs.items():
        np.testing.assert_allclose(np.ravel(answers[name]), wanted, atol=manifests[0].golden_tolerance)


def test_what_is_not_there_is_refused_with_what_is(catalogue, tmp_path):
    """A wrong name, version, alias, run or form: each answer says what to write instead."""
    registry, _, _ = catalogue
    wrong = {
        f"{PUMP}/9": "has the versions 1, 2 and @challenger, @champion",
        f"{PUMP}@best": "has the versions 1, 2 and @challenger, @champion",
        "models:/valve/1": "has .*coolant_pump",
        "runs:/0": "no such run",
        "coolant_pump": "a model's URI is models:/NAME@ALIAS",
    }
    for uri, message in wrong.items():
        with pytest.raises(Rejected, match=message):
            registry.load_model(uri)
    with pytest.raises(Rejected, match=r"has no torch\.pt; train it anew"):
        registry.load_file(f"{PUMP}/1", "torch.pt")


def test_changed_bytes_are_not_handed_out(catalogue):
    """What is registered may be changed by whoever reaches the store; it is then no longer that model."""
    registry, _, _ = catalogue
    manifest, model = make_release()
    registry.log_model(model, manifest.model_copy(update={"name": "changed_pump"}), RECORD)
    run_id = registry.locate("models:/changed_pump/1").run_id
    folder = Path(registry.runs.client().download_artifacts(run_id, ""))
    (folder / "model.onnx").write_bytes(model + b"\0")
    with pytest.raises(Untrusted, match=r"model digest: models:/changed_pump/1 has SHA-256"):
        registry.load_model("models:/changed_pump/1")
    content = json.loads((folder / "manifest.json").read_text())
    content["feature_spec"]["version"] = "features/0"
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(Rejected, match=r"another version of this program.*feature_spec.version"):
        registry.load_model("models:/changed_pump/1")


def test_the_champion_moves_only_when_a_person_promotes(catalogue, capsys, tmp_path):
    """The first version is champion, the newest challenger; a comparison alone changes nothing."""
    registry, _, _ = catalogue
    aliases = {v: registry.locate(f"{PUMP}/{v}").aliases for v in (1, 2)}
    assert aliases == {1: (CHAMPION,), 2: (CHALLENGER,)}
    both = [f"{PUMP}/1", f"{PUMP}/2"]
    uri = registry.runs.uri
    compare(both, tracking_uri=uri, plot=tmp_path / "both.png", as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown["champion"] is None
    assert [row["metrics"]["rmse_cycles"] for row in shown["models"]] == [10, 9]
    assert (tmp_path / "both.png").stat().st_size > 1000
    assert registry.locate(f"{PUMP}@{CHAMPION}").version == 1
    with pytest.raises(ConfigError, match="promote one of"):
        compare(both, tracking_uri=uri, promote=f"{PUMP}/3")
    try:
        compare(both, tracking_uri=uri, promote=f"{PUMP}/2")
        assert "champion of coolant_pump is now version 2" in capsys.readouterr().out
        assert registry.locate(f"{PUMP}@{CHAMPION}").version == 2
    finally:
        registry.promote(registry.locate(f"{PUMP}/1"))


def test_a_validation_leaves_a_report_and_a_run(catalogue, capsys, tmp_path):
    """PRD 4.4: metrics, residuals, trajectories; pictures, JSON and MLflow.

    A release without references has no importance of each tag, and its TorchScript form is not asked for.
    """
    registry, _, _ = catalogue
    data = saved(rows(0, 40), tmp_path)
    validate(f"{PUMP}@{CHAMPION}", data, registry.runs.uri, tmp_path / "out", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((tmp_path / "out" / "report.json").read_text())
    assert {"mae_cycles", "rmse_cycles", "r2", "rmse_uncapped_cycles", "coverage"} <= told["metrics"].keys()
    assert told["importance"] == {}
    pictures = {"residuals.png", "trajectories.png", "scores.png"}
    assert set(told["pictures"]) == pictures
    assert pictures < {path.name for path in (tmp_path / "out").iterdir()}
    client = registry.runs.client()
    experiment = client.get_experiment_by_name("pm-stack-smr")
    [run] = client.search_runs([experiment.experiment_id], "tags.kind = 'validation'")
    assert run.data.params["model"] == "coolant_pump/1"
    assert run.data.metrics["rmse_cycles"] == told["metrics"]["rmse_cycles"]
    assert pictures < {each.path for each in client.list_artifacts(run.info.run_id)}


def test_a_model_is_not_judged_on_another_types_data(catalogue, tmp_path):
    """Neither on a table without its tags, nor where the type has other tags than it was trained with."""
    registry, _, _ = catalogue
    tags = builtin_types()["heat_exchanger"]["tags"]
    other = rows(0, 40)[
        ["site_id", "reactor_id", "component", "run", "cycle", "true_RUL", "fault", "performance"]
    ]
    data = saved(other.assign(component="heat_exchanger", **dict.fromkeys(tags, 1.0)), tmp_path)
    with pytest.raises(
        ConfigError, match="coolant_pump/1 is a model of coolant_pump: give data of that type"
    ) as no:
        validate(f"{PUMP}/1", data, registry.runs.uri, tmp_path / "out")
    assert "column 'shaft_speed' is missing" in str(no.value)


def test_a_server_that_is_not_there_is_said_at_once():
    """Not after MLflow's own minutes of retries."""
    with pytest.raises(Retryable, match=r"MLflow at http://127\.0\.0\.1:\d+ does not answer"):
        ModelRegistry(f"http://127.0.0.1:{free_port()}").registered()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_model_comes_back_byte_for_byte_from_a_server(tmp_path):
    """The same through `mlflow server`: artifacts by HTTP, aliases, refusals."""
    port = free_port()
    options = f"--host 127.0.0.1 --port {port} --workers 1 --backend-store-uri sqlite:///{tmp_path}/m.db"
    command = [sys.executable, "-m", "mlflow", "server", *options.split()]
    command += ["--artifacts-destination", str(tmp_path / "artifacts")]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    alone = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # else eight more processes
    with subprocess.Popen(command, cwd=tmp_path, env=alone, start_new_session=True, **quiet) as server:
        try:
            registry = ModelRegistry(f"http://127.0.0.1:{port}")
            manifest, model = make_release()
            wait_for(registry)
            numbered = registry.log_model(model, manifest, RECORD)
            assert registry.load_model(f"{PUMP}@{CHAMPION}") == (model, numbered)
            assert [entry.sha256 for entry in registry.registered()] == [manifest.sha256]
            with pytest.raises(Rejected, match="has the versions 1"):
                registry.load_model(f"{PUMP}/2")
        finally:
            os.killpg(server.pid, signal.SIGTERM)  # it has a child that listens


def wait_for(registry: ModelRegistry, deadline_s: float = 240.0) -> None:
    """Until the server answers."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            registry.runs.client()
        except Retryable:
            assert time.monotonic() < end, "mlflow server did not start"
            time.sleep(0.5)
        else:
            return
