"""Fitting a release graph: networks, parts, early stopping, going on after a kill, settings."""

from pathlib import Path

import numpy as np
import pytest
import torch

from control_plane.training.config import MODEL_TYPES, TrainingConfig
from control_plane.training.fit import Fitted, fit
from control_plane.training.histories import Unit
from control_plane.training.network import RULLSTMModel, build
from control_plane.training.optimise import Epoch
from shared.errors import ConfigError
from shared.features import FeatureSpec

TAGS = ("temperature", "flow")
SPEC = FeatureSpec(component_type="pump", tags=TAGS, window_cycles=12)
SMALL = {"hidden_dim": 4, "num_layers": 1, "epochs": 3, "stride": 2, "horizon_cycles": 40.0}


class Killed(Exception):
    """Stands for the end of the process."""


def units(count: int = 6, cycles: int = 50) -> list[Unit]:
    generator = np.random.default_rng(1)
    rul = np.arange(cycles - 1, -1, -1, dtype=np.float32)
    wear = 20 / (rul[:, np.newaxis] + 5)
    return [
        Unit(str(n), (wear + generator.normal(0, 0.2, (cycles, 2))).astype(np.float32), rul, rul > cycles / 2)
        for n in range(count)
    ]


def run(config: TrainingConfig, spec: FeatureSpec = SPEC, checkpoint: Path | None = None, kill_at: int = 0):
    """A fit, and its epochs; Killed after epoch number `kill_at`."""
    seen: list[Epoch] = []

    def note(epoch: Epoch) -> None:
        seen.append(epoch)
        if len(seen) == kill_at:
            raise Killed

    return fit(units()[2:], units()[:2], spec, config, print, checkpoint, note), seen


def same_bits(a: Fitted, b: Fitted) -> bool:
    ours, theirs = a.graph.state_dict(), b.graph.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_every_network_gives_quantiles_in_order(kind):
    """Whatever the weights, low <= median <= high for each window."""
    torch.manual_seed(0)
    network = build(kind, 5, 7, TrainingConfig(hidden_dim=8, dropout=0.1)).eval()
    low, median, high = network(10 * torch.randn(64, 7, 5)).unbind(-1)
    assert bool((low <= median).all() and (median <= high).all())


def test_lstm_is_built_as_the_requirements_say():
    """`RULLSTMModel(input_dim, hidden_dim, num_layers)` takes windows of features."""
    assert RULLSTMModel(6, 8, 2)(torch.zeros(3, 30, 6)).shape == (3, 3)


def test_same_seed_gives_same_bits_and_another_does_not():
    """A training can be repeated."""
    config = TrainingConfig(**SMALL, parts=2, model_type="dense", dropout=0.2)
    assert same_bits(run(config)[0], run(config)[0])
    assert not same_bits(run(config)[0], run(TrainingConfig(**SMALL, parts=2, model_type="dense", seed=1))[0])


@pytest.mark.parametrize("kill_at", [1, 4, 7])
def test_killed_training_goes_on_to_the_same_weights(tmp_path, kill_at):
    """After a kill in any network's epochs only what is missing is trained, and the bits are the same."""
    config = TrainingConfig(
        **SMALL, parts=2, model_type="lstm+dense", dropout=0.2, offset_noise=0.1, patience=2
    )
    whole, all_epochs = run(config)
    kept = tmp_path / "training.pt"
    with pytest.raises(Killed):
        run(config, checkpoint=kept, kill_at=kill_at)
    resumed, epochs = run(config, checkpoint=kept)
    assert len(epochs) == len(all_epochs) - kill_at
    assert same_bits(whole, resumed)
    assert whole.calibration == resumed.calibration
    assert whole.losses == resumed.losses


def test_checkpoint_of_another_training_is_refused(tmp_path):
    """Neither other settings nor a damaged file is taken for one's own."""
    kept = tmp_path / "training.pt"
    run(TrainingConfig(**SMALL, model_type="dense"), checkpoint=kept)
    with pytest.raises(ConfigError, match="is of other settings or data"):
        run(TrainingConfig(**SMALL, model_type="dense", seed=3), checkpoint=kept)
    kept.write_bytes(kept.read_bytes()[:100])
    with pytest.raises(ConfigError, match="is no checkpoint"):
        run(TrainingConfig(**SMALL, model_type="dense"), checkpoint=kept)


def test_training_stops_by_held_out_units_and_keeps_their_best_epoch():
    """With patience the losses end that many epochs after the best one."""
    config = TrainingConfig(**SMALL | {"epochs": 200, "learning_rate": 0.3}, model_type="dense", patience=3)
    fitted, epochs = run(config)
    held = [loss for _, loss in fitted.losses]
    assert len(epochs) < 200
    assert int(np.argmin(held)) == len(held) - 1 - 3


def test_each_part_holds_out_its_own_units(monkeypatch):
    """Over all parts each window is held out once, and is never trained on by those that hold it out."""
    seen = []
    monkeypatch.setattr(
        "control_plane.training.fit.train_network",
        lambda model, train, held, *_: seen.append((len(train.x), len(held.x))) or [(0.0, 0.0)],
    )
    fitted, _ = run(TrainingConfig(**SMALL, parts=3, model_type="dense"))
    windows = seen[0][0] + seen[0][1]
    assert [held for _, held in seen] == [windows // 3] * 3
    assert all(train + held == windows for train, held in seen)
    assert fitted.calibration.bins[0].units == 6


def test_network_does_not_see_regime_tags_or_groups_left_out():
    """What the setting leaves out of a network's sight changes no RUL."""
    spec = SPEC.model_copy(update={"groups": ("value", "present", "cycles")})
    fitted, _ = run(TrainingConfig(**SMALL, model_type="dense", network_groups=("value",)), spec)
    features = torch.rand(4, 12, len(spec.columns))
    other = features.clone()
    other[..., -1] += 100  # cycles
    assert torch.equal(fitted.graph(features)[0], fitted.graph(other)[0])
    other[..., 0] += 1
    assert not torch.equal(fitted.graph(features)[0], fitted.graph(other)[0])


def test_features_without_marks_are_refused():
    """A graph must know which values were missing."""
    with pytest.raises(ValueError, match="needs the groups value and present"):
        run(TrainingConfig(**SMALL), SPEC.model_copy(update={"groups": ("value",)}))


def test_impossible_settings_are_all_named():
    """Every wrong setting is listed with what would be right."""
    with pytest.raises(ConfigError) as refused:
        TrainingConfig(model_type="lstm+tree", hidden_dim=0, dropout=1.5, patience=-1, network_groups=("x",))
    for name in ("model_type", "hidden_dim", "dropout", "patience", "network_groups"):
        assert f"{name}: found" in str(refused.value)
