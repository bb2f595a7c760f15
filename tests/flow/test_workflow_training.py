"""From a table to a registered model and on: train, validate, tune, export, as the commands run them."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from control_plane.commands.export import export
from control_plane.commands.train import train
from control_plane.commands.tune import tune
from control_plane.commands.validate import validate
from control_plane.registry.mlflow_registry import ModelRegistry
from control_plane.training.export import run_onnx
from control_plane.training.settings import parse_settings, read_settings
from edge_agent.simulation.batch import Batch, write
from shared.errors import ConfigError
from shared.features import window_features
from shared.schemas.window import values_from_blob
from tests.support.golden import PUMP, component

pytestmark = pytest.mark.slow

SAMPLE = {  # PRD 4.3's, with sizes of a test
    "model_type": "LSTM",
    "hidden_dim": 4,
    "epochs": 2,
    "batch_size": 32,
    "learning_rate": 0.01,
    "sequence_length": 12,
}
URI = "models:/coolant_pump@champion"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a table, a config.yaml, and what `control-plane train` left."""
    folder = tmp_path_factory.mktemp("training")
    write(
        Batch(PUMP, component(), 200, 7, 6, 0.3, stop_at_failure=True).histories(), folder / "pumps.parquet"
    )
    (folder / "config.yaml").write_text(yaml.safe_dump(SAMPLE))
    train(
        "coolant_pump",
        folder / "pumps.parquet",
        folder / "release",
        tracking(folder),
        config=folder / "config.yaml",
    )
    return folder


def tracking(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


def test_a_training_leaves_a_release_and_a_run_that_tells_all_of_it(trained):
    """Settings, curves by epoch, both forms of the model, the config that made it."""
    registry = ModelRegistry(tracking(trained))
    model, manifest = registry.load_model(URI)
    assert model == (trained / "release" / "model.onnx").read_bytes()
    assert manifest.feature_spec.window_cycles == 12
    run = registry.runs.client().get_run(registry.locate(URI).run_id)
    assert {name: run.data.params[name] for name in ("hidden_dim", "epochs", "sequence_length")} == {
        "hidden_dim": "4", "epochs": "2", "sequence_length": "12",
    }  # fmt: skip
    curve = registry.runs.client().get_metric_history(run.info.run_id, "loss_held_out")
    assert len(curve) == 2
    again = trained / "again.yaml"
    again.write_bytes(registry.load_file(URI, "config.yaml"))
    assert read_settings(again, {}) == read_settings(trained / "config.yaml", {})


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated")  # C++ reads this form
def test_torchscript_answers_as_the_released_bytes_do(trained, capsys):
    """PRD 5.4: both files, equal on the golden windows at any batch size, timed; no path of this machine."""
    output = trained / "exported"
    export(URI, output, tracking(trained), benchmark=True, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["files"] == ["manifest.json", "model.onnx", "model.pt"]
    assert [row["form"] for row in told["benchmark"]] == ["ONNX", "TorchScript"]
    assert all(row["windows_per_s"] > 0 and row["load_ms"] > 0 for row in told["benchmark"])
    model, manifest = ModelRegistry(tracking(trained)).load_model(URI)
    assert (output / "model.onnx").read_bytes() == model
    graph = torch.jit.load(output / "model.pt")
    for golden in manifest.golden:
        values = values_from_blob(golden.window, len(manifest.feature_spec.tags))
        features = window_features(values[None], manifest.feature_spec)
        there = run_onnx(model, features, manifest.outputs)
        for name, found in zip(manifest.outputs, graph(torch.from_numpy(features)), strict=True):
            torch.testing.assert_close(found.detach(), torch.from_numpy(there[name]), rtol=1e-5, atol=1e-4)
    assert b"site-packages" not in (output / "model.pt").read_bytes()
    assert b"control_plane/src" not in (output / "model.pt").read_bytes()


def test_judging_a_model_on_what_it_was_trained_on_is_said(trained, capsys):
    """The number is there, and so is the warning that it flatters."""
    validate(URI, trained / "pumps.parquet", tracking(trained), trained / "validation")
    shown = capsys.readouterr().out
    assert "it was trained on this very data" in shown
    assert "rmse_cycles" in shown


def test_a_validation_says_how_many_cycles_each_tag_moves_the_rul(trained, capsys):
    """PRD 4.4: importance of every tag over all units, most first and complete; in the report and drawn."""
    validate(URI, trained / "pumps.parquet", tracking(trained), trained / "importance", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["importance"].keys() == set(component().tags)
    assert list(told["importance"].values()) == sorted(told["importance"].values(), reverse=True)
    assert told["metrics"]["importance_incompleteness"] < 1e-6
    assert (trained / "importance" / "importance.png").stat().st_size > 1000


def test_a_search_writes_a_config_that_trains_and_nests_its_trials(trained, capsys):
    """Each trial a run inside the search's; a second call adds what is missing and logs none twice."""
    space = trained / "space.yaml"
    space.write_text("hidden_dim: {choices: [2, 3]}\nlearning_rate: {low: 0.001, high: 0.02, log: true}\n")
    (trained / "base.yaml").write_text(yaml.safe_dump(SAMPLE | {"epochs": 1}))
    best = trained / "best.yaml"
    told = []
    for trials in (1, 2):
        tune(
            "coolant_pump", trained / "pumps.parquet", space, tracking(trained), best, trained / "base.yaml",
            trials=trials, storage=f"sqlite:///{trained}/tune.db", as_json=True,
        )  # fmt: skip
        told.append(json.loads(capsys.readouterr().out))
    assert [each["trials"] for each in told] == [1, 2]
    assert told[0]["run"] == told[1]["run"]
    settings = read_settings(best, {})
    assert settings.training.hidden_dim == told[1]["settings"]["hidden_dim"]
    assert (settings.training.epochs, settings.window_cycles) == (1, 12)
    registry = ModelRegistry(tracking(trained))
    client = registry.runs.client()
    [experiment] = client.search_experiments(filter_string="name = 'pm-stack-smr'")
    nested = client.search_runs([experiment.experiment_id], f"tags.mlflow.parentRunId = '{told[1]['run']}'")
    assert len(nested) == 2
    assert min(run.data.metrics["rmse_cycles"] for run in nested) == pytest.approx(told[1]["rmse_cycles"])
    assert client.get_run(told[1]["run"]).data.metrics["best_rmse_cycles"] == pytest.approx(
        told[1]["rmse_cycles"]
    )


WRONG = {
    "hidden_dims": (64, "'hidden_dims' is no setting; the settings are model_type, .*hidden_dim"),
    "epochs": ("40", "epochs: found '40'; expected int, for example"),
    "batch_size": (0, "batch_size: found 0"),
    "learning_rate": ("fast", "learning_rate: found 'fast'; expected float"),
    "sequence_length": (1, "sequence_length: found 1; a window has 2 to 1000 cycles"),
    "model_type": ("oracle", "model_type: found 'oracle'"),
    "seed": (True, "seed: found True; expected int"),
}


@pytest.mark.parametrize("key", WRONG)
def test_a_wrong_setting_is_refused_by_key_file_and_remedy(tmp_path, key):
    """PRD 4.3's file is read strictly: a text is no number, and a slip of the pen no new setting."""
    value, message = WRONG[key]
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(SAMPLE | {key: value}))
    with pytest.raises(ConfigError, match=message) as refused:
        read_settings(path, {})
    assert refused.value.source == str(path)


def test_settings_survive_their_own_file():
    """What a run stores as config.yaml is read back as the same settings."""
    settings = parse_settings(SAMPLE, "test")
    assert parse_settings(yaml.safe_load(settings.as_yaml()), "test") == settings


def test_a_search_over_what_no_training_takes_is_refused(trained):
    """Before the first trial, with the setting's name."""
    space = trained / "wrong.yaml"
    space.write_text("hidden_dim: {low: 0, high: 8}\nwidth: {choices: [1]}\n")
    with pytest.raises(ConfigError, match=r"hidden_dim: found 0(.|\n)*'width' is no setting"):
        tune(
            "coolant_pump", trained / "pumps.parquet", space, tracking(trained), storage="sqlite:///unused.db"
        )
