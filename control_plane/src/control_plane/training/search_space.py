"""What a search may choose from, as a YAML file says it: a range or choices for each setting."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from shared.errors import ConfigError
from shared.schemas import Frozen

FORM = "{low: 0.0005, high: 0.02, log: true} or {choices: [16, 32, 64]}"


class Dimension(Frozen):
    """`choices`, or every number from `low` to `high` (whole ones where both are whole)."""

    choices: list[bool | int | float | str] | None = Field(default=None, min_length=1)
    low: int | float | None = None
    high: int | float | None = None
    log: bool = False

    @model_validator(mode="after")
    def _is_a_range_or_choices(self) -> Self:
        if self.choices is not None:
            if self.low is not None or self.high is not None:
                raise ValueError("has choices and a range; give one of them")
        elif self.low is None or self.high is None or not self.low < self.high:
            raise ValueError(f"is no range with low < high; expected {FORM}")
        elif self.log and self.low <= 0:
            raise ValueError(f"low is {self.low}; on a logarithmic scale it is above 0")
        return self

    def suggest(self, trial: Any, name: str) -> Any:
        """This setting's value in an Optuna trial."""
        if self.choices is not None:
            return trial.suggest_categorical(name, self.choices)
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        suggest = trial.suggest_int if whole else trial.suggest_float
        return suggest(name, self.low, self.high, log=self.log)

    def ends(self) -> list[Any]:
        """Values that must all be allowed for the whole dimension to be."""
        return list(self.choices) if self.choices is not None else [self.low, self.high]


SearchSpace = Mapping[str, Dimension]


def read_space(path: Path) -> SearchSpace:
    """The settings of a YAML file; ConfigError names each that is wrong."""
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"cannot be read as YAML: {error}"]) from error
    if not isinstance(values, dict) or not values:
        raise ConfigError(str(path), [f"holds no setting; expected lines like `learning_rate: {FORM}`"])
    try:
        return TypeAdapter(dict[str, Dimension]).validate_python(values)
    except ValidationError as error:
        problems = [
            f"{each['loc'][0]}: {each['msg'].removeprefix('Value error, ')}" for each in error.errors()
        ]
        raise ConfigError(str(path), [f"{problem}; expected {FORM}" for problem in problems]) from error
