"""`ReactorSimulator` (PRD 1.2, 1.3): one component wearing out, cycle by cycle, reproducibly."""

import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from edge_agent.simulation.components import NOMINAL, Drives, FloatArray, Surroundings, model
from edge_agent.simulation.degradation import path_of
from edge_agent.simulation.duty import Duty
from edge_agent.simulation.faults import FAULT_TYPES, Effect, effect, problem, wear
from edge_agent.simulation.noise import Noise
from edge_agent.simulation.presets import preset
from edge_agent.simulation.timestamps import rfc3339
from shared.config_errors import describe
from shared.errors import ConfigError
from shared.fault_config import ScheduledFault
from shared.reactor_config import FAULTS_MAX, Component, parse_fleet
from shared.schemas import ComponentId

START = datetime(2026, 1, 1, tzinfo=UTC)  # of a batch: a file must not depend on when it was made
SEGMENT_CYCLES_MAX = 16_384  # at once: the arrays worked on stay in a core's cache, a call costs little
EFFECTS_MAX = 2 * FAULTS_MAX  # faults in effect at once: as many injected as may be scheduled
SKIP_CHUNK_CYCLES = 10_000  # bounds memory while fast-forwarding

_NOISE, _UNIT, _FAULT, _WEAR, _PATH = range(5)  # independent random streams: none may shift another
Columns = dict[str, NDArray[Any]]


class ReactorSimulator:
    """One simulated component. The same arguments and calls give the same numbers, bit for bit.

    However the cycles are split, in every process, and on every machine of one architecture: what CPUs and
    C libraries round each in their own way is not used (see `physics.elementary` and `physics.chance`).

    `config` is a resolved `Component`, or the PRD's section as a mapping. `decay_scale` multiplies the
    wear rate. `cycle` is the next cycle to come. Faults scheduled in the config happen by themselves.
    Alone, what other components drive is nominal; in a `Reactor` it is theirs. `parallel` is how many of
    its kind share the work in a whole reactor.
    ConfigError for a tag that the type's model lacks and for a scheduled fault that makes no sense.
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
        self._start_s = int(start.timestamp())
        key = zlib.crc32(self.component_id.key.encode())
        noise, unit, self._chance, wear_of_unit = (
            np.random.Generator(np.random.PCG64([random_seed, key, stream]))
            for stream in (_NOISE, _UNIT, _FAULT, _WEAR)
        )
        self._duty = Duty(random_seed, site_id, reactor_id)
        self._model = model(self.config.type)(unit, preset(self.config.reactor_type))
        self._drives = cast(Drives, self._model) if hasattr(self._model, "shares") else None
        self.parallel = 1 if self._drives is None else self._drives.parallel
        self._noise = Noise(noise, len(self._model.spans))
        self._tags = _known_tags(self.config, self._model.spans, self.component_id)
        self._check_schedule()
        self._path = path_of(self.config, decay_scale, wear_of_unit, (random_seed, key, _PATH))
        self._failure_cycle = self._path.failure_cycle(self.config.fail_threshold)
        self._effects: list[Effect] = []

    def inject_fault(self, fault_type: str, **settings: Any) -> None:
        """From the next cycle on; `settings` are `tag`, `duration_cycles`, `size` of `ScheduledFault`.

        sudden_failure takes 0.25 of performance at once; accelerated_decay multiplies the wear rate by 4;
        bearing_spall doubles it and raises vibration and bearing temperature; fouling_surge takes 0.15 of
        performance and raises the pressure drop; leak lowers flow and pressure and wears nothing. spike
        and drop move one tag for 3 cycles; sensor_bias, sensor_drift and sensor_noise add to one tag,
        sensor_stuck holds what it shows first, sensor_dropout shows NaN.
        ValueError for an unknown type (`FAULT_TYPES`), a setting it does not take, or a fault that makes
        no sense for the component.
        """
        if fault_type not in FAULT_TYPES:
            raise ValueError(f"fault type {fault_type!r}; allowed: {', '.join(FAULT_TYPES)}")
        try:
            document = {"type": fault_type, "at_cycle": self.cycle, **settings}
            fault = ScheduledFault.model_validate(document)
        except ValidationError as error:
            raise ValueError(f"fault {fault_type}: {'; '.join(describe(error))}") from error
        wrong = problem(fault, self.config.tags, self._model.spans, self.config.type)
        if wrong:
            raise ValueError(wrong)
        if sum(found.at_work(self.cycle) for found in self._effects) >= EFFECTS_MAX:
            raise ValueError(f"{EFFECTS_MAX} faults are in effect, which is the most; let some end")
        self._inject(fault)

    def simulate_cycle(self) -> dict[str, Any]:
        """The next cycle as PRD 1.2's record: identity, one key a tag, then the labels.

        `performance` is the latent state (1 new), `true_RUL` the whole cycles until it first reaches
        `fail_threshold`, `fault` the names of the faults in effect joined by `+`, or None.
        """
        return self.record(self.simulate(1))

    def record(self, columns: Columns) -> dict[str, Any]:
        """The first cycle of `simulate`'s columns as such a record."""
        site_id, reactor_id, component = self.component_id
        row = {name: column[0].item() for name, column in columns.items() if name != "fault"}
        identity = {"site_id": site_id, "reactor_id": reactor_id, "component": component}
        return {"timestamp": row.pop("timestamp"), **identity, **row, "fault": columns["fault"][0]}

    def simulate(self, cycles: int) -> Columns:
        """The next `cycles` cycles as columns of that length; the same bits as so many single ones."""
        return self.advance(cycles, NOMINAL)[0]

    def advance(self, cycles: int, surroundings: Surroundings) -> tuple[Columns, Surroundings]:
        """`simulate` in surroundings of `cycles` cycles, and what the component gives to others.

        That is the shares of `components.Drives`, with process faults but without noise; {} for a type
        that drives nothing.
        """
        if cycles < 1:
            raise ValueError(f"cycles {cycles}; expected at least 1")
        first = self.cycle
        timestamps = rfc3339(self._start_s, first, cycles)
        columns: Columns = {
            "timestamp": timestamps,
            "cycle": np.arange(first, first + cycles, dtype=np.int64),
        }
        given: dict[str, FloatArray] = {}
        while (done := self.cycle - first) < cycles:
            for fault in self.config.faults:
                if fault.at_cycle == self.cycle:
                    self._inject(fault)
            count = self._next_change(first + cycles) - self.cycle
            around = {name: share[done : done + count] for name, share in surroundings.items()}
            part, shares = self._segment(count, around)
            _put(columns, part, done, cycles)
            _put(given, shares, done, cycles)
        return columns, given

    def skip(self, cycles: int) -> None:
        """Go `cycles` on without looking."""
        for done in range(0, cycles, SKIP_CHUNK_CYCLES):
            self.simulate(min(SKIP_CHUNK_CYCLES, cycles - done))

    def _check_schedule(self) -> None:
        found = (
            problem(fault, self.config.tags, self._model.spans, self.config.type)
            for fault in self.config.faults
        )
        problems = [text for text in found if text]
        if problems:
            raise ConfigError(f"{self.component_id.key} faults", problems)

    def _inject(self, fault: ScheduledFault) -> None:
        self._effects = [found for found in self._effects if found.at_work(self.cycle)]
        self._effects.append(effect(fault, self.config.tags, self._model.spans, self._chance))
        change = wear(fault)
        if change is None:
            return
        self._path = self._path.changed(self.cycle, *change)
        if self._failure_cycle > self.cycle:  # what has failed stays failed
            self._failure_cycle = self._path.failure_cycle(self.config.fail_threshold)

    def _next_change(self, end: int) -> int:
        """The cycle before which no fault begins or ends."""
        changes = [fault.at_cycle for fault in self.config.faults]
        changes += [found.until_cycle for found in self._effects if found.until_cycle is not None]
        limit = min(end, self.cycle + SEGMENT_CYCLES_MAX)
        return min([limit, *(change for change in changes if change > self.cycle)])

    def _segment(self, count: int, around: dict[str, FloatArray]) -> tuple[Columns, Surroundings]:
        cycles = np.arange(self.cycle, self.cycle + count, dtype=np.int64)
        performance = self._path.performance(self.cycle, count)
        effects = [found for found in self._effects if found.at_work(self.cycle)]
        names = dict.fromkeys(found.name for found in effects)
        load = self._duty.load(self.cycle, count)
        true = self._true(cycles, performance, load, around, effects)
        given = {} if self._drives is None else self._drives.shares(true, load)
        columns = self._readings(cycles, true, effects)
        columns["performance"] = performance
        columns["true_RUL"] = np.maximum(self._failure_cycle - cycles, 0)
        columns["fault"] = np.full(count, "+".join(names) or None, dtype=object)
        self.cycle += count
        return columns, given

    def _true(
        self,
        cycles: NDArray[np.int64],
        performance: FloatArray,
        load: FloatArray,
        around: dict[str, FloatArray],
        effects: list[Effect],
    ) -> dict[str, FloatArray]:
        """What happens in the component, its process faults included."""
        for found in effects:
            found.on_surroundings(around, cycles)
        true = self._model.tags(performance, load, around)
        for found in effects:
            found.on_process(true, cycles, load)
        return true

    def _readings(
        self, cycles: NDArray[np.int64], true: dict[str, FloatArray], effects: list[Effect]
    ) -> Columns:
        """What the transmitters show: truth, noise, faults; none can show more than its range."""
        normal = self._noise.columns(self.cycle, len(cycles))
        readings: Columns = {}
        for index, (tag, values) in enumerate(true.items()):
            if tag not in self.config.tags:
                continue
            signal = normal[index] * (self.config.noise_std * self._model.spans[tag])
            signal += values
            for found in effects:
                signal = found.on_signal(tag, signal, normal[index], cycles)
            reading = np.clip(signal, *self._range(tag), out=signal)
            for found in effects:
                reading = found.on_reading(tag, reading)
            readings[tag] = reading
        return {tag: readings[tag] for tag in self._tags}

    def _range(self, tag: str) -> tuple[float, float]:
        return self.config.tags[tag].range or (-np.inf, np.inf)


def _put(columns: Columns, part: Mapping[str, NDArray[Any]], done: int, cycles: int) -> None:
    """Put a segment's columns behind the `done` cycles before, in columns of `cycles`."""
    for name, values in part.items():
        if not done:
            columns[name] = values if len(values) == cycles else np.empty(cycles, values.dtype)
        if columns[name] is not values:
            columns[name][done : done + len(values)] = values


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
