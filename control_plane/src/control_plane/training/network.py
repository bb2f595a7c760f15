"""The networks that estimate RUL: a window of features in, three quantiles out."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from control_plane.training.config import TrainingConfig

KERNEL = 3  # rows that a convolution sees at once


class RULLSTMModel(nn.Module):
    """LSTM over a window; three quantiles of the RUL (PRD 4.2).

    `forward`: `(N, S, input_dim)` -> `(N, 3)`: low <= median <= high, as fractions of the horizon.
    """

    def __init__(self, input_dim: int, hidden_dim: int, num_layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_dim, hidden_dim, num_layers, batch_first=True)
        self.head = nn.Linear(hidden_dim, 3)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(x)
        return _in_order(self.head(states[:, -1]))


class RULGRUModel(nn.Module):
    """GRU that is asked for its last state and its mean state; shapes as of `RULLSTMModel`."""

    def __init__(self, input_dim: int, hidden_dim: int, num_layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        between = dropout if num_layers > 1 else 0.0
        self.gru = nn.GRU(input_dim, hidden_dim, num_layers, batch_first=True, dropout=between)
        self.head = _head(2 * hidden_dim, hidden_dim, 1, dropout)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.gru(x)
        return _in_order(self.head(torch.cat([states[:, -1], states.mean(1)], dim=-1)))


class RULConvModel(nn.Module):
    """Residual convolutions 1, 2, 4, ... rows apart; shapes as of `RULLSTMModel`.

    Not causal inside the window: all of it is past when it is scored.
    """

    def __init__(self, input_dim: int, hidden_dim: int, num_layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.enter = nn.Conv1d(input_dim, hidden_dim, 1)
        self.blocks = nn.ModuleList(_block(hidden_dim, 2**layer, dropout) for layer in range(num_layers))
        self.head = _head(2 * hidden_dim, hidden_dim, 1, dropout)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.enter(x.transpose(1, 2))
        for block in self.blocks:
            rows = rows + block(rows)
        return _in_order(self.head(torch.cat([rows[..., -1], rows.mean(-1)], dim=-1)))


class RULDenseModel(nn.Module):
    """Fully connected layers over all rows at once; shapes as of `RULLSTMModel`, S fixed to `rows`.

    Where features are smoothed already, it has the change over the window before it, and need not learn to
    carry it along: on C-MAPSS better and ten times as fast as the LSTM (docs/model_experiments.md).
    """

    def __init__(
        self, input_dim: int, hidden_dim: int, num_layers: int, dropout: float = 0.0, rows: int = 1
    ) -> None:
        super().__init__()
        self.head = _head(rows * input_dim, hidden_dim, num_layers, dropout)

    def forward(self, x: Tensor) -> Tensor:
        return _in_order(self.head(x.flatten(1)))


def build(model_type: str, input_dim: int, rows: int, config: "TrainingConfig") -> nn.Module:
    """A fresh network of one of `config.MODEL_TYPES`, its weights drawn from torch's generator."""
    size = (input_dim, config.hidden_dim, config.num_layers)
    match model_type:
        case "lstm":
            return RULLSTMModel(*size)
        case "gru":
            return RULGRUModel(*size, config.dropout)
        case "conv":
            return RULConvModel(*size, config.dropout)
        case "dense":
            return RULDenseModel(*size, config.dropout, rows)
    raise ValueError(f"found model type {model_type!r}; lstm, gru, conv and dense are known")


def _head(state_dim: int, hidden_dim: int, num_layers: int, dropout: float) -> nn.Sequential:
    """`num_layers` hidden layers, then what `_in_order` takes."""
    layers: list[nn.Module] = []
    for _ in range(num_layers):
        layers += [nn.Linear(state_dim, hidden_dim), nn.ReLU(), nn.Dropout(dropout)]
        state_dim = hidden_dim
    return nn.Sequential(*layers, nn.Linear(hidden_dim, 3))


def _block(hidden_dim: int, dilation: int, dropout: float) -> nn.Sequential:
    """Two dilated convolutions, `(N, D, S)` -> `(N, D, S)`."""
    layers: list[nn.Module] = []
    for _ in range(2):
        convolution = nn.Conv1d(
            hidden_dim, hidden_dim, KERNEL, padding=dilation * (KERNEL // 2), dilation=dilation
        )
        layers += [nn.GroupNorm(1, hidden_dim), nn.ReLU(), convolution]
    return nn.Sequential(*layers, nn.Dropout(dropout))


def _in_order(ends: Tensor) -> Tensor:
    """Step below, median, step above `(N, 3)` -> low <= median <= high."""
    below, median, above = ends.unbind(-1)
    spread = nn.functional.softplus
    return torch.stack([median - spread(below), median, median + spread(above)], dim=-1)
