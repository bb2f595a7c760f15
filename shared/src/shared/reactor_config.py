"""`reactor_config.yaml`: the fleet as site -> reactor -> component (PRD 1.5, extended).

Enters: a file. Leaves: a frozen `FleetConfig` in which every default is filled in, or a ConfigError
that lists every problem with its path in the file, what was found and what is allowed.
"""

import hashlib
from pathlib import Path
from typing import Any, Literal, Self

import rfc8785
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    field_validator,
    model_validator,
)

from shared.alarm_config import Alarms
from shared.config_defaults import with_defaults
from shared.config_errors import describe, load_yaml
from shared.errors import ConfigError
from shared.fault_config import ScheduledFault
from shared.opcua_nodes import COUNTER, expanded, parse_node, variable_identifier
from shared.plant_config import Plant, Section
from shared.schemas.base import ComponentId, Name, SiteId

MODBUS_ADDRESS_MAX = 65_535  # Modbus application protocol v1.1b3, section 4.4
MODBUS_UNIT_MAX = 247  # Modbus over serial line v1.02, section 2.2
MODBUS_READ_REGISTERS_MAX = 125  # Modbus application protocol v1.1b3, sections 6.3 and 6.4
REGISTERS_BY_TYPE = {"int16": 1, "uint16": 1, "int32": 2, "uint32": 2, "float32": 2, "float64": 4}
NODE_CHARS_MAX = 4096  # of a text identifier: OPC UA part 3, section 8.2.4
FAULTS_MAX = 100  # of one component, scheduled: a history has a handful

# What each decay law takes; a field of another law is a mistake, a field left out has its default.
DECAY_FIELDS = {
    "exponential": ("lambda",),
    "linear": ("slope",),
    "weibull": ("scale", "shape"),
    "wiener": ("drift", "drift_spread", "volatility"),
    "gamma": ("drift", "volatility"),
    "paris": ("growth", "exponent"),
    "step": ("step_cycles", "step_size"),
}

ReactorType = Literal["forced_circulation", "natural_circulation", "test_rig"]  # as REACTOR_TYPES


class Register(Section):
    """Where a tag lies in the device: canonical zero-based address, type, byte order, scaling.

    The number read is `raw * scale + offset`. Orders name the bytes of a 32-bit value as sent.
    """

    table: Literal["holding", "input"] = "holding"
    address: int = Field(ge=0, le=MODBUS_ADDRESS_MAX)
    type: Literal["int16", "uint16", "int32", "uint32", "float32", "float64"] = "float32"
    order: Literal["ABCD", "CDAB", "BADC", "DCBA"] = "ABCD"
    scale: float = 1.0
    offset: float = 0.0

    @property
    def count(self) -> int:
        """How many 16-bit registers the value takes."""
        return REGISTERS_BY_TYPE[self.type]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.address + self.count - 1 > MODBUS_ADDRESS_MAX:
            raise ValueError(f"a {self.type} at {self.address} reaches past {MODBUS_ADDRESS_MAX}")
        if self.scale == 0:
            raise ValueError("scale 0 would make every reading the same number")
        return self


class Gap(Section):
    """Registers without a tag that the device does answer, so that one read may pass over them."""

    table: Literal["holding", "input"] = "holding"
    address: int = Field(ge=0, le=MODBUS_ADDRESS_MAX)
    count: int = Field(ge=1, lt=MODBUS_READ_REGISTERS_MAX)


class Tag(Section):
    """One measured quantity: its unit, what is physically possible, where it is read from."""

    unit: str = Field(min_length=1)
    description: str = ""
    range: tuple[float, float] | None = None
    column: str | None = Field(default=None, description="column of a recorded CSV file")
    register_: Register = Field(alias="register")
    node: str | None = Field(
        default=None,
        max_length=NODE_CHARS_MAX,
        description="OPC UA node id with the namespace's URI, nsu=<URI>;s=<text>; left out, our own plant's. "
        "A component whose tags have one has no cycle counter",
    )

    @field_validator("node")
    @classmethod
    def _node_is_stable(cls, value: str | None) -> str | None:
        if value is not None:
            parse_node(value)
        return value

    @field_validator("range")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] >= value[1]:
            raise ValueError("the lower end must be below the upper end")
        return value


class Limit(Section):
    """Fixed limits of a tag, in its unit; an alert is raised outside, and clears inside by `deadband`."""

    low: float | None = None
    high: float | None = None
    deadband: float | None = Field(
        default=None, ge=0, description="in the tag's unit; left out, alarms.limit.deadband of the limit"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        return self

    @model_validator(mode="after")
    def _can_clear(self) -> Self:
        if self.low is None or self.high is None or self.deadband is None:
            return self
        if 2 * self.deadband >= self.high - self.low:
            raise ValueError(
                f"deadband {self.deadband} leaves nothing between low {self.low} and high {self.high} "
                f"where the alarm could clear; below {(self.high - self.low) / 2:g} does"
            )
        return self


class Thresholds(Section):
    """When to tell an operator: RUL in cycles, and limits by tag."""

    rul_warning: float = Field(default=25, gt=0)
    rul_alarm: float = Field(default=10, gt=0)
    limits: dict[str, Limit] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _alarm_below_warning(self) -> Self:
        if self.rul_alarm > self.rul_warning:
            raise ValueError(f"rul_alarm {self.rul_alarm} must not exceed rul_warning {self.rul_warning}")
        return self


class Component(Section):
    """One component: how it wears when simulated (PRD 1.5), its tags and thresholds.

    `performance` starts at 1 and the component has failed when it reaches `fail_threshold`. The fields
    of each decay law (`DECAY_FIELDS`), with sources in `edge_agent.simulation.degradation`:
    `lambda` per cycle (exponential); `slope`, performance lost per cycle (linear); `scale` in cycles and
    `shape` (weibull); `drift`, mean performance lost per cycle, `volatility`, its standard deviation per
    square root of a cycle, and `drift_spread`, the drift's relative deviation between units (wiener,
    gamma); `growth`, relative crack growth per cycle at first, and `exponent` (paris); `step_cycles`,
    mean cycles between shocks, and `step_size`, performance lost at each (step).
    `noise_std` is the sensor noise as a fraction of each tag's nominal span.
    A read asks for `registers_per_read_max` at most and passes over no hole but a `readable_gaps`.
    """

    type: Name
    reactor_type: ReactorType = Field(default="forced_circulation", description="its reactor's: left out")
    unit: int = Field(ge=1, le=MODBUS_UNIT_MAX, description="Modbus unit id")
    decay_type: Literal["exponential", "linear", "weibull", "wiener", "gamma", "paris", "step"] = (
        "exponential"
    )
    lambda_: float | None = Field(default=None, alias="lambda", gt=0, le=1)
    slope: float | None = Field(default=None, gt=0, le=1)
    scale: float | None = Field(default=None, ge=1, le=1e9)
    shape: float | None = Field(default=None, ge=0.2, le=20)
    drift: float | None = Field(default=None, ge=1e-9, le=1)
    drift_spread: float | None = Field(default=None, ge=0, le=1)
    volatility: float | None = Field(default=None, ge=1e-9, le=1)
    growth: float | None = Field(default=None, ge=1e-9, le=1)
    exponent: float | None = Field(default=None, ge=2.1, le=10)
    step_cycles: float | None = Field(default=None, ge=1, le=1e9)
    step_size: float | None = Field(default=None, gt=0, le=1)
    noise_std: float = Field(default=0.01, ge=0, le=1)
    fail_threshold: float = Field(default=0.3, gt=0, lt=1)
    faults: tuple[ScheduledFault, ...] = Field(default=(), max_length=FAULTS_MAX)
    cycle_register: Register | None = None
    registers_per_read_max: int = Field(
        default=MODBUS_READ_REGISTERS_MAX,
        ge=1,
        le=MODBUS_READ_REGISTERS_MAX,
        description="what the device answers at once",
    )
    readable_gaps: tuple[Gap, ...] = ()
    tags: dict[Name, Tag] = Field(min_length=1)
    operating: dict[Name, FiniteFloat] = Field(
        default_factory=dict,
        description="operating tags, each with its least value in operation, in its unit; with every one "
        "below, the component stands still. Goes into a model with its training",
    )
    thresholds: Thresholds = Field(default_factory=Thresholds)
    alarms: Alarms = Field(default_factory=Alarms)

    def node_ids(self, component_id: ComponentId) -> dict[str, str]:
        """Over OPC UA, where each tag is, and the cycle counter where there is one."""
        own = all(tag.node is None for tag in self.tags.values())
        counter = [COUNTER] if self.cycle_register is not None and own else []
        ids = {name: expanded(variable_identifier(component_id, name)) for name in [*counter, *self.tags]}
        return ids | {name: tag.node for name, tag in self.tags.items() if tag.node is not None}

    @model_validator(mode="after")
    def _decay_has_its_own_fields(self) -> Self:
        own = DECAY_FIELDS[self.decay_type]
        for field in dict.fromkeys(name for fields in DECAY_FIELDS.values() for name in fields):
            if field not in own and getattr(self, "lambda_" if field == "lambda" else field) is not None:
                owners = " or ".join(law for law, fields in DECAY_FIELDS.items() if field in fields)
                raise ValueError(
                    f"{field} belongs to decay_type {owners}; {self.decay_type} takes {', '.join(own)}"
                )
        return self

    @model_validator(mode="after")
    def _faults_name_tags(self) -> Self:
        unknown = sorted({fault.tag for fault in self.faults if fault.tag} - self.tags.keys())
        if unknown:
            raise ValueError(f"faults name {unknown}; the tags are {sorted(self.tags)}")
        return self

    @model_validator(mode="after")
    def _operating_names_tags(self) -> Self:
        unknown = sorted(self.operating.keys() - self.tags.keys())
        if unknown:
            raise ValueError(f"operating names {unknown}; the tags are {sorted(self.tags)}")
        return self

    @model_validator(mode="after")
    def _limits_name_tags(self) -> Self:
        unknown = sorted(self.thresholds.limits.keys() - self.tags.keys())
        if unknown:
            raise ValueError(f"thresholds.limits names {unknown}; the tags are {sorted(self.tags)}")
        return self

    @model_validator(mode="after")
    def _device_answers_the_longest_value(self) -> Self:
        for name, register in self._registers().items():
            if register.count > self.registers_per_read_max:
                raise ValueError(
                    f"registers_per_read_max {self.registers_per_read_max} would split {name}: "
                    f"a {register.type} has {register.count}"
                )
        return self

    @model_validator(mode="after")
    def _registers_do_not_overlap(self) -> Self:
        taken: dict[tuple[str, int], str] = {}
        places: dict[str, Register | Gap] = {**self._registers()}
        places |= {f"readable_gaps[{i}]": gap for i, gap in enumerate(self.readable_gaps)}
        for name, register in places.items():
            for address in range(register.address, register.address + register.count):
                other = taken.setdefault((register.table, address), name)
                if other != name:
                    raise ValueError(f"{name} and {other} both use {register.table} register {address}")
        return self

    def _registers(self) -> dict[str, Register]:
        registers = {name: tag.register_ for name, tag in self.tags.items()}
        if self.cycle_register is not None:
            registers["cycle_register"] = self.cycle_register
        return registers


class Reactor(BaseModel):
    """A reactor: its type, and one section per component, by name."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[Name, Component]

    reactor_type: ReactorType = "forced_circulation"

    @property
    def components(self) -> dict[str, Component]:
        return dict(self.__pydantic_extra__ or {})


class Site(BaseModel):
    """A site: its plant's endpoint, and one section per reactor, by name."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[Name, Reactor]

    plant: Plant = Plant()

    @property
    def reactors(self) -> dict[str, Reactor]:
        return dict(self.__pydantic_extra__ or {})

    @model_validator(mode="after")
    def _units_are_distinct(self) -> Self:
        owner: dict[int, str] = {}
        for reactor_id, reactor in self.reactors.items():
            for name, component in reactor.components.items():
                place = f"{reactor_id}.{name}"
                other = owner.setdefault(component.unit, place)
                if other != place:
                    raise ValueError(f"{place} and {other} both use Modbus unit {component.unit}")
        return self

    @model_validator(mode="after")
    def _nodes_are_distinct(self) -> Self:
        owner: dict[str, str] = {}
        for reactor_id, reactor in self.reactors.items():
            for name, component in reactor.components.items():
                for tag_name, tag in component.tags.items():
                    place = f"{reactor_id}.{name}.{tag_name}"
                    other = owner.setdefault(tag.node or place, place)
                    if other != place:
                        raise ValueError(f"{place} and {other} both name the node {tag.node}")
        return self


class FleetConfig(BaseModel):
    """The whole file: one section per site, by its id."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[SiteId, Site]

    @property
    def sites(self) -> dict[str, Site]:
        return dict(self.__pydantic_extra__ or {})

    def components(self, site_id: str | None = None) -> dict[ComponentId, Component]:
        """Every component (of one site, where given), in the file's order."""
        return {
            ComponentId(site, reactor, name): component
            for site, section in self.sites.items()
            if site_id in (None, site)
            for reactor, parts in section.reactors.items()
            for name, component in parts.components.items()
        }

    def hash(self) -> str:
        """SHA-256 over the resolved configuration as RFC 8785 JSON, in hex."""
        resolved = self.model_dump(mode="json", by_alias=True)
        return hashlib.sha256(rfc8785.dumps(resolved)).hexdigest()


def load_fleet(path: Path) -> FleetConfig:
    """Read and check `path`; ConfigError lists every problem at once."""
    return parse_fleet(load_yaml(path), str(path))


def parse_fleet(document: Any, source: str) -> FleetConfig:
    """Check a parsed document; `source` names it in messages."""
    resolved, problems = with_defaults(document)
    try:
        fleet = FleetConfig.model_validate(resolved)
    except ValidationError as error:
        problems += describe(error)
    if problems:
        raise ConfigError(source, problems)
    return fleet


def json_schema() -> dict[str, Any]:
    """JSON Schema of the file as a person writes it (defaults may be left out), for editors."""
    schema = FleetConfig.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "reactor_config.yaml"
    definitions = schema["$defs"]
    definitions["Component"].pop("required", None)  # filled in from the component type
    definitions["Tag"]["required"] = ["unit"]  # a tag without a register takes the next addresses
    schema["properties"] = {"component_types": {"type": "object"}}
    return schema
