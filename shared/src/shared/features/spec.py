"""What the features of a model are, and the hash by which both sides know they agree."""

import hashlib
from typing import Annotated, Literal, Self, get_args

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

WINDOW_CYCLES = 30  # PRD 4.2: sliding windows of 30 cycles
WINDOW_CYCLES_MAX = 1000  # a window must fit an audit record; rolling sums count in 16 bits

Group = Literal["value", "change", "present", "mean", "std", "min", "max", "cycles"]
GROUPS: tuple[Group, ...] = get_args(Group)
Positive = Annotated[FiniteFloat, Field(gt=0)]
Row = tuple[FiniteFloat, ...]


class Normalisation(BaseModel):
    """Z-scores by operating regime: fitted on training units alone, carried by the spec, covered by its hash.

    R regimes, T tags in the spec's order. A row belongs to the regime whose centre is nearest, each regime
    tag counted in units of its `regime_scale`; the lowest number wins a tie. Made by `fit_normalisation`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    regime_tags: tuple[str, ...]  # empty: one regime
    regime_scale: tuple[Positive, ...]  # of each regime tag, in the tag's unit
    centres: tuple[Row, ...] = Field(min_length=1)  # R x regime tags, in the tags' units
    mean: tuple[Row, ...]  # R x T, in the tags' units
    std: tuple[tuple[Positive, ...], ...]  # R x T, in the tags' units

    @model_validator(mode="after")
    def _tables_fit_together(self) -> Self:
        regimes, tags = len(self.centres), len(self.mean[0]) if self.mean else 0
        shapes = {
            "regime_scale": ([len(self.regime_scale)], [len(self.regime_tags)]),
            "centres": ([len(row) for row in self.centres], [len(self.regime_tags)] * regimes),
            "mean": ([len(row) for row in self.mean], [tags] * regimes),
            "std": ([len(row) for row in self.std], [tags] * regimes),
        }
        wrong = [
            f"{name} has {found}, not {wanted}" for name, (found, wanted) in shapes.items() if found != wanted
        ]
        if wrong:
            raise ValueError(f"numbers a row must fit {regimes} regimes x {tags} tags: {'; '.join(wrong)}")
        return self


class FeatureSpec(BaseModel):
    """The feature code's version, the tags in order, the window's length, and what is made of them.

    `smoothing` is the weight of the newest row in an exponential average that starts at the first good row
    of the window (1: none). `groups` says which features leave, in that order; `rolling_cycles` what mean,
    std, min and max look back over and `steps` how many of the window's last rows leave (None: the window).
    The defaults give the features of version 1, bit for bit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal["features/2"] = "features/2"
    component_type: str
    tags: tuple[str, ...] = Field(min_length=1)
    window_cycles: Annotated[int, Field(ge=2, le=WINDOW_CYCLES_MAX)] = WINDOW_CYCLES
    normalisation: Normalisation | None = None
    smoothing: Annotated[float, Field(gt=0, le=1)] = 1.0
    groups: tuple[Group, ...] = Field(default=("value", "change", "present"), min_length=1)
    rolling_cycles: Annotated[int, Field(ge=2)] | None = None
    steps: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _fits_its_window(self) -> Self:
        problems = [
            f"{names} must not repeat" for names in (self.tags, self.groups) if len({*names}) < len(names)
        ]
        problems += [
            f"{name} {cycles} is more than the window's {self.window_cycles} cycles"
            for name, cycles in (("rolling_cycles", self.rolling_cycles), ("steps", self.steps))
            if cycles is not None and cycles > self.window_cycles
        ]
        if self.normalisation is not None:
            problems += [
                f"normalisation: regime tag {tag!r} is not among the tags {', '.join(self.tags)}"
                for tag in self.normalisation.regime_tags
                if tag not in self.tags
            ]
            found = len(self.normalisation.mean[0])
            if found != len(self.tags):
                problems.append(f"normalisation is of {found} tags; the spec has {len(self.tags)}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The features' names in order: `<tag>` for a value, `<tag>_<group>`, and `cycles` once."""
        return tuple(name for group in self.groups for name in self._names(group))

    @property
    def shape(self) -> tuple[int, int]:
        """`(S, F)`: rows and features that leave for one window."""
        return self.steps or self.window_cycles, len(self.columns)

    def hash(self) -> str:
        """SHA-256 of the spec as RFC 8785 JSON, in hex."""
        return hashlib.sha256(rfc8785.dumps(self.model_dump(mode="json"))).hexdigest()

    def _names(self, group: Group) -> tuple[str, ...]:
        if group == "cycles":
            return ("cycles",)
        return tuple(tag if group == "value" else f"{tag}_{group}" for tag in self.tags)
