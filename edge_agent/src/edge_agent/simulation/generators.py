"""`ReactorSimulator` (PRD 1.2, 1.3): one component wearing out, cycle by cycle, reproducibly."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from edge_agent.simulation.components import FloatArray, model
from edge_agent.simulation.degradation import Decay
from shared.errors import ConfigError
from shared.reactor_config import Component, ScheduledFault, parse_fleet
from shared.schemas import ComponentId

START = datetime(2026, 1, 1, tzinfo=UTC)  # of a batch: a file must not depend on when it was made
LAMBDA_DEFAULT = 0.005  # per cycle: performance 0.3 after 241 cycles, a little over PRD 1.4's 200
SLOPE_DEFAULT = 0.003  # per cycle: 0.3 after 234 cycles
LOAD_SWING = 0.03  # of nominal: load following, so that load is not mistaken for wear
LOAD_PERIOD_CYCLES = 75.0
SUDDEN_LOSS = 0.25  # of performance, in one step
ACCELERATION = 4.0  # times the decay rate
GLITCH_CYCLES = 3  # how long a spike or drop lasts
GLITCH_SPANS = (0.5, 1.0)  # its size, in nominal spans of the tag it strikes
SKIP_CHUNK_CYCLES = 10_000  # bounds memory while fast-forwarding

FAULT_TYPES: tuple[str, ...] = get_args(ScheduledFault.model_fields["type"].annotation)
_NOISE, _UNIT, _FAULT = range(3)  # independent random streams: a fault must not shift the noise
Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class _Glitch:
    name: str
    tag: str
    size: float
    until_cycle: int


class ReactorSimulator:
    """One simulated component. The same arguments and calls give the same numbers, bit for bit.

    `config` is a resolved `Component`, or the PRD's section as a mapping. `decay_scale` multiplies the
    wear rate. `cycle` is the next cycle to come. Faults scheduled in the config happen by themselves.
    """

    def __init__(
        self,
        config: Component | Mapping[str, Any],
        *,
        site_id: str,
        reactor_id: str,
        component: str,
        random_seed: int = 0,
        decay_scale: float = 1.0,
        start: datetime = START,
    ) -> None:
        self.component_id = ComponentId(site_id, reactor_id, component)
        self.config = _resolved(config, self.component_id)
        self.cycle = 0
        self._start = np.datetime64(start.astimezone(UTC).replace(tzinfo=None), "s")
        key = zlib.crc32(self.component_id.key.encode())
        self._noise, unit, self._chance = (
            np.random.Generator(np.random.PCG64([random_seed, key, stream]))
            for stream in (_NOISE, _UNIT, _FAULT)
        )
        self._phase = float(unit.uniform())
        self._model = model(self.config.type)(unit)
        self._tags = _known_tags(self.config, self._model.spans, self.component_id)
        self._decay = Decay(self.config.decay_type, _rate(self.config) * decay_scale)
        self._fault: str | None = None
        self._glitch: _Glitch | None = None

    def inject_fault(self, fault_type: str) -> None:
        """From the next cycle on; ValueError for an unknown type (`FAULT_TYPES`).

        sudden_failure takes 0.25 of performance at once; accelerated_decay multiplies the wear rate by
        4; spike and drop move one randomly chosen tag off its value for 3 cycles.
        """
        if fault_type not in FAULT_TYPES:
            raise ValueError(f"fault type {fault_type!r}; allowed: {', '.join(FAULT_TYPES)}")
        if fault_type in ("spike", "drop"):
            self._glitch = self._new_glitch(fault_type)
            return
        performance = self._decay.at(self.cycle)
        if fault_type == "sudden_failure":
            performance = max(performance - SUDDEN_LOSS, 0.0)
            rate = self._decay.rate
        else:
            rate = self._decay.rate * ACCELERATION
        self._fault = fault_type
        self._decay = replace(self._decay, from_cycle=self.cycle, from_performance=performance, rate=rate)

    def simulate_cycle(self) -> dict[str, Any]:
        """The next cycle as PRD 1.2's record: identity, one key a tag, then the labels.

        `performance` is the latent state (1 new), `true_RUL` the whole cycles until it first reaches
        `fail_threshold`, `fault` the name of the fault in effect or None; lasting faults keep theirs.
        """
        columns = self.simulate(1)
        site_id, reactor_id, component = self.component_id
        row = {name: column[0].item() for name, column in columns.items() if name != "fault"}
        identity = {"site_id": site_id, "reactor_id": reactor_id, "component": component}
        return {"timestamp": row.pop("timestamp"), **identity, **row, "fault": columns["fault"][0]}

    def simulate(self, cycles: int) -> Columns:
        """The next `cycles` cycles as columns of that length; the same bits as so many single ones."""
        parts: list[Columns] = []
        end = self.cycle + cycles
        while self.cycle < end:
            for fault in self.config.faults:
                if fault.at_cycle == self.cycle:
                    self.inject_fault(fault.type)
            parts.append(self._segment(self._next_change(end) - self.cycle))
        if not parts:
            raise ValueError(f"cycles {cycles}; expected at least 1")
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def skip(self, cycles: int) -> None:
        """Go `cycles` on without looking."""
        for done in range(0, cycles, SKIP_CHUNK_CYCLES):
            self.simulate(min(SKIP_CHUNK_CYCLES, cycles - done))

    def _next_change(self, end: int) -> int:
        """The cycle before which no fault begins or ends."""
        changes = [fault.at_cycle for fault in self.config.faults]
        if self._glitch is not None:
            changes.append(self._glitch.until_cycle)
        return min([end, *(change for change in changes if change > self.cycle)])

    def _segment(self, count: int) -> Columns:
        cycles = np.arange(self.cycle, self.cycle + count, dtype=np.int64)
        performance = self._decay.performance(cycles)
        columns: Columns = {"timestamp": _timestamps(self._start, cycles), "cycle": cycles}
        columns |= self._readings(cycles, performance)
        failure = self._decay.failure_cycle(self.config.fail_threshold)
        columns["performance"] = performance
        columns["true_RUL"] = np.maximum(failure - cycles, 0)
        columns["fault"] = np.full(count, self._active_fault(), dtype=object)
        self.cycle += count
        return columns

    def _readings(self, cycles: NDArray[np.int64], performance: FloatArray) -> Columns:
        """What the transmitters show: truth, noise, glitch; none can show more than its range."""
        load = 1.0 + LOAD_SWING * np.sin(2.0 * np.pi * (cycles / LOAD_PERIOD_CYCLES + self._phase))
        true = self._model.tags(performance, load)
        noise = self.config.noise_std * self._noise.standard_normal((len(cycles), len(true)))
        readings: Columns = {}
        for index, (tag, values) in enumerate(true.items()):
            shown = values + noise[:, index] * self._model.spans[tag]
            if self._glitch is not None and self._glitch.tag == tag and self._active_glitch():
                shown = shown + self._glitch.size
            readings[tag] = np.clip(shown, *(self._range(tag)))
        return {tag: readings[tag] for tag in self._tags}

    def _range(self, tag: str) -> tuple[float, float]:
        limits = self.config.tags[tag].range if tag in self._tags else None
        return limits or (-np.inf, np.inf)

    def _active_glitch(self) -> bool:
        return self._glitch is not None and self.cycle < self._glitch.until_cycle

    def _active_fault(self) -> str | None:
        if self._glitch is not None and self._active_glitch():
            return self._glitch.name
        return self._fault

    def _new_glitch(self, name: str) -> _Glitch:
        tag = str(self._chance.choice(self._tags))
        size = float(self._chance.uniform(*GLITCH_SPANS)) * self._model.spans[tag]
        return _Glitch(name, tag, size if name == "spike" else -size, self.cycle + GLITCH_CYCLES)


def _resolved(config: Component | Mapping[str, Any], place: ComponentId) -> Component:
    if isinstance(config, Component):
        return config
    document = {place.site_id: {place.reactor_id: {place.component: dict(config)}}}
    return parse_fleet(document, "config").components()[place]


def _known_tags(config: Component, spans: Mapping[str, float], place: ComponentId) -> list[str]:
    unknown = [tag for tag in config.tags if tag not in spans]
    if unknown:
        raise ConfigError(
            place.key,
            [f"tags {', '.join(unknown)}: the {config.type} model has none such; it has {', '.join(spans)}"],
        )
    return list(config.tags)


def _rate(config: Component) -> float:
    if config.decay_type == "exponential":
        return LAMBDA_DEFAULT if config.lambda_ is None else config.lambda_
    return SLOPE_DEFAULT if config.slope is None else config.slope


def _timestamps(start: np.datetime64, cycles: NDArray[np.int64]) -> NDArray[Any]:
    """RFC 3339 in UTC, a second a cycle."""
    texts = np.datetime_as_string(start + cycles.astype("timedelta64[s]"), unit="s")
    return np.char.add(texts, "Z")
