"""The one graph that a release ships: features in, every output out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from shared.features import FeatureSpec

EWMA_WEIGHT = 0.2  # of the newest row; the level then stands for about the last five cycles
SCORE_TINY = 1e-12  # keeps the gradient of a square root finite; not visible in a score


class Standardise(nn.Module):
    """Features `(N, S, F)` to the same in standard deviations; what was never seen is the mean (0).

    `seen_by` `(F,)`: the column of each feature's mark "present"; -1 for a feature that has none.
    """

    def __init__(self, mean: Tensor, std: Tensor, seen_by: Tensor) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.seen_by: Tensor
        self.always: Tensor
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.register_buffer("seen_by", seen_by.clamp_min(0))
        self.register_buffer("always", (seen_by < 0).to(mean.dtype))

    def forward(self, features: Tensor) -> Tensor:
        marks = features.index_select(-1, self.seen_by).cumsum(dim=1)
        seen = ((marks > 0).to(features.dtype) + self.always).clamp_max(1.0)
        return (features - self.mean) / self.std * seen


class Level(nn.Module):
    """Standardised features to what the distances look at: the level, and how far it has moved.

    `(N, S, F)` -> level `(N, T)`: exponentially weighted mean of the values that are present; movement
    `(N, T)`: level less the plain mean of the rows. Both in float64: where tags hang together, a distance
    magnifies what is left of a float32's last place a thousandfold, and each runtime adds in its own order.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__()
        self.weight: Tensor
        self.value: Tensor
        self.present: Tensor
        age = torch.arange(spec.shape[0] - 1, -1, -1, dtype=torch.float64)
        self.register_buffer("weight", ((1 - EWMA_WEIGHT) ** age).reshape(1, -1, 1))
        self.register_buffer("value", columns_of(spec, spec.tags))
        self.register_buffer("present", columns_of(spec, [f"{tag}_present" for tag in spec.tags]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        value, present = (x.index_select(-1, at).double() for at in (self.value, self.present))
        level = _weighted_mean(value, present * self.weight)
        return level, level - _weighted_mean(value, present)


class Distance(nn.Module):
    """Mahalanobis distance to a cloud: `(N, D)` float64 -> `(N,)` float32."""

    def __init__(self, mean: Tensor, whitening: Tensor) -> None:
        super().__init__()
        self.centre: Tensor
        self.whitening: Tensor
        self.register_buffer("centre", mean.double())
        self.register_buffer("whitening", whitening.double())

    def forward(self, point: Tensor) -> Tensor:
        away = point - self.centre
        return torch.sqrt((away @ self.whitening).square().sum(-1).clamp_min(SCORE_TINY)).float()


class View(nn.Module):
    """What the networks look at: some columns, and every `row_stride`-th row, the newest among them."""

    def __init__(self, columns: Tensor, row_stride: int) -> None:
        super().__init__()
        self.columns: Tensor
        self.register_buffer("columns", columns)
        self.row_stride = row_stride

    def forward(self, x: Tensor) -> Tensor:
        first = (x.shape[1] - 1) % self.row_stride
        return x[:, first :: self.row_stride].index_select(-1, self.columns)


class Ensemble(nn.Module):
    """Networks whose quantiles are averaged, end by end: `(N, S, F)` -> `(N, 3)`."""

    def __init__(self, view: View, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.view = view
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.view(x)
        return torch.stack([member(seen) for member in self.members]).mean(0)


class ReleaseGraph(nn.Module):
    """Everything a release computes: `features` `(N, S, F)` -> (`rul`,) `anomaly_score`, `ood_score`.

    `rul` `(N, 3)`: the networks' own quantiles in cycles, within `[0, horizon]`; the calibration that
    widens them is in the manifest.
    """

    def __init__(
        self,
        standardise: Standardise,
        level: Level,
        anomaly: Distance,
        ood: Distance,
        rul: Ensemble | None = None,
        horizon: float = 0.0,
    ) -> None:
        super().__init__()
        self.standardise, self.level, self.anomaly, self.ood, self.rul = standardise, level, anomaly, ood, rul
        self.horizon = horizon

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        x = self.standardise(features)
        level, movement = self.level(x)
        scores = (self.anomaly(torch.cat([level, movement], dim=-1)), self.ood(level))
        if self.rul is None:
            return scores
        return ((self.rul(x) * self.horizon).clamp(0.0, self.horizon), *scores)


def columns_of(spec: FeatureSpec, names: Sequence[str]) -> Tensor:
    """Their numbers among the spec's features; ValueError names one that the spec has not."""
    missing = [name for name in names if name not in spec.columns]
    if missing:
        raise ValueError(
            f"the features hold no {missing[0]}; a graph needs the groups value and present, "
            f"and this spec has {', '.join(spec.groups)}"
        )
    return torch.tensor([spec.columns.index(name) for name in names])


def _weighted_mean(value: Tensor, weight: Tensor) -> Tensor:
    return (value * weight).sum(1) / weight.sum(1).clamp_min(1e-6)
