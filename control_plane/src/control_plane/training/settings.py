"""A training's `config.yaml` (PRD 4.3): known keys, right types, in range; else every problem by name."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from control_plane.training.fit import TrainingConfig
from shared.errors import ConfigError
from shared.features import WINDOW_CYCLES

WINDOW_CYCLES_RANGE = (2, 1000)  # of `shared.features.FeatureSpec`
LOWEST = {  # each setting's least value; settings that are not here say of themselves what they take
    "hidden_dim": 1,
    "num_layers": 1,
    "epochs": 1,
    "batch_size": 1,
    "stride": 1,
    "patience": 1,
    "seed": 0,
    "horizon_cycles": 1,
}
BETWEEN_0_AND_1 = ("held_out", "coverage", "learning_rate")
NETWORKS = ("LSTM",)  # the value of `model_type` where TrainingConfig has no field of that name


class Settings(NamedTuple):
    """What a person may set: the training itself, and how many cycles a window has."""

    training: TrainingConfig
    window_cycles: int = WINDOW_CYCLES

    def as_yaml(self) -> str:
        """The same as a `config.yaml` that `read_settings` takes."""
        values = {field.name: getattr(self.training, field.name) for field in fields(TrainingConfig)}
        if "model_type" not in values:
            values = {"model_type": NETWORKS[0], **values}
        return yaml.safe_dump(
            json.loads(json.dumps({**values, "sequence_length": self.window_cycles})), sort_keys=False
        )


def read_settings(path: Path | None, options: Mapping[str, Any]) -> Settings:
    """The file's settings, options that are not None over them; ConfigError lists every wrong key."""
    values = read_values(path) if path else {}
    chosen = {name: value for name, value in options.items() if value is not None}
    return parse_settings({**values, **chosen}, str(path) if path else "the command line")


def parse_settings(values: Mapping[str, Any], source: str) -> Settings:
    """Settings from plain values; ConfigError names the key, the source and what would be right."""
    hints = get_type_hints(TrainingConfig)
    own: dict[str, Any] = {}
    problems = []
    for name, value in values.items():
        if name == "model_type":
            own[name], problem = _network(value, hints)
        elif name in hints:
            own[name], problem = _checked(name, value, hints[name])
        elif name == "sequence_length":
            _, problem = _checked(name, value, int)
        else:
            problem = f"{name!r} is no setting; the settings are {', '.join(known_settings())}"
        problems += [problem] if problem else []
    if problems:
        raise ConfigError(source, problems)
    known = {name: value for name, value in own.items() if name in hints}
    try:
        return Settings(TrainingConfig(**known), int(values.get("sequence_length", WINDOW_CYCLES)))
    except ConfigError as error:  # a setting that does not go with another
        raise ConfigError(source, error.problems) from error


def known_settings() -> list[str]:
    """Every key that a file may have, in order."""
    return list(dict.fromkeys(["model_type", *get_type_hints(TrainingConfig), "sequence_length"]))


def _network(value: Any, hints: Mapping[str, Any]) -> tuple[Any, str | None]:
    """`LSTM` or `lstm` alike; what else there is, TrainingConfig knows where it has the setting."""
    found = str(value).lower()
    if "model_type" in hints or found.upper() in NETWORKS:
        return found, None
    return None, f"model_type: found {value!r}; it may be {', '.join(NETWORKS)}"


def _checked(name: str, value: Any, kind: Any) -> tuple[Any, str | None]:
    """The value as its type, or what is wrong with it; a JSON text may stand for no other type."""
    try:
        found = TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    except (ValidationError, TypeError):
        wanted = getattr(kind, "__name__", str(kind))
        return None, f"{name}: found {value!r}; expected {wanted}, for example {_default(name)!r}"
    low, high = WINDOW_CYCLES_RANGE
    if name == "sequence_length" and not low <= found <= high:
        return None, f"{name}: found {value!r}; a window has {low} to {high} cycles"
    if name in LOWEST and found is not None and not found >= LOWEST[name]:
        return None, f"{name}: found {value!r}; at least {LOWEST[name]}"
    if name in BETWEEN_0_AND_1 and not 0 < found < 1:
        return None, f"{name}: found {value!r}; it lies between 0 and 1"
    return found, None


def _default(name: str) -> Any:
    found = next((field.default for field in fields(TrainingConfig) if field.name == name), WINDOW_CYCLES)
    return None if found is MISSING else found


def read_values(path: Path) -> dict[str, Any]:
    """What a YAML file says, unchecked; ConfigError when it is no list of settings."""
    try:
        found = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"cannot be read as YAML: {error}"]) from error
    if not isinstance(found, dict):
        raise ConfigError(str(path), [f"found {type(found).__name__}; expected lines of `setting: value`"])
    return {str(name): value for name, value in found.items()}
