"""One seed of the C-MAPSS benchmark: train, freeze, and only then see test data; reads top to bottom."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from control_plane.training.cmapss_files import TAGS, TestSet, read_training
from control_plane.training.cmapss_scores import Scores, score
from control_plane.training.cmapss_settings import SubsetSettings
from control_plane.training.export import golden_windows, output_names, to_onnx
from control_plane.training.fit import fit
from control_plane.training.histories import Floats, Unit, hold_out
from control_plane.training.optimise import Epoch
from shared.features import FeatureSpec, fit_normalisation
from shared.onnx_model import OnnxModel
from shared.schemas import Manifest, utc_now

GOLDEN_TOLERANCE = 1e-2  # cycles and standard deviations: other processors may round otherwise
HELD_PARTS = 5  # of the training engines; a held-out trial of seed s judges on part s modulo 5
PARTS_SEED = 2008  # which engine is in which part: the same for every seed, so that five make a whole
CUTS = 20  # of each judged engine
CUT_RUL = (7, 145)  # cycles left at a cut: about what the literature says of the test engines
CUT_HISTORY_MIN = 31  # cycles seen before a cut, likewise

Doubles = NDArray[np.float64]
OnEpoch = Callable[[Epoch], None]


@dataclass(frozen=True)
class FrozenModel:
    """A release that nothing changes any more: the ONNX bytes, and a manifest with spec and calibration."""

    model: bytes
    manifest: Manifest
    seal: str

    @classmethod
    def freeze(cls, model: bytes, manifest: Manifest) -> "FrozenModel":
        """Note the digest of all that decides an answer."""
        return cls(model, manifest, _digest(model, manifest))

    def check(self) -> str:
        """The digest; ValueError when the model is no longer what was frozen."""
        if _digest(self.model, self.manifest) != self.seal:
            raise ValueError("the model has changed since it was frozen; freeze it anew before any test data")
        return self.seal

    def last_intervals(self, units: Sequence[Unit]) -> Doubles:
        """Calibrated low, median, high `(N, 3)` in cycles, of the last window of each unit.

        The path is the edge's: raw window, `shared.features`, the ONNX graph, the manifest's calibration.
        """
        spec = self.manifest.feature_spec
        windows = np.stack([_last_window(unit, spec) for unit in _reading(units, spec.tags)])
        raw = OnnxModel(self.manifest, self.model).run(windows)["rul"]
        if self.manifest.calibration is None:
            raise ValueError("the model has no calibration; train it on units with RUL")
        return np.stack(self.manifest.calibration.widen(*raw.T), axis=1)


@dataclass(frozen=True)
class Trial:
    """What one seed gave."""

    seed: int
    seal: str  # SHA-256 of the frozen model
    seconds: float  # from reading the training file to the frozen model
    scores: Scores
    intervals: Doubles  # (N, 3)
    truth: Doubles  # (N,), cycles, uncapped


def run_test(
    folder: Path,
    subset: str,
    settings: SubsetSettings,
    seed: int,
    on_epoch: OnEpoch,
    checkpoint: Path | None = None,
) -> Trial:
    """Train on all training engines, freeze, then open the test data once. ConfigError for a bad file."""
    started = time.monotonic()
    frozen = train_frozen(read_training(folder, subset), subset, settings, seed, on_epoch, checkpoint)
    seconds = time.monotonic() - started
    test = TestSet.open(folder, subset, frozen)
    return _judge(frozen, test.units, test.rul.astype(np.float64), seed, seconds)


def run_held_out(
    folder: Path,
    subset: str,
    settings: SubsetSettings,
    seed: int,
    on_epoch: OnEpoch,
    checkpoint: Path | None = None,
) -> Trial:
    """The same on training engines alone: a fifth of them is held out, and cut as the test engines are."""
    started = time.monotonic()
    units = read_training(folder, subset)
    part = np.random.default_rng(PARTS_SEED).permutation(len(units)) % HELD_PARTS
    kept = [unit for unit, p in zip(units, part, strict=True) if p != seed % HELD_PARTS]
    judged = [unit for unit, p in zip(units, part, strict=True) if p == seed % HELD_PARTS]
    frozen = train_frozen(kept, subset, settings, seed, on_epoch, checkpoint)
    seconds = time.monotonic() - started
    cut = cut_short(judged, seed)
    truth = np.array([unit.rul[-1] for unit in cut if unit.rul is not None], np.float64)
    return _judge(frozen, cut, truth, seed, seconds)


def train_frozen(
    units: Sequence[Unit],
    subset: str,
    settings: SubsetSettings,
    seed: int,
    on_epoch: OnEpoch,
    checkpoint: Path | None = None,
) -> FrozenModel:
    """Fit, export and freeze, from training engines and nothing else; the same bytes for the same seed."""
    units = _reading(units, settings.tags)
    config = settings.config(seed)
    spec = _spec(units, settings)
    kept, held = hold_out(units, config.held_out, seed)
    fitted = fit(kept, held, spec, config, _nothing, checkpoint, on_epoch)
    model = to_onnx(fitted, spec, held[:1])
    names = output_names(fitted)
    manifest = Manifest(
        name=f"cmapss-{subset.lower()}",
        version=1,
        component_type="turbofan",
        sha256=hashlib.sha256(model).hexdigest(),
        feature_spec=spec,
        feature_spec_hash=spec.hash(),
        outputs=names,
        horizon_cycles=config.horizon_cycles,
        anomaly_threshold=fitted.anomaly_threshold,
        ood_threshold=fitted.ood_threshold,
        training_data_version=_data_version(units),
        metrics={},
        calibration=fitted.calibration,
        golden=golden_windows(model, units[:1], spec, names),
        golden_tolerance=GOLDEN_TOLERANCE,
        oldest_agent_version="0.1.0",
        created=utc_now(),
    )
    return FrozenModel.freeze(model, manifest)


def cut_short(units: Sequence[Unit], seed: int) -> list[Unit]:
    """Each engine `CUTS` times, cut so that the cycles left spread evenly over `CUT_RUL`.

    An engine too short for any such cut is left out.
    """
    generator = np.random.default_rng(seed)
    cut = []
    for unit in units:
        most = min(CUT_RUL[1], len(unit.values) - CUT_HISTORY_MIN)
        if most >= CUT_RUL[0] and unit.rul is not None:
            for left in generator.integers(CUT_RUL[0], most, CUTS, endpoint=True):
                rows = len(unit.values) - int(left)
                cut.append(Unit(unit.name, unit.values[:rows], unit.rul[:rows], unit.normal[:rows]))
    return cut


def _judge(frozen: FrozenModel, units: Sequence[Unit], truth: Doubles, seed: int, seconds: float) -> Trial:
    intervals = frozen.last_intervals(units)
    horizon = frozen.manifest.horizon_cycles or 0.0
    return Trial(seed, frozen.check(), seconds, score(intervals, truth, horizon), intervals, truth)


def _spec(units: Sequence[Unit], settings: SubsetSettings) -> FeatureSpec:
    return FeatureSpec(
        component_type="turbofan",
        tags=settings.tags,
        window_cycles=settings.window_cycles,
        normalisation=fit_normalisation(
            [unit.values for unit in units], settings.tags, settings.regime_tags, settings.regimes
        ),
        smoothing=settings.smoothing,
        groups=("value", "present", "cycles"),
        steps=settings.steps,
    )


def _reading(units: Sequence[Unit], tags: Sequence[str]) -> list[Unit]:
    """The units with these tags alone, in this order; units are as their file has them (`TAGS`)."""
    columns = [TAGS.index(tag) for tag in tags]
    return [replace(unit, values=np.ascontiguousarray(unit.values[:, columns])) for unit in units]


def _last_window(unit: Unit, spec: FeatureSpec) -> Floats:
    """The newest rows `(W, T)`; a shorter history has NaN before it."""
    rows = unit.values[-spec.window_cycles :]
    return np.pad(rows, ((spec.window_cycles - len(rows), 0), (0, 0)), constant_values=np.nan)


def _data_version(units: Sequence[Unit]) -> str:
    digest = hashlib.sha256()
    for unit in units:
        digest.update(unit.values.tobytes())
    return digest.hexdigest()


def _digest(model: bytes, manifest: Manifest) -> str:
    """SHA-256 over the bytes and all of the manifest but the moment it was written."""
    said = manifest.model_dump_json(exclude={"created"})
    return hashlib.sha256(hashlib.sha256(model).digest() + said.encode()).hexdigest()


def _nothing(_: str) -> None:
    """What fit says beside its epochs is of no interest here."""
