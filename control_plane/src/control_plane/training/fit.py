"""Fits the parts of a release graph; reads top to bottom."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from control_plane.training.anomaly import AnomalyDetector
from control_plane.training.histories import Unit, windows
from control_plane.training.network import Distance, Level, ReleaseGraph, RULLSTMModel, Standardise
from shared.features import FeatureSpec, window_features

OOD_MARGIN = 1.5  # times the farthest training window: worn but known is not out of distribution
STD_MIN = 1e-6  # of a tag that never moves

Floats = NDArray[np.float32]
Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainingConfig:
    """What a person may set (PRD 4.3); lengths in cycles."""

    hidden_dim: int = 32
    num_layers: int = 2
    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 0.005
    horizon_cycles: float = 125.0  # the usual cap of C-MAPSS: health further off cannot be told apart
    coverage: float = 0.9  # of the interval
    stride: int = 3  # every third window of a training unit: neighbours nearly repeat each other
    held_out: float = 0.3  # of the units, half of it to calibrate, half to judge
    patience: int = 4  # epochs without a better loss on held-out units
    seed: int = 0


@dataclass
class Fitted:
    """A graph, its thresholds, and how the fit went."""

    graph: ReleaseGraph
    anomaly_threshold: float
    ood_threshold: float
    margin: float
    losses: list[tuple[float, float]] = field(default_factory=list)


def fit(
    train: Sequence[Unit], calibrate: Sequence[Unit], spec: FeatureSpec, config: TrainingConfig, say: Say
) -> Fitted:
    """Fit on `train`; stop early, set thresholds and the conformal margin on `calibrate`."""
    torch.manual_seed(config.seed)
    standardise = _standardise(train)
    level = Level(len(spec.tags), spec.window_cycles)
    x, y, normal = _tensors(train, spec, standardise, config.stride, config.horizon_cycles)
    held_x, held_y, held_normal = _tensors(calibrate, spec, standardise, config.stride, config.horizon_cycles)
    anomaly, ood, ood_threshold = _distances(level, x, normal, held_x, held_normal)
    rul, margin = None, 0.0
    losses: list[tuple[float, float]] = []
    if y is not None and held_y is not None:
        rul, losses = _train_rul((x, y), (held_x, held_y), config, say)
        margin = _conformal_margin(rul, held_x, held_y, config)
    graph = ReleaseGraph(
        standardise, level, _distance(anomaly), _distance(ood), rul, config.horizon_cycles, margin
    ).eval()
    return Fitted(graph, anomaly.threshold, ood_threshold, margin, losses)


def _standardise(units: Sequence[Unit]) -> Standardise:
    values = np.vstack([unit.values for unit in units])
    change = np.vstack([np.diff(unit.values, axis=0) for unit in units])
    std, change_std = (np.maximum(np.nanstd(v, axis=0), STD_MIN) for v in (values, change))
    return Standardise(
        *(torch.from_numpy(v.astype(np.float32)) for v in (np.nanmean(values, axis=0), std, change_std))
    )


def _tensors(
    units: Sequence[Unit], spec: FeatureSpec, standardise: Standardise, stride: int, horizon: float
) -> tuple[torch.Tensor, torch.Tensor | None, NDArray[np.bool_]]:
    """Standardised windows `(N, W, F)`, RUL as a fraction of the horizon `(N,)`, normal `(N,)`."""
    parts = [(unit, *windows(unit, spec, stride)) for unit in units]
    raw = np.concatenate([values for _, values, _ in parts])
    with torch.no_grad():
        x = standardise(torch.from_numpy(window_features(raw, spec)))
    normal = np.concatenate([unit.normal[ends] for unit, _, ends in parts])
    if any(unit.rul is None for unit in units):
        return x, None, normal
    rul = np.concatenate([unit.rul[ends] for unit, _, ends in parts if unit.rul is not None])
    return x, torch.from_numpy(np.minimum(rul, horizon) / np.float32(horizon)), normal


def _distances(
    level: Level,
    x: torch.Tensor,
    normal: NDArray[np.bool_],
    held_x: torch.Tensor,
    held_normal: NDArray[np.bool_],
) -> tuple[AnomalyDetector, AnomalyDetector, float]:
    here, moved = _points(level, x)
    held_here, held_moved = _points(level, held_x)
    both, held_both = np.hstack([here, moved]), np.hstack([held_here, held_moved])
    anomaly = AnomalyDetector().fit(both[normal], held_both[held_normal])
    ood = AnomalyDetector().fit(here)
    farthest = max(float(ood.score(here).max()), float(ood.score(held_here).max()))
    return anomaly, ood, OOD_MARGIN * farthest


def _points(level: Level, x: torch.Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    with torch.no_grad():
        here, moved = level(x)
    return here.double().numpy(), moved.double().numpy()


def _distance(detector: AnomalyDetector) -> Distance:
    return Distance(*(torch.from_numpy(v.astype(np.float32)) for v in (detector.mean, detector.whitening)))


def _train_rul(
    train: tuple[torch.Tensor, torch.Tensor],
    held: tuple[torch.Tensor, torch.Tensor],
    config: TrainingConfig,
    say: Say,
) -> tuple[RULLSTMModel, list[tuple[float, float]]]:
    """Pinball loss; the weights of the epoch that was best on held-out units."""
    model = RULLSTMModel(train[0].shape[-1], config.hidden_dim, config.num_layers)
    optimiser = torch.optim.Adam(model.parameters(), config.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=config.epochs * -(-len(train[0]) // config.batch_size)
    )
    best, best_state, losses = np.inf, model.state_dict(), []
    best_epoch = 0
    for epoch in range(config.epochs):
        loss = _epoch(model, train, optimiser, schedule, config)
        with torch.no_grad():
            held_loss = _pinball(model(held[0]), held[1], config.coverage).item()
        losses.append((loss, held_loss))
        say(f"epoch {epoch + 1}/{config.epochs}: loss {loss:.4f}, held-out units {held_loss:.4f}")
        if held_loss < best:
            best, best_epoch = held_loss, epoch
            best_state = {name: value.clone() for name, value in model.state_dict().items()}
        elif epoch - best_epoch >= config.patience:
            break
    model.load_state_dict(best_state)
    return model.eval(), losses


def _epoch(
    model: nn.Module,
    train: tuple[torch.Tensor, torch.Tensor],
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    config: TrainingConfig,
) -> float:
    total = 0.0
    for batch in torch.randperm(len(train[0])).split(config.batch_size):
        optimiser.zero_grad()
        loss = _pinball(model(train[0][batch]), train[1][batch], config.coverage)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        total += loss.item() * len(batch)
    return total / len(train[0])


def _pinball(predicted: torch.Tensor, truth: torch.Tensor, coverage: float) -> torch.Tensor:
    """Quantile loss (Koenker and Bassett 1978) of the low end, the median and the high end."""
    quantiles = torch.tensor([(1 - coverage) / 2, 0.5, (1 + coverage) / 2])
    error = truth.unsqueeze(-1) - predicted
    return torch.maximum(quantiles * error, (quantiles - 1) * error).mean()


def _conformal_margin(model: RULLSTMModel, x: torch.Tensor, y: torch.Tensor, config: TrainingConfig) -> float:
    """Cycles to add on both sides so that the interval covers held-out units (Romano et al. 2019, CQR)."""
    with torch.no_grad():
        low, _, high = model(x).clamp(0.0, 1.0).unbind(-1)
    misses = torch.maximum(low - y, y - high).numpy()
    rank = min(1.0, config.coverage * (1 + 1 / len(misses)))
    return float(np.quantile(misses, rank) * config.horizon_cycles)
