"""The settings of each C-MAPSS subset, fixed in a file before any test data was read."""

from functools import cache
from importlib import resources
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from control_plane.training.cmapss_files import SENSORS, SETTINGS, SUBSETS
from control_plane.training.config import TrainingConfig
from shared.errors import ConfigError

FILE = "cmapss_settings.yaml"


class SubsetSettings(BaseModel):
    """What is seen of an engine, and how the networks are trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sensors: tuple[str, ...]
    regimes: int = Field(ge=1)  # operating conditions; more than one are told by the settings
    window_cycles: int
    steps: int
    smoothing: float
    training: dict[str, Any]

    def config(self, seed: int) -> TrainingConfig:
        """The training of one seed."""
        return TrainingConfig(**self.training, seed=seed)

    @property
    def regime_tags(self) -> tuple[str, ...]:
        """What tells the operating condition."""
        return SETTINGS if self.regimes > 1 else ()

    @property
    def tags(self) -> tuple[str, ...]:
        """What is read of an engine."""
        return (*self.regime_tags, *(sensor for sensor in SENSORS if sensor in self.sensors))


@cache
def settings_of(subset: str) -> SubsetSettings:
    """Settings of a subset; ConfigError when there is none of that name."""
    if subset not in SUBSETS:
        raise ConfigError("--subset", [f"found {subset!r}; {', '.join(SUBSETS)} are right"])
    document = yaml.safe_load(resources.files(__package__).joinpath(FILE).read_text("utf-8"))
    return SubsetSettings.model_validate(document[subset])
