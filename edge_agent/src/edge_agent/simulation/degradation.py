"""How latent performance falls, and when it first reaches a threshold. Pure.

Enters: a component's decay law and a seed. Leaves: performance, 1 new to 0 gone, at any cycles, and the
first passage through a threshold. Never: a number that depends on how many cycles are asked for at once.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol, Self

import numpy as np

from edge_agent.simulation.components import FloatArray
from edge_agent.simulation.physics.chance import standard_gamma, standard_normal
from edge_agent.simulation.physics.elementary import exp, log, power
from shared.reactor_config import Component

BLOCK_CYCLES = 2_048  # drawn at a time from a stream of their own, so that no split shifts the numbers
BLOCKS_KEPT = 8  # drawn to find the failure and soon asked for; 128 KB of each component
LOOK_AHEAD_CYCLES_MAX = 4_000 * BLOCK_CYCLES  # of a random path; at 1 Hz three months. Then it ends: 0
_BLOCKS_MAX = LOOK_AHEAD_CYCLES_MAX // BLOCK_CYCLES
PASSAGE_CYCLES_MAX = 2**40  # of a closed form; 35,000 years at 1 Hz. A label beyond it says so much
SECTIONS = 256  # looked at together for a first passage: as dear as a few one by one
RATE_MAX = 1e6  # of any rate: faults that add up must not overflow
_DOUBLING = 2 ** np.arange(PASSAGE_CYCLES_MAX.bit_length())  # cycles
PERFORMANCE_MIN = 1e-12  # taken for 0 where a logarithm is

NUMBERS_KEPT = 4_096  # of what depends on a unit's start alone; a fleet's worth, well under 1 MB

# Defaults, per cycle unless said: mean lives of 200 to 250 cycles down to 0.3, a little over PRD 1.4's 200.
LAMBDA_DEFAULT = 0.005  # performance 0.3 after 241 cycles
SLOPE_DEFAULT = 0.003  # 0.3 after 234 cycles
WEIBULL_SCALE_DEFAULT = 220.0  # cycles
WEIBULL_SHAPE_DEFAULT = 2.5  # wear-out; bearings and pumps are fitted with 1.5 to 3.5 (Abernethy)
DRIFT_DEFAULT = 0.003
DRIFT_SPREAD_DEFAULT = 0.15  # relative
DRIFT_FACTOR_MIN = 0.1  # the normal law of the drift is cut here: no unit heals or lives for ever
VOLATILITY_DEFAULT = 0.006  # per square root of a cycle
GROWTH_DEFAULT = 0.006
PARIS_EXPONENT_DEFAULT = 3.0  # ferritic and austenitic steels: 3 (BS 7910, 8.2.3)
CRACK_RATIO = 10.0  # crack length at performance 0 over that at 1
STEP_CYCLES_DEFAULT = 30.0  # cycles
STEP_SIZE_DEFAULT = 0.1  # of performance


class Curve(Protocol):
    """A law in closed form; it does not rise."""

    def after(self, elapsed: FloatArray, start: float) -> FloatArray:
        """Performance `elapsed` cycles, shape `(n,)`, after it was `start`."""

    def faster(self, factor: float) -> Self:
        """The same law with `factor` times the wear rate."""


@dataclass(frozen=True, slots=True)
class Exponential:
    """`p = p0 exp(-rate n)` (PRD 1.2)."""

    rate: float

    def after(self, elapsed: FloatArray, start: float) -> FloatArray:
        return start * exp(-(self.rate * elapsed))

    def faster(self, factor: float) -> Self:
        return replace(self, rate=_bounded(self.rate * factor))


@dataclass(frozen=True, slots=True)
class Linear:
    """`p = p0 - rate n`, not below 0 (PRD 1.5)."""

    rate: float

    def after(self, elapsed: FloatArray, start: float) -> FloatArray:
        return np.asarray(np.maximum(start - self.rate * elapsed, 0.0))

    def faster(self, factor: float) -> Self:
        return replace(self, rate=_bounded(self.rate * factor))


@dataclass(frozen=True, slots=True)
class Weibull:
    """The relative wear rate is the Weibull hazard `(shape / scale) (n / scale)^(shape - 1)`.

    So a new unit's performance is the survival function `exp(-(n / scale)^shape)` (Weibull, J. Appl.
    Mech. 18, 1951). After a fault the unit has the age that its performance tells (Kijima's virtual
    age). `scale` in cycles.
    """

    scale: float
    shape: float

    def after(self, elapsed: FloatArray, start: float) -> FloatArray:
        age, spent = _weibull_age(start, self.shape)
        hazard = power(age + elapsed / self.scale, self.shape) - spent
        return start * exp(-np.maximum(hazard, 0.0))

    def faster(self, factor: float) -> Self:
        return replace(self, scale=max(self.scale / factor, 1.0 / RATE_MAX))


@dataclass(frozen=True, slots=True)
class Paris:
    """A crack that grows as `da/dN = C (dK)^m` (Paris and Erdogan, J. Basic Eng. 85, 1963).

    With dK ~ sqrt(a), constant load and m > 2 the length in units of the first one is
    `u = u0 (1 - (m/2 - 1) growth u0^(m/2 - 1) n)^(-1 / (m/2 - 1))`. Performance falls in proportion
    from 1 at length 1 to 0 at `CRACK_RATIO`. `growth` is du/dN at length 1, per cycle.
    """

    growth: float
    exponent: float

    def after(self, elapsed: FloatArray, start: float) -> FloatArray:
        excess = self.exponent / 2.0 - 1.0
        first = 1.0 + (1.0 - start) * (CRACK_RATIO - 1.0)
        left = 1.0 - (excess * self.growth) * _power_of_number(first, excess) * elapsed
        whole = _power_of_number(CRACK_RATIO, -excess) / 10.0  # by then the crack is longer than CRACK_RATIO
        length = first * power(np.maximum(left, whole), -1.0 / excess)
        return np.asarray(np.maximum(start - (length - first) / (CRACK_RATIO - 1.0), 0.0))

    def faster(self, factor: float) -> Self:
        return replace(self, growth=_bounded(self.growth * factor))


@lru_cache(maxsize=NUMBERS_KEPT)
def _power_of_number(x: float, exponent: float) -> float:
    return float(power(x, exponent))


@lru_cache(maxsize=NUMBERS_KEPT)
def _weibull_age(start: float, shape: float) -> tuple[float, float]:
    """The age in scales at which performance is `start`, and the hazard spent by then."""
    age = float(power(-log(max(start, PERFORMANCE_MIN)), 1.0 / shape))
    return age, float(power(age, shape))


class Process(Protocol):
    """A random law: independent losses cycle by cycle."""

    def losses(self, rng: np.random.Generator, count: int) -> FloatArray:
        """What performance loses in each of `count` cycles."""

    def faster(self, factor: float) -> Self:
        """The same law with `factor` times the wear rate: as much in one cycle as in `factor` before."""


@dataclass(frozen=True, slots=True)
class Wiener:
    """Brownian motion with a drift of the unit's own (Si et al., Eur. J. Oper. Res. 213, 2011).

    Performance may recover for a while, unless it is 0; the unit has failed at the first passage all the
    same.
    """

    drift: float
    volatility: float

    def losses(self, rng: np.random.Generator, count: int) -> FloatArray:
        return self.drift + self.volatility * standard_normal(rng, count)

    def faster(self, factor: float) -> Self:
        volatility = _bounded(self.volatility * float(np.sqrt(factor)))
        return replace(self, drift=_bounded(self.drift * factor), volatility=volatility)


@dataclass(frozen=True, slots=True)
class Gamma:
    """Independent gamma losses, never a gain (van Noortwijk, Reliab. Eng. Syst. Saf. 94, 2009).

    `shape` per cycle and `size` are those that give `drift` and `volatility`: mean `shape x size`,
    variance `shape x size^2` per cycle.
    """

    shape: float
    size: float

    @classmethod
    def of(cls, drift: float, volatility: float) -> Self:
        return cls((drift / volatility) * (drift / volatility), volatility * volatility / drift)

    def losses(self, rng: np.random.Generator, count: int) -> FloatArray:
        return self.size * standard_gamma(rng, self.shape, count)

    def faster(self, factor: float) -> Self:
        return replace(self, shape=_bounded(self.shape * factor))


@dataclass(frozen=True, slots=True)
class Shocks:
    """Steps of one size at random moments, `rate` a cycle, at most one in each.

    The shock model of Esary, Marshall and Proschan (Ann. Probab. 1, 1973) in whole cycles.
    """

    rate: float
    size: float

    def losses(self, rng: np.random.Generator, count: int) -> FloatArray:
        return np.where(rng.random(count) < self.rate, self.size, 0.0)

    def faster(self, factor: float) -> Self:
        return replace(self, rate=min(self.rate * factor, 1.0))


class CurvePath:
    """A closed form from `from_cycle` on, where performance is `start`."""

    def __init__(self, curve: Curve, from_cycle: int = 0, start: float = 1.0) -> None:
        self._curve, self._from_cycle, self._start = curve, from_cycle, start

    def performance(self, first_cycle: int, count: int) -> FloatArray:
        """Latent performance, 0 to 1, at `count` cycles from `first_cycle` (not before `from_cycle`)."""
        elapsed = np.arange(first_cycle - self._from_cycle, first_cycle - self._from_cycle + count)
        return self._curve.after(elapsed.astype(np.float64), self._start)

    def failure_cycle(self, threshold: float) -> int:
        """The first cycle at which performance is at or below `threshold`, at most PASSAGE_CYCLES_MAX on."""
        low, high = -1, PASSAGE_CYCLES_MAX  # above the threshold at `low`; taken as reached at `high`
        looked_at = _DOUBLING
        while high - low > 1:
            values = self._curve.after(looked_at.astype(np.float64), self._start)
            first = int(np.argmax(np.append(values <= threshold, True)))  # reached; the end if none is
            low, high = [low, *looked_at.tolist(), high][first : first + 2]
            stride = max((high - low) // SECTIONS, 1)
            looked_at = np.arange(low + stride, high, stride)
        return self._from_cycle + high

    def changed(self, cycle: int, loss: float, factor: float) -> "CurvePath":
        """The path that from `cycle` on has lost `loss` more and wears `factor` times as fast."""
        start = max(float(self.performance(cycle, 1)[0]) - loss, 0.0)
        return CurvePath(self._curve.faster(factor), cycle, start)


class RandomPath:
    """A random law from `from_cycle` on, a function of `key`: the same whoever looks, and how far ahead.

    It is drawn in blocks of `BLOCK_CYCLES`, each from a stream of its own; of most only the state at the
    start is kept, so a block can be drawn again. After `LOOK_AHEAD_CYCLES_MAX` it is 0.
    """

    def __init__(
        self, process: Process, key: tuple[int, ...], from_cycle: int = 0, start: float = 1.0
    ) -> None:
        self._process, self._key, self._from_cycle = process, key, from_cycle
        self._starts = [start]
        self._drawn: dict[int, FloatArray] = {}

    def performance(self, first_cycle: int, count: int) -> FloatArray:
        """See `CurvePath.performance`."""
        block, offset = divmod(first_cycle - self._from_cycle, BLOCK_CYCLES)
        last = (first_cycle - self._from_cycle + count - 1) // BLOCK_CYCLES
        values = np.concatenate([self._block(number) for number in range(block, last + 1)])
        return np.asarray(np.clip(values[offset : offset + count], 0.0, 1.0))

    def failure_cycle(self, threshold: float) -> int:
        """See `CurvePath.failure_cycle`; looks at most LOOK_AHEAD_CYCLES_MAX ahead, where the path ends."""
        for number in range(_BLOCKS_MAX):
            reached = np.flatnonzero(self._block(number) <= threshold)
            if len(reached):
                return self._from_cycle + number * BLOCK_CYCLES + int(reached[0])
        return self._from_cycle + LOOK_AHEAD_CYCLES_MAX

    def changed(self, cycle: int, loss: float, factor: float) -> "RandomPath":
        """See `CurvePath.changed`; what follows is drawn anew."""
        start = max(float(self.performance(cycle, 1)[0]) - loss, 0.0)
        return RandomPath(self._process.faster(factor), (*self._key, cycle), cycle, start)

    def _block(self, number: int) -> FloatArray:
        for missing in range(len(self._starts), min(number, _BLOCKS_MAX - 1) + 1):
            self._draw(missing - 1)
        if number >= _BLOCKS_MAX or self._starts[number] == 0.0:
            return np.zeros(BLOCK_CYCLES)
        if number not in self._drawn:
            self._draw(number)
        return self._drawn[number]

    def _draw(self, number: int) -> None:
        rng = np.random.Generator(np.random.PCG64([*self._key, number]))
        steps = np.empty(BLOCK_CYCLES + 1)
        steps[0] = self._starts[number]
        steps[1:] = -self._process.losses(rng, BLOCK_CYCLES)
        states = np.add.accumulate(steps)  # one after the other; a sum of its own order would differ
        gone = np.flatnonzero(states <= 0.0)
        states[gone[0] if len(gone) else len(states) :] = 0.0  # nothing comes back from there
        if len(self._starts) == number + 1:
            self._starts.append(float(states[-1]))
        while len(self._drawn) >= BLOCKS_KEPT:  # the first to come are kept
            del self._drawn[min(self._drawn) if min(self._drawn) < number - BLOCKS_KEPT else max(self._drawn)]
        self._drawn[number] = states[:-1]


Path = CurvePath | RandomPath


def path_of(config: Component, decay_scale: float, unit: np.random.Generator, key: tuple[int, ...]) -> Path:
    """The wear of one unit: `decay_scale` times the law's rate, the unit's own constants from `unit`."""
    if config.decay_type in ("exponential", "linear", "weibull", "paris"):
        return CurvePath(_curve(config).faster(decay_scale))
    return RandomPath(_process(config, unit).faster(decay_scale), key)


def _curve(config: Component) -> Exponential | Linear | Weibull | Paris:
    if config.decay_type == "exponential":
        return Exponential(_or(config.lambda_, LAMBDA_DEFAULT))
    if config.decay_type == "linear":
        return Linear(_or(config.slope, SLOPE_DEFAULT))
    if config.decay_type == "weibull":
        return Weibull(_or(config.scale, WEIBULL_SCALE_DEFAULT), _or(config.shape, WEIBULL_SHAPE_DEFAULT))
    return Paris(_or(config.growth, GROWTH_DEFAULT), _or(config.exponent, PARIS_EXPONENT_DEFAULT))


def _process(config: Component, unit: np.random.Generator) -> Wiener | Gamma | Shocks:
    if config.decay_type == "step":
        rate = 1.0 / _or(config.step_cycles, STEP_CYCLES_DEFAULT)
        return Shocks(rate, _or(config.step_size, STEP_SIZE_DEFAULT))
    drift = _or(config.drift, DRIFT_DEFAULT)
    volatility = _or(config.volatility, VOLATILITY_DEFAULT)
    if config.decay_type == "gamma":
        return Gamma.of(drift, volatility)
    spread = _or(config.drift_spread, DRIFT_SPREAD_DEFAULT)
    return Wiener(
        drift * max(1.0 + spread * float(standard_normal(unit, 1)[0]), DRIFT_FACTOR_MIN), volatility
    )


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _bounded(rate: float) -> float:
    return min(rate, RATE_MAX)
