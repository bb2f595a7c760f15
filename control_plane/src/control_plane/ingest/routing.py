"""Which sinks a record goes to, by what it says of itself: a file of ordered rules, the first that fits.

    routes:
      - match: {site: "TX*", component_type: coolant_pump, schema: "telemetry/*"}
        to: [lake, influx]
      - to: [lake, alerts]        # no match: all others

Enters: that file. Leaves: which sinks get what; `routed` hands it on. Never: a record that the lake
does not get, for it is the ledger by which the others are counted.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, Field, ValidationError

from shared.errors import ConfigError
from shared.reactor_config import FleetConfig
from shared.schemas import Frozen

FILE_BYTES_MAX = 65_536  # some hundred rules
RULES_MAX = 200  # each is tried for each new pair of schema and component
_CACHED_PLACES = 16_384  # pairs of schema and component: about 7 schemas of 2,000 components

SinkName = Literal["lake", "influx", "alerts", "scoring"]
SINK_NAMES: tuple[SinkName, ...] = get_args(SinkName)
EVERYWHERE = frozenset(SINK_NAMES) - {"scoring"}  # a site that scores for itself is not scored again


def _with_lake(to: tuple[SinkName, ...]) -> tuple[SinkName, ...]:
    if "lake" not in to:
        raise ValueError(
            "the lake is left out; it must be named, because completeness and repeats are judged by it"
        )
    return to


class Match(Frozen):
    """Shell patterns (`*`, `?`, `[...]`); all that are given must fit. `component` is the name within its
    reactor, `component_type` the fleet configuration's."""

    site: str = "*"
    component: str = "*"
    component_type: str = "*"
    schema_: str = Field(default="*", alias="schema")

    def fits(self, schema: str, key: str, component_type: str) -> bool:
        """Whether a record of that schema and key (`site/reactor/component` or `site`) is meant."""
        site, _, place = key.partition("/")
        pairs = (
            (site, self.site),
            (place.partition("/")[2], self.component),
            (component_type, self.component_type),
            (schema, self.schema_),
        )
        return all(fnmatchcase(found, pattern) for found, pattern in pairs)


class Rule(Frozen):
    """What fits goes to these sinks and to no others."""

    match: Match = Match()
    to: Annotated[tuple[SinkName, ...], AfterValidator(_with_lake)]


class _File(Frozen):
    routes: tuple[Rule, ...] = Field(max_length=RULES_MAX)


class Routes:
    """The rules in force. Without a rule that fits, a record goes everywhere but to `scoring`."""

    def __init__(self, rules: Sequence[Rule] = (), types: Mapping[str, str] | None = None) -> None:
        """`types` are the component types by `site/reactor/component`."""
        self._rules, self._types = tuple(rules), dict(types or {})
        self.sinks_of = lru_cache(_CACHED_PLACES)(self._sinks_of)

    def names(self, sink: str) -> bool:
        """Whether any rule names the sink."""
        return any(sink in rule.to for rule in self._rules)

    def _sinks_of(self, schema: str, key: str) -> frozenset[str]:
        component_type = self._types.get(key, "")
        for rule in self._rules:
            if rule.match.fits(schema, key, component_type):
                return frozenset(rule.to)
        return EVERYWHERE


def load_routes(path: Path | None, fleet: FleetConfig | None = None) -> Routes:
    """The rules in the file, none without one; ConfigError with every problem and its place.

    `fleet` knows the component types; a rule about them without it is refused.
    """
    types = {key.key: part.type for key, part in fleet.components().items()} if fleet else {}
    if path is None:
        return Routes((), types)
    try:
        rules = _File.model_validate(_read(path)).routes
    except ValidationError as error:
        raise ConfigError(str(path), [_told(problem) for problem in error.errors()]) from error
    problems = [_unknown_type(n, rule, types) for n, rule in enumerate(rules)]
    if any(problems):
        raise ConfigError(str(path), [problem for problem in problems if problem])
    return Routes(rules, types)


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
        if len(text) > FILE_BYTES_MAX:
            raise ConfigError(str(path), [f"is longer than {FILE_BYTES_MAX} bytes"])
        return yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(str(path), [f"the routes cannot be read: {error}"]) from error


def _told(problem: Any) -> str:
    place = ".".join(map(str, problem["loc"])) or "the file"
    return f"{place}: {problem['msg']}"


def _unknown_type(number: int, rule: Rule, types: Mapping[str, str]) -> str | None:
    """A pattern that fits no component type is a slip of the pen."""
    pattern, known = rule.match.component_type, sorted(set(types.values()))
    if pattern == "*" or any(fnmatchcase(name, pattern) for name in known):
        return None
    have = f"the fleet has {', '.join(known)}" if known else "give the fleet with --config"
    return f"routes.{number}.match.component_type: {pattern!r} fits no component; {have}"
