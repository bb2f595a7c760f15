"""The settings of a training (PRD 4.3), as a YAML file may give them."""

from dataclasses import dataclass, fields

from shared.errors import ConfigError
from shared.features import GROUPS

MODEL_TYPES = ("lstm", "gru", "conv", "dense")
MEMBERS_MAX = 32  # networks of one release: each costs its time on every scored window


@dataclass(frozen=True)
class TrainingConfig:
    """What a person may set (PRD 4.3); lengths in cycles.

    `model_type` may join several with a plus sign (`dense+gru`): one network of each, answers averaged.
    """

    model_type: str = "lstm"
    hidden_dim: int = 32
    num_layers: int = 2
    dropout: float = 0.0  # share of a layer's outputs that a training step leaves out; not for the LSTM
    parts: int = 1  # more: units are cut into so many, and for each part networks train on all others
    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 0.005  # at the top of the one-cycle schedule
    weight_decay: float = 0.0
    offset_noise: float = 0.0  # standard deviations; a training window's sensors all read this much wrong
    row_stride: int = 1  # the network sees every so-manieth row of a window, the newest among them
    network_groups: tuple[str, ...] | None = None  # of the spec's features, what the network sees; None: all
    equal_units: bool = False  # long lives weigh as much as short ones; else each window weighs the same
    beyond_weight: float = 1.0  # of a training window that is more than BEYOND horizons from its failure
    horizon_cycles: float = 125.0  # the usual cap of C-MAPSS: health further off cannot be told apart
    coverage: float = 0.9  # of the interval
    stride: int = 3  # every third window of a training unit: neighbours nearly repeat each other
    held_out: float = 0.3  # of the units, half of it to calibrate, half to judge
    patience: int | None = 4  # epochs without a better loss on held-out units; None: all epochs, last weights
    seed: int = 0

    def __post_init__(self) -> None:
        """ConfigError lists every setting that cannot be."""
        if isinstance(self.network_groups, list):  # as YAML has it
            object.__setattr__(self, "network_groups", tuple(self.network_groups))
        wrong = [f"{name}: found {getattr(self, name)!r}; {right}" for name, right in self._wrong()]
        if wrong:
            raise ConfigError("training settings", wrong)

    @property
    def kinds(self) -> list[str]:
        """The model types of one part's networks."""
        return self.model_type.split("+")

    @property
    def members(self) -> int:
        """Networks of one release."""
        return self.parts * len(self.kinds)

    def _wrong(self) -> list[tuple[str, str]]:
        whole = ("hidden_dim", "num_layers", "parts", "epochs", "batch_size", "row_stride", "stride")
        rules = [(name, self._is_whole(name, 1), "a whole number from 1 on is right") for name in whole]
        rules += [
            ("seed", self._is_whole("seed", 0), "a whole number from 0 on is right"),
            ("patience", self.patience is None or self._is_whole("patience", 1), "give 1 or more, or null"),
        ]
        shares = ("dropout", "coverage", "held_out", "beyond_weight")
        rules += [(n, self._is_number(n) and 0 <= getattr(self, n) <= 1, "0 to 1 is right") for n in shares]
        positive = ("learning_rate", "horizon_cycles")
        rules += [(n, self._is_number(n) and getattr(self, n) > 0, "more than 0 is right") for n in positive]
        least = ("weight_decay", "offset_noise")
        rules += [(n, self._is_number(n) and getattr(self, n) >= 0, "0 or more is right") for n in least]
        known = all(kind in MODEL_TYPES for kind in str(self.model_type).split("+"))
        chosen = self.network_groups
        groups = chosen is None or (isinstance(chosen, tuple) and len(chosen) > 0 and {*chosen} <= {*GROUPS})
        rules += [
            ("network_groups", groups, f"null, or some of {', '.join(GROUPS)}, are right"),
            ("model_type", known, f"{', '.join(MODEL_TYPES)}, or several joined by a plus sign, are right"),
            (
                "parts",
                not self._is_whole("members", MEMBERS_MAX + 1),
                f"at most {MEMBERS_MAX} networks are right",
            ),
        ]
        return [(name, right) for name, holds, right in rules if not holds]

    def _is_whole(self, name: str, least: int) -> bool:
        found = getattr(self, name)
        return isinstance(found, int) and not isinstance(found, bool) and found >= least

    def _is_number(self, name: str) -> bool:
        found = getattr(self, name)
        return isinstance(found, int | float) and not isinstance(found, bool)


SETTINGS = tuple(field.name for field in fields(TrainingConfig))
