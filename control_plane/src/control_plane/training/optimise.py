"""Gradient descent on one network: epochs, loss, schedule, early stopping, checkpoints."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from control_plane.training.checkpoints import State
from control_plane.training.config import TrainingConfig

GRADIENT_NORM_MAX = 1.0  # of all weights together; one odd batch must not throw an LSTM
HELD_BATCH = 4096  # windows a pass without gradients; bounds its memory

Losses = list[tuple[float, float]]


class Examples(NamedTuple):
    """Windows as the network sees them `(N, S, F)`, RUL as a share of the horizon `(N,)`, weights `(N,)`."""

    x: Tensor
    y: Tensor
    weight: Tensor


class Epoch(NamedTuple):
    """How far a training is; counts from 1."""

    member: int
    members: int
    epoch: int
    epochs: int
    loss: float
    held_loss: float  # on units held out

    def __str__(self) -> str:
        """The line for a log."""
        member = f"network {self.member}/{self.members}, " if self.members > 1 else ""
        losses = f"loss {self.loss:.4f}, held-out units {self.held_loss:.4f}"
        return f"{member}epoch {self.epoch}/{self.epochs}: {losses}"


def train_network(
    model: nn.Module,
    train: Examples,
    held: Examples,
    config: TrainingConfig,
    saved: State,
    after_epoch: Callable[[State, Losses], None],
) -> Losses:
    """Fit `model` in place; pinball loss, AdamW, one cycle of the learning rate.

    With `patience`, it ends with the weights of the epoch that was best on held-out units, else with the
    last. `saved` is a state that `after_epoch` was given before (empty: a first start); torch's random
    state is part of it, so that going on gives the same bits as never having stopped.
    """
    optimiser = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    steps = config.epochs * -(-len(train.x) // config.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, total_steps=steps)
    losses: Losses = []
    best = _copy(model)
    if saved:
        losses, best = [(a, b) for a, b in saved["losses"]], saved["best"]
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        schedule.load_state_dict(saved["schedule"])
        torch.set_rng_state(saved["random"])
    while len(losses) < config.epochs and not _is_stuck(losses, config.patience):
        loss = _epoch(model, train, optimiser, schedule, config)
        losses.append((loss, _held_loss(model, held, config.coverage)))
        if config.patience is None or _best_epoch(losses) == len(losses) - 1:
            best = _copy(model)
        state = {
            "losses": losses,
            "best": best,
            "model": model.state_dict(),
            "optimiser": optimiser.state_dict(),
            "schedule": schedule.state_dict(),
            "random": torch.get_rng_state(),
        }
        after_epoch(state, losses)
    model.load_state_dict(best)
    model.eval()
    return losses


def predict(model: nn.Module, x: Tensor) -> Tensor:
    """Quantiles `(N, 3)` as shares of the horizon, without gradients."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model(part) for part in x.split(HELD_BATCH)])


def pinball(predicted: Tensor, truth: Tensor, coverage: float) -> Tensor:
    """Quantile loss (Koenker and Bassett 1978) of the low end, the median and the high end, `(N,)`."""
    quantiles = torch.tensor([(1 - coverage) / 2, 0.5, (1 + coverage) / 2])
    error = truth.unsqueeze(-1) - predicted
    return torch.maximum(quantiles * error, (quantiles - 1) * error).mean(-1)


def _epoch(
    model: nn.Module,
    train: Examples,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    config: TrainingConfig,
) -> float:
    model.train()
    total = 0.0
    for batch in torch.randperm(len(train.x)).split(config.batch_size):
        x = train.x[batch]
        if config.offset_noise:
            x = x + config.offset_noise * torch.randn(len(x), 1, x.shape[-1])
        optimiser.zero_grad()
        loss = (pinball(model(x), train.y[batch], config.coverage) * train.weight[batch]).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM_MAX)
        optimiser.step()
        schedule.step()
        total += loss.item() * len(batch)
    return total / len(train.x)


def _held_loss(model: nn.Module, held: Examples, coverage: float) -> float:
    return float((pinball(predict(model, held.x), held.y, coverage) * held.weight).mean())


def _best_epoch(losses: Losses) -> int:
    return int(np.argmin([held for _, held in losses]))


def _is_stuck(losses: Losses, patience: int | None) -> bool:
    return patience is not None and bool(losses) and len(losses) - 1 - _best_epoch(losses) >= patience


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}
