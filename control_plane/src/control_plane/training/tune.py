"""What a search trains: one short training a trial, judged on units that the network did not train on."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from control_plane.training.fit import fit
from control_plane.training.histories import Unit, data_version, load_units, windows
from control_plane.training.search import Outcome
from control_plane.training.search_space import SearchSpace
from control_plane.training.settings import Settings, parse_settings
from control_plane.training.workflow import split
from shared.errors import ConfigError
from shared.features import FeatureSpec, window_features
from shared.reactor_config import Tag


@dataclass(frozen=True)
class TrialTraining:
    """Settings to an outcome: the RMSE in cycles over the units that stop the training early.

    The units on which a training is judged at its end are left alone: a search that saw them would make
    that number worthless. Truths are capped at the base settings' horizon, whatever a trial's own is.
    """

    component_type: str
    tags: dict[str, Tag]
    data: Path
    base: dict[str, Any]
    operating: Mapping[str, float] = field(default_factory=dict)

    def settings(self, chosen: dict[str, Any]) -> Settings:
        """The base settings with a trial's over them."""
        return parse_settings({**self.base, **chosen}, "the search space")

    def __call__(self, chosen: dict[str, Any]) -> Outcome:
        settings = self.settings(chosen)
        config = settings.training
        kept, held, _ = split(self.units, config)
        spec = FeatureSpec(
            component_type=self.component_type, tags=tuple(self.tags), window_cycles=settings.window_cycles
        )
        fitted = fit(kept, held, spec, config, lambda _line: None)
        rmse = _rmse(fitted.graph, held, spec, self.settings({}).training.horizon_cycles)
        curves = {
            "loss": [train for train, _ in fitted.losses],
            "loss_held_out": [loss for _, loss in fitted.losses],
        }
        return Outcome(rmse, {"rmse_cycles": rmse, "epochs_run": float(len(fitted.losses))}, curves)

    @cached_property
    def units(self) -> list[Unit]:
        """Loaded once a process; ConfigError where there is no label to search by."""
        units = load_units(self.data, self.tags, None, self.component_type, self.operating)
        if any(unit.rul is None for unit in units):
            raise ConfigError(str(self.data), ["has no true_RUL: a search needs run-to-failure data"])
        return units

    def check(self, space: SearchSpace, source: str) -> None:
        """ConfigError when the space holds a setting, or an end of one, that no training takes."""
        problems = []
        for name, dimension in space.items():
            for value in dimension.ends():
                try:
                    self.settings({name: value})
                except ConfigError as error:
                    problems += error.problems
        if problems:
            raise ConfigError(source, list(dict.fromkeys(problems)))

    def fingerprint(self, space: SearchSpace) -> str:
        """What makes two searches the same: type, data, fixed settings and space."""
        what = {
            "component_type": self.component_type,
            "data": data_version(self.data),
            "base": self.base,
            "operating": dict(self.operating),
            "space": {name: each.model_dump(mode="json") for name, each in space.items()},
        }
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _rmse(graph: torch.nn.Module, units: list[Unit], spec: FeatureSpec, horizon: float) -> float:
    parts = [(unit, *windows(unit, spec)) for unit in units]
    raw = np.concatenate([values for _, values, _ in parts])
    truth = np.concatenate([unit.rul[ends] for unit, _, ends in parts if unit.rul is not None])
    with torch.no_grad():
        rul = graph(torch.from_numpy(window_features(raw, spec)))[0].numpy()
    error = np.minimum(rul[:, 1], horizon) - np.minimum(truth, horizon)
    return float(np.sqrt((error**2).mean()))
