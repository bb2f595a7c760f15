"""What each fault does to a component's wear, its process and its transmitters (PRD 1.3).

Enters: a `ScheduledFault`, the component's model and tags. Leaves: an `Effect` that the simulator
applies to columns of any length. Never: a change of the noise that is drawn, so that a faulty history
differs from the sound one of the same seed only by its fault.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from edge_agent.simulation.components import FloatArray
from edge_agent.simulation.physics.elementary import exp
from shared.fault_config import TAG_FAULTS, ScheduledFault
from shared.reactor_config import Tag

FAULT_TYPES: tuple[str, ...] = get_args(ScheduledFault.model_fields["type"].annotation)
SUDDEN_LOSS = 0.25  # of performance, in one step
ACCELERATION = 4.0  # times the decay rate
GLITCH_CYCLES = 3  # how long a spike or drop lasts
SPALL_ACCELERATION = 2.0  # at severity 1: debris of a spalled raceway wears what it passes
SURGE_LOSS = 0.15  # of performance, at severity 1: crud let loose by a transient settles at once

# The size drawn where none was given: its ends, in spans of the tag (per cycle for the drift), either
# sign for bias and drift. Healthy transmitters stay within 0.5 % of span (IEC 60770): all stand out.
SIZES_DRAWN: Final = {
    "spike": (0.5, 1.0),
    "drop": (0.5, 1.0),
    "sensor_bias": (0.1, 0.3),
    "sensor_drift": (0.001, 0.004),
    "sensor_noise": (0.05, 0.15),
}
_EITHER_SIGN = ("sensor_bias", "sensor_drift")


@dataclass(frozen=True, slots=True)
class Process:
    """A fault of the process: what its tags gain, in nominal spans at severity 1, once it has grown.

    It grows as `1 - exp(-n / growth_cycles)`. It makes sense for a component whose model has one of
    `needs`; tags of `gains` that the model lacks are left out. Some gains go with the load (`WITH_LOAD`).
    `around` is what it does to the component's surroundings, in their unit.
    """

    needs: tuple[str, ...]
    gains: Mapping[str, float]
    growth_cycles: float
    around: Mapping[str, float] = field(default_factory=dict)


# leak: a tenth of a pump's flow is lost before the meter, and with it, as the square, a fifth of the
# pressure difference; a vessel loses level and pressure; a shaft seal shows it itself; the suction loses
# some 5 m of water (engineering estimate), so that a pump with little margin cavitates. bearing_spall:
# impacts raise vibration first, friction the temperature later and less (SKF, Bearing damage and failure
# analysis); the pump nears zone C of ISO 10816-7 at severity 1. fouling_surge: deposits cost heat
# transfer, through performance, and narrow the passages.
PROCESSES: Final = {
    "leak": Process(
        ("flow_rate", "level"),
        {"flow_rate": -0.2, "pressure_drop": -0.25, "level": -0.2, "pressure": -0.1, "seal_leakage": 0.5},
        10.0,
        {"suction_loss_kpa": 45.0},
    ),
    "bearing_spall": Process(("vibration_rms",), {"vibration_rms": 0.3, "bearing_temperature": 0.2}, 40.0),
    "fouling_surge": Process(("secondary_temperature_out",), {"pressure_drop": 0.3}, 5.0),
}
# None of these at a standstill: flow, impacts and friction go with speed, pressure with its square.
WITH_LOAD = ("flow_rate", "bearing_temperature", "vibration_rms")
WITH_LOAD_SQUARED = ("pressure_drop",)


@dataclass(slots=True)
class Effect:
    """A fault at work from `from_cycle` to before `until_cycle` (None: for good).

    `sizes` by tag in the tag's unit; `around` by surrounding in its unit. `held` is what a stuck
    transmitter shows, once it has.
    """

    name: str
    sizes: dict[str, float]
    from_cycle: int
    until_cycle: int | None
    around: dict[str, float] = field(default_factory=dict)
    held: float | None = None

    def at_work(self, cycle: int) -> bool:
        """Whether it is in effect at `cycle`."""
        return self.until_cycle is None or cycle < self.until_cycle

    def on_surroundings(self, around: dict[str, FloatArray], cycles: NDArray[np.int64]) -> None:
        """Add to the component's surroundings what a process fault does there, in place."""
        for name, size in self.around.items():
            around[name] = around.get(name, 0.0) + size * self._grown(cycles)

    def on_process(self, true: dict[str, FloatArray], cycles: NDArray[np.int64], load: FloatArray) -> None:
        """Change the noise-free tags of a process fault in place."""
        if self.name not in PROCESSES:
            return
        grown = self._grown(cycles)
        for tag, size in self.sizes.items():
            change = size * grown
            if tag in WITH_LOAD or tag in WITH_LOAD_SQUARED:
                change = change * load
            if tag in WITH_LOAD_SQUARED:
                change = change * load
            true[tag] = true[tag] + change

    def _grown(self, cycles: NDArray[np.int64]) -> FloatArray:
        elapsed = (cycles - self.from_cycle + 1) / PROCESSES[self.name].growth_cycles
        return 1.0 - exp(-elapsed)

    def on_signal(
        self, tag: str, signal: FloatArray, normal: FloatArray, cycles: NDArray[np.int64]
    ) -> FloatArray:
        """The signal of `tag` before the transmitter's range cuts it; `normal` is its standard noise."""
        if self.name not in SIZES_DRAWN or tag not in self.sizes:
            return signal
        size = self.sizes[tag]
        if self.name == "sensor_drift":
            return signal + size * (cycles - self.from_cycle + 1)
        if self.name == "sensor_noise":
            return signal + size * normal
        return signal + size

    def on_reading(self, tag: str, reading: FloatArray) -> FloatArray:
        """What a stuck or silent transmitter of `tag` shows in place of the reading."""
        if tag not in self.sizes:
            return reading
        if self.name == "sensor_dropout":
            return np.full_like(reading, np.nan)
        if self.name == "sensor_stuck":
            self.held = float(reading[0]) if self.held is None else self.held
            return np.full_like(reading, self.held)
        return reading


def wear(fault: ScheduledFault) -> tuple[float, float] | None:
    """What the fault costs of performance at once, and its factor on the wear rate; None: neither."""
    severity = 1.0 if fault.size is None else fault.size
    match fault.type:
        case "sudden_failure":
            return (SUDDEN_LOSS if fault.size is None else fault.size), 1.0
        case "accelerated_decay":
            return 0.0, (ACCELERATION if fault.size is None else fault.size)
        case "bearing_spall":
            return 0.0, 1.0 + (SPALL_ACCELERATION - 1.0) * severity
        case "fouling_surge":
            return SURGE_LOSS * severity, 1.0
    return None


def problem(
    fault: ScheduledFault, tags: Mapping[str, Tag], spans: Mapping[str, float], kind: str
) -> str | None:
    """Why the fault makes no sense for a component of type `kind`, or None."""
    if fault.tag is not None and fault.tag not in tags:
        return f"{fault.type} on tag {fault.tag!r}; the tags are {', '.join(tags)}"
    if fault.type == "sensor_dropout" and not _strikeable(fault, tags):
        where = "every tag" if fault.tag is None else f"tag {fault.tag!r}"
        return f"sensor_dropout: {where} has an integer register, which holds no NaN; make it a float"
    needs = PROCESSES[fault.type].needs if fault.type in PROCESSES else ()
    if needs and not any(tag in spans for tag in needs):
        return f"{fault.type} makes no sense for a {kind}: it has no {' or '.join(needs)}"
    return None


def effect(
    fault: ScheduledFault, tags: Mapping[str, Tag], spans: Mapping[str, float], rng: np.random.Generator
) -> Effect:
    """The fault at work from `fault.at_cycle` on; draws from `rng` what it leaves open, always as much."""
    lasts = fault.duration_cycles
    if lasts is None and fault.type in ("spike", "drop"):
        lasts = GLITCH_CYCLES
    until = None if lasts is None else fault.at_cycle + lasts
    return Effect(fault.type, _sizes(fault, tags, spans, rng), fault.at_cycle, until, _around(fault))


def _sizes(
    fault: ScheduledFault, tags: Mapping[str, Tag], spans: Mapping[str, float], rng: np.random.Generator
) -> dict[str, float]:
    if fault.type in PROCESSES:
        severity = 1.0 if fault.size is None else fault.size
        gains = PROCESSES[fault.type].gains
        return {tag: severity * gain * spans[tag] for tag, gain in gains.items() if tag in spans}
    if fault.type not in TAG_FAULTS:
        return {}
    drawn = str(rng.choice(_strikeable(fault, tags)))
    tag = fault.tag or drawn
    size = float(rng.uniform(*SIZES_DRAWN.get(fault.type, (0.0, 1.0))))
    if fault.type in _EITHER_SIGN:
        size = size if rng.random() < 0.5 else -size
    size = (size if fault.size is None else fault.size) * spans[tag]
    return {tag: -size if fault.type == "drop" else size}


def _around(fault: ScheduledFault) -> dict[str, float]:
    severity = 1.0 if fault.size is None else fault.size
    around = PROCESSES[fault.type].around if fault.type in PROCESSES else {}
    return {name: severity * size for name, size in around.items()}


def _strikeable(fault: ScheduledFault, tags: Mapping[str, Tag]) -> Sequence[str]:
    """The tags a sensor fault may strike: NaN can be served only where the register holds it."""
    if fault.type != "sensor_dropout":
        return list(tags)
    wanted = [fault.tag] if fault.tag is not None else list(tags)
    return [tag for tag in wanted if tags[tag].register_.type.startswith("float")]
