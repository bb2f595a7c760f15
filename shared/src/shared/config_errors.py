"""Turns what YAML and pydantic say into messages for whoever wrote the file."""

from collections.abc import Hashable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from shared.errors import ConfigError

FOUND_CHARS_MAX = 60


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is written twice; YAML would keep the last and say nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} is written twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def load_yaml(path: Path) -> Any:
    """The parsed file; ConfigError when it cannot be read, names its line when it is not YAML."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(str(path), [f"cannot be read: {reason}"]) from error
    except yaml.YAMLError as error:
        raise ConfigError(str(path), [_yaml_problem(error)]) from error


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{place}not valid YAML: {getattr(error, 'problem', None) or error}"


def describe(error: ValidationError) -> list[str]:
    """One line a problem: its path in the file, what was found, what is allowed."""
    return [_line(detail) for detail in error.errors(include_url=False)]


def _line(detail: ErrorDetails) -> str:
    path = ".".join(str(part) for part in detail["loc"] if part != "[key]") or "(top level)"
    if detail["type"] == "extra_forbidden":
        return f"{path}: unknown field{_nearest(detail)}"
    if detail["type"] == "missing":
        return f"{path}: missing"
    message = detail["msg"].removeprefix("Value error, ")
    found = detail["input"]
    if isinstance(found, dict | list):  # a rule over a whole section: its message names the parts
        return f"{path}: {message}"
    return f"{path}: found {str(repr(found))[:FOUND_CHARS_MAX]}; {message[0].lower()}{message[1:]}"


def _nearest(detail: ErrorDetails) -> str:
    """Name the known field that the unknown one looks like."""
    from shared import plant_config as pc  # the models name the fields; imported late: they import us
    from shared import reactor_config as rc
    from shared.fault_config import ScheduledFault

    fields = {
        field.alias or name
        for model in (
            *(rc.Component, rc.Tag, rc.Register, rc.Thresholds, rc.Limit),
            *(pc.Plant, pc.Tls, pc.Login, pc.OpcUaSecurity, ScheduledFault),
        )
        for name, field in model.model_fields.items()
    }
    close = get_close_matches(str(detail["loc"][-1]), fields, n=1)
    return f"; did you mean {close[0]!r}?" if close else "; remove it or correct its name"
