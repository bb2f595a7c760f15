"""The network, and the one graph that a release ships: features in, every output out."""

import torch
from torch import Tensor, nn

EWMA_WEIGHT = 0.2  # of the newest row; the level then stands for about the last five cycles
SCORE_TINY = 1e-12  # keeps the gradient of a square root finite; not visible in a score


class RULLSTMModel(nn.Module):
    """LSTM over a window; three quantiles of the RUL (PRD 4.2).

    `forward`: `(N, W, input_dim)` -> `(N, 3)`: low <= median <= high, as fractions of the horizon.
    """

    def __init__(self, input_dim: int, hidden_dim: int, num_layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_dim, hidden_dim, num_layers, batch_first=True)
        self.head = nn.Linear(hidden_dim, 3)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(x)
        below, median, above = self.head(states[:, -1]).unbind(-1)
        spread = nn.functional.softplus
        return torch.stack([median - spread(below), median, median + spread(above)], dim=-1)


class Standardise(nn.Module):
    """Features `(N, W, 3T)` to the same in standard deviations; what was never seen is the mean (0)."""

    def __init__(self, mean: Tensor, std: Tensor, change_std: Tensor) -> None:
        super().__init__()
        self.tags = len(mean)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.register_buffer("change_std", change_std)

    def forward(self, features: Tensor) -> Tensor:
        value, change, present = features.split(self.tags, dim=-1)
        seen = (present.cumsum(dim=1) > 0).to(value.dtype)
        value = (value - self.mean) / self.std * seen
        return torch.cat([value, change / self.change_std, present], dim=-1)


class Level(nn.Module):
    """Standardised features to what the distances look at: the level, and how far it has moved.

    `(N, W, 3T)` -> level `(N, T)`: exponentially weighted mean of the values that are present;
    movement `(N, T)`: level less the plain mean of the window.
    """

    def __init__(self, tags: int, window_cycles: int) -> None:
        super().__init__()
        self.tags = tags
        age = torch.arange(window_cycles - 1, -1, -1, dtype=torch.float32)
        self.register_buffer("weight", ((1 - EWMA_WEIGHT) ** age).reshape(1, -1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        value, _, present = x.split(self.tags, dim=-1)
        level = _weighted_mean(value, present * self.weight)
        return level, level - _weighted_mean(value, present)


class Distance(nn.Module):
    """Mahalanobis distance to a cloud: `(N, D)` -> `(N,)`."""

    def __init__(self, mean: Tensor, whitening: Tensor) -> None:
        super().__init__()
        self.centre: Tensor
        self.whitening: Tensor
        self.register_buffer("centre", mean)
        self.register_buffer("whitening", whitening)

    def forward(self, point: Tensor) -> Tensor:
        away = point - self.centre
        return torch.sqrt((away @ self.whitening).square().sum(-1).clamp_min(SCORE_TINY))


class ReleaseGraph(nn.Module):
    """Everything a release computes: `features` `(N, W, 3T)` -> (`rul`,) `anomaly_score`, `ood_score`.

    `rul` `(N, 3)` is in cycles, widened by the conformal `margin` (cycles), within `[0, horizon]`.
    """

    def __init__(
        self,
        standardise: Standardise,
        level: Level,
        anomaly: Distance,
        ood: Distance,
        rul: RULLSTMModel | None = None,
        horizon: float = 0.0,
        margin: float = 0.0,
    ) -> None:
        super().__init__()
        self.standardise, self.level, self.anomaly, self.ood, self.rul = standardise, level, anomaly, ood, rul
        self.horizon = horizon
        self.register_buffer("widen", torch.tensor([-margin, 0.0, margin]))

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        x = self.standardise(features)
        level, movement = self.level(x)
        scores = (self.anomaly(torch.cat([level, movement], dim=-1)), self.ood(level))
        if self.rul is None:
            return scores
        rul = (self.rul(x) * self.horizon + self.widen).clamp(0.0, self.horizon)
        return (rul, *scores)


def _weighted_mean(value: Tensor, weight: Tensor) -> Tensor:
    return (value * weight).sum(1) / weight.sum(1).clamp_min(1e-6)
