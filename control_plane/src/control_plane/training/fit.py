"""Fits the parts of a release graph; reads top to bottom."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from control_plane.training.anomaly import AnomalyDetector
from control_plane.training.checkpoints import Checkpoint, State
from control_plane.training.config import TrainingConfig
from control_plane.training.conformal import calibrate as calibrate_intervals
from control_plane.training.graph import (
    Distance,
    Ensemble,
    Level,
    ReleaseGraph,
    Standardise,
    View,
    columns_of,
)
from control_plane.training.histories import NO_TAGS, Unit, windows
from control_plane.training.network import build
from control_plane.training.optimise import Epoch, Examples, Losses, predict, train_network
from shared.features import FeatureSpec, Group, window_features
from shared.schemas import Calibration

__all__ = ["Fitted", "TrainingConfig", "fit"]

OOD_MARGIN = 1.5  # times the farthest training window: worn but known is not out of distribution
STD_MIN = 1e-6  # of a tag that never moves, in its unit
Z_STD_MIN = 1e-3  # of one that is in standard deviations already: less is rounding, and no signal
BEYOND = 7 / 6  # horizons: 20 cycles past the usual one; a window farther from its failure is "beyond"
MEMBER_SEEDS = 1000  # seeds of one training's members do not meet those of the next

Floats = NDArray[np.float32]
Say = Callable[[str], None]


@dataclass
class Fitted:
    """A graph, its thresholds, and how the fit went."""

    graph: ReleaseGraph
    anomaly_threshold: float
    ood_threshold: float
    calibration: Calibration | None = None
    losses: Losses = field(default_factory=list)  # by epoch, the mean of the members that got there


class _Windows(NamedTuple):
    """Every window of some units: features in standard deviations, and what is known of each."""

    x: torch.Tensor  # (N, S, F)
    rul: Floats | None  # (N,), cycles
    unit: NDArray[np.intp]  # (N,): which unit of the sequence
    normal: NDArray[np.bool_]  # (N,)


def fit(
    train: Sequence[Unit],
    calibrate: Sequence[Unit],
    spec: FeatureSpec,
    config: TrainingConfig,
    say: Say,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Fitted:
    """Fit on `train`; stop early, set thresholds and the conformal margins on `calibrate`.

    With several parts all units are one pool: each part's networks train on the other parts, and the margins
    rest on what they say of their own. `checkpoint` is a file to go on from after a kill;
    `on_epoch` hears of each epoch (None: `say` does). ValueError when the spec lacks a group.
    """
    torch.manual_seed(config.seed)
    standardise = _standardise(train, spec, config.stride)
    kept, held = (_windows(units, spec, standardise, config.stride) for units in (train, calibrate))
    level = Level(spec)
    anomaly, ood, ood_threshold = _distances(
        level, *(_windows(_all_rows(units), spec, standardise, config.stride) for units in (train, calibrate))
    )
    fitted = Fitted(
        ReleaseGraph(standardise, level, _distance(anomaly), _distance(ood)), anomaly.threshold, ood_threshold
    )
    if kept.rul is not None and held.rul is not None:
        keep = Checkpoint(checkpoint, _fingerprint([*train, *calibrate], spec, config))
        tell = on_epoch or (lambda epoch: say(str(epoch)))
        _fit_rul(fitted, kept, held, View(_seen_columns(spec, config), config.row_stride), config, keep, tell)
    fitted.graph.eval()
    return fitted


def _standardise(units: Sequence[Unit], spec: FeatureSpec, stride: int) -> Standardise:
    """Means and deviations of the features where their tag was present; marks stay marks."""
    features = np.concatenate([window_features(windows(u, spec, stride)[0], spec) for u in units])
    rows = features.reshape(-1, features.shape[-1])
    mean, std = np.zeros(rows.shape[1], np.float32), np.ones(rows.shape[1], np.float32)
    seen_by = np.full(rows.shape[1], -1)
    marks = columns_of(spec, [f"{tag}_present" for tag in spec.tags]).numpy()
    for column, (group, tag) in enumerate(_columns(spec)):
        if group == "present":
            continue
        seen_by[column] = marks[tag] if tag is not None else -1
        known = rows[:, column] if tag is None else rows[rows[:, marks[tag]] > 0, column]
        if len(known):
            mean[column] = 0 if group == "change" else known.mean(dtype=np.float64)
            std[column] = known.std(dtype=np.float64)
    least = Z_STD_MIN if spec.normalisation is not None else STD_MIN
    return Standardise(*(torch.from_numpy(v) for v in (mean, np.maximum(std, least), seen_by)))


def _columns(spec: FeatureSpec) -> Iterator[tuple[Group, int | None]]:
    """Group of each feature, and the number of its tag; `cycles` is of none."""
    for group in spec.groups:
        for tag in [None] if group == "cycles" else range(len(spec.tags)):
            yield group, tag


def _windows(units: Sequence[Unit], spec: FeatureSpec, standardise: Standardise, stride: int) -> _Windows:
    parts = [(unit, *windows(unit, spec, stride)) for unit in units]
    with torch.no_grad():
        x = torch.cat([standardise(torch.from_numpy(window_features(raw, spec))) for _, raw, _ in parts])
    number = np.repeat(np.arange(len(parts)), [len(ends) for _, _, ends in parts])
    normal = np.concatenate([unit.normal[ends] for unit, _, ends in parts])
    ruls = [unit.rul[ends] for unit, _, ends in parts if unit.rul is not None]
    return _Windows(x, np.concatenate(ruls) if len(ruls) == len(parts) else None, number, normal)


def _all_rows(units: Sequence[Unit]) -> list[Unit]:
    """With standstills: without them pumps' faults are found later (docs/model_experiments.md)."""
    return [replace(unit, operating=NO_TAGS) for unit in units]


def _distances(
    level: Level, kept: _Windows, held: _Windows
) -> tuple[AnomalyDetector, AnomalyDetector, float]:
    here, moved = _points(level, kept.x)
    held_here, held_moved = _points(level, held.x)
    both, held_both = np.hstack([here, moved]), np.hstack([held_here, held_moved])
    anomaly = AnomalyDetector().fit(both[kept.normal], held_both[held.normal])
    ood = AnomalyDetector().fit(here)
    farthest = max(float(ood.score(here).max()), float(ood.score(held_here).max()))
    return anomaly, ood, OOD_MARGIN * farthest


def _points(level: Level, x: torch.Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    with torch.no_grad():
        here, moved = level(x)
    return here.double().numpy(), moved.double().numpy()


def _distance(detector: AnomalyDetector) -> Distance:
    return Distance(*(torch.from_numpy(v) for v in (detector.mean, detector.whitening)))


def _seen_columns(spec: FeatureSpec, config: TrainingConfig) -> torch.Tensor:
    """What the networks see: the groups chosen, without regime tags, which say nothing but the regime."""
    regime_tags = spec.normalisation.regime_tags if spec.normalisation is not None else ()
    dull = {spec.tags.index(tag) for tag in regime_tags}
    groups = config.network_groups or spec.groups
    columns = enumerate(_columns(spec))
    return torch.tensor([at for at, (group, tag) in columns if group in groups and tag not in dull])


def _fit_rul(
    fitted: Fitted,
    kept: _Windows,
    held: _Windows,
    view: View,
    config: TrainingConfig,
    keep: Checkpoint,
    tell: Callable[[Epoch], None],
) -> None:
    """Train every member, join them in the graph, calibrate on what each says of units it did not see."""
    pool = _joined(kept, held)
    seen = view(pool.x).contiguous()
    masks = _held_masks(kept, held, config)
    members: list[nn.Module] = []
    losses, predicted = [], torch.zeros(len(seen), 3)
    for mask in masks:
        train, test = (_examples(pool, seen, rows, config) for rows in (~mask, mask))
        for kind in config.kinds:
            torch.manual_seed(config.seed * MEMBER_SEEDS + len(members))
            model = build(kind, seen.shape[-1], seen.shape[1], config)
            losses.append(_train_member(model, train, test, len(members), config, keep, tell))
            predicted[torch.from_numpy(mask)] += predict(model, test.x) / len(config.kinds)
            members.append(model)
    fitted.losses = [_mean(epoch) for epoch in zip_longest(*losses)]
    fitted.graph.rul = Ensemble(view, members)
    fitted.graph.horizon = config.horizon_cycles
    rows = np.logical_or.reduce(masks)
    if not config.calibrate_beyond:
        rows &= _rul(pool) <= BEYOND * config.horizon_cycles
    cycles = (predicted.clamp(0.0, 1.0) * config.horizon_cycles).numpy()[rows]
    fitted.calibration = calibrate_intervals(
        cycles, _rul(pool)[rows], pool.unit[rows], config.horizon_cycles, config.coverage
    )


def _train_member(
    model: nn.Module,
    train: Examples,
    test: Examples,
    number: int,
    config: TrainingConfig,
    keep: Checkpoint,
    tell: Callable[[Epoch], None],
) -> Losses:
    """One network; what the checkpoint holds of it is not done again."""
    name = f"member {number}"

    def after_epoch(state: State, losses: Losses) -> None:
        keep.save(name, state)
        tell(Epoch(number + 1, config.members, len(losses), config.epochs, *losses[-1]))

    return train_network(model, train, test, config, keep.load(name), after_epoch)


def _joined(kept: _Windows, held: _Windows) -> _Windows:
    return _Windows(
        torch.cat([kept.x, held.x]),
        np.concatenate([_rul(kept), _rul(held)]),
        np.concatenate([kept.unit, kept.unit.max() + 1 + held.unit]),
        np.concatenate([kept.normal, held.normal]),
    )


def _rul(of: _Windows) -> Floats:
    if of.rul is None:
        raise ValueError("a unit has no RUL; labels for all units, or for none, are right")
    return of.rul


def _held_masks(kept: _Windows, held: _Windows, config: TrainingConfig) -> list[NDArray[np.bool_]]:
    """For each part, which windows of the pool its networks do not train on; whole units."""
    if config.parts == 1:
        return [np.arange(len(kept.unit) + len(held.unit)) >= len(kept.unit)]
    units = _joined(kept, held).unit
    count = int(units.max()) + 1
    if count < config.parts:
        raise ValueError(f"{config.parts} parts need as many units; there are {count}")
    part = np.empty(count, np.intp)
    part[np.random.default_rng(config.seed).permutation(count)] = np.arange(count) % config.parts
    return [part[units] == number for number in range(config.parts)]


def _examples(
    pool: _Windows, seen: torch.Tensor, rows: NDArray[np.bool_], config: TrainingConfig
) -> Examples:
    rul, unit = _rul(pool)[rows], pool.unit[rows]
    horizon = np.float32(config.horizon_cycles)
    weight = np.where(rul > BEYOND * horizon, config.beyond_weight, 1.0)
    if config.equal_units:
        weight /= np.bincount(unit, weight)[unit]
    weight *= len(weight) / weight.sum()
    y = torch.from_numpy(np.minimum(rul, horizon) / horizon)
    return Examples(seen[torch.from_numpy(rows)], y, torch.from_numpy(weight.astype(np.float32)))


def _mean(of_members: Sequence[tuple[float, float] | None]) -> tuple[float, float]:
    train, held = np.mean([each for each in of_members if each is not None], axis=0)
    return float(train), float(held)


def _fingerprint(units: Sequence[Unit], spec: FeatureSpec, config: TrainingConfig) -> str:
    """Says which settings and data a checkpoint is of."""
    digest = hashlib.sha256(f"{config} {spec.hash()}".encode())
    for unit in units:
        digest.update(unit.values.tobytes())
        digest.update(b"" if unit.rul is None else unit.rul.tobytes())
    return digest.hexdigest()
