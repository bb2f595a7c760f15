"""A release with operating regimes says when it has never seen the like, and gives no number then."""

from functools import cache

import numpy as np
import pytest
import torch

from control_plane.training.config import TrainingConfig
from control_plane.training.fit import Fitted, fit
from control_plane.training.histories import Unit, windows
from shared.features import FeatureSpec, fit_normalisation, window_features
from shared.interpret import OUT_OF_DISTRIBUTION, interpret_many
from shared.schemas import RulState
from tests.support.releases import make_release

TAGS = ("load", "speed", "pressure", "vibration")
REGIMES = {"half": (50.0, 800.0), "full": (100.0, 1500.0)}  # load and speed go together, always
USUAL = {"half": (6.0, 1.0), "full": (12.0, 2.0)}  # pressure and vibration of a sound unit
CYCLES, HORIZON = 80, 60.0


def units(seed: int, count: int) -> list[Unit]:
    """Units that change between the regimes every few cycles and wear out: vibration rises."""
    rng = np.random.default_rng(seed)
    rul = np.arange(CYCLES - 1, -1, -1, dtype=np.float32)
    found = []
    for number in range(count):
        names = np.repeat(rng.choice(list(REGIMES), CYCLES // 4), 4)
        place, usual = (np.array([of[name] for name in names]) for of in (REGIMES, USUAL))
        usual[:, 1] *= 1 + 10 / (rul + 10)
        noise = rng.normal(0, 1, (CYCLES, 4)) * [0.5, 5, 0.1, 0.05]
        values = (np.hstack([place, usual]) + noise).astype(np.float32)
        found.append(Unit(f"unit {number}", values, rul, rul > CYCLES / 2))
    return found


@cache
def trained() -> tuple[FeatureSpec, Fitted]:
    train, calibrate = units(1, 6), units(2, 3)
    normalisation = fit_normalisation([unit.values for unit in train], TAGS, TAGS[:2], len(REGIMES))
    spec = FeatureSpec(
        component_type="coolant_pump", tags=TAGS, window_cycles=20, normalisation=normalisation
    )
    config = TrainingConfig(model_type="dense", hidden_dim=4, epochs=2, horizon_cycles=HORIZON)
    return spec, fit(train, calibrate, spec, config, lambda line: None)


def said(raw: np.ndarray) -> list[tuple[RulState, str | None, float | None]]:
    """State, reason and number for raw windows, as the edge gives them."""
    spec, fitted = trained()
    with torch.no_grad():
        answers = fitted.graph(torch.from_numpy(window_features(raw, spec)))
    names = ["rul", "anomaly_score", "ood_score"]
    manifest = make_release(
        feature_spec=spec, outputs=names, horizon_cycles=HORIZON, calibration=fitted.calibration,
        anomaly_threshold=fitted.anomaly_threshold, ood_threshold=fitted.ood_threshold,
    )[0]  # fmt: skip
    outputs = dict(zip(names, (answer.numpy() for answer in answers), strict=True))
    found = interpret_many(outputs, manifest, raw).each()
    return [(each["rul_state"], each["withheld_because"], each["rul"]) for each in found]


def fresh() -> np.ndarray:
    """Windows of units that no training saw, worn ones among them."""
    spec, _ = trained()
    return np.concatenate([windows(unit, spec, 5)[0] for unit in units(3, 4)])


def in_regime(name: str) -> np.ndarray:
    """A window of a sound unit that stays in one regime."""
    rng = np.random.default_rng(4)
    noise = rng.normal(0, 1, (20, 4)) * [0.5, 5, 0.1, 0.05]
    return (np.array([*REGIMES[name], *USUAL[name]]) + noise).astype(np.float32)


def test_regimes_that_were_seen_are_given_a_number():
    """Changing load and wear are no reason to withhold."""
    assert [each for each in said(fresh()) if each[0] is RulState.WITHHELD] == []
    for name in REGIMES:
        [(state, _, _)] = said(in_regime(name)[np.newaxis])
        assert state is not RulState.WITHHELD


@pytest.mark.parametrize(("load", "speed"), [("half", "full"), ("full", "half")])
def test_a_combination_of_regimes_that_was_never_seen_is_withheld(load, speed):
    """Each tag alone is usual, the nearest regime is not the right one for both: no number."""
    window = in_regime(load)
    window[:, 1] = in_regime(speed)[:, 1]
    assert said(window[np.newaxis]) == [(RulState.WITHHELD, OUT_OF_DISTRIBUTION, None)]


@pytest.mark.parametrize("name", REGIMES)
@pytest.mark.parametrize("tag", [2, 3])
def test_a_value_far_outside_its_own_regime_is_withheld(name, tag):
    """Twelve bar are usual at full load and unheard of at half; and the other way round."""
    window = in_regime(name)
    [other] = set(REGIMES) - {name}
    window[:, tag] = in_regime(other)[:, tag]
    if tag == 3:  # vibration rises with wear: what is usual at full load is a worn unit at half
        window[:, tag] *= 10
    assert said(window[np.newaxis]) == [(RulState.WITHHELD, OUT_OF_DISTRIBUTION, None)]


def test_the_same_value_is_usual_where_its_regime_says_so():
    """It is the regime that makes it strange, not the number."""
    window = in_regime("full")
    assert window[:, 2].mean() == pytest.approx(12, abs=0.1)
    assert said(window[np.newaxis])[0][1] is None
