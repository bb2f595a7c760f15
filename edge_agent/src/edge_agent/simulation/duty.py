"""The power that is asked of a reactor, cycle by cycle: load following, frequency control, outages. Pure.

Enters: a seed, a reactor, cycles. Leaves: its load, power over nominal, 0 (an outage) to `LOAD_MAX`; the
same for all of its components, however the cycles are asked for and in every process. Never: state, or a
function that another CPU rounds otherwise.

A cycle is taken for a quarter of an hour, so that a life of some hundred cycles holds several days and an
outage: a model must tell load from wear, and sees both in one history. Wear goes by cycles and does not
pause in an outage: `true_RUL` counts cycles.
"""

import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Daily load cycle: the utilities' requirement on light-water reactors is 100 % down to 50 % in two hours,
# two to ten hours there, and back in two hours (EPRI, Advanced Light Water Reactor Utility Requirements;
# OECD-NEA, Technical and Economic Aspects of Load Following with Nuclear Power Plants, 2011).
DAY_CYCLES = 96
DEPTH_MAX = 0.5  # of nominal
RAMP = 0.0625  # of nominal per cycle: a half in two hours
LOW_CYCLES = (8, 40)  # below full power by the day's depth
FULL_POWER_DAYS = 0.2  # share of the days without a reduction (engineering estimate)

# Frequency control moves the power by 2 % about its schedule (the same OECD-NEA report).
CONTROL = 0.02  # of nominal, either way
CONTROL_CYCLES = 8  # from one demand of the grid to the next (engineering estimate)
LOAD_MAX = 1.0 + CONTROL

# Outages, short ones: down at the daily ramp, repair at hot standby, up as fast as fuel that ran before
# may go (some 10 % an hour); then a day at least in service, as after the overhaul at cycle 0. How often
# and how long: engineering estimates; one in about 500 cycles.
EPOCH_CYCLES = 384  # at most one in each, its ramps included
OUTAGE_SHARE = 0.75  # of the epochs
OUTAGE_CYCLES = (8, 32)  # at no power
START_UP = 0.03  # of nominal per cycle

BLOCK_CYCLES = 4_096  # worked out and kept at a time: a cycle asked for alone costs no more than a slice
BLOCKS_KEPT = 64  # 32 KiB each
_DRAWS = 7  # independent numbers: streams of `_chance`


class Duty:
    """The load of one reactor under one seed."""

    def __init__(self, random_seed: int, site_id: str, reactor_id: str) -> None:
        key = zlib.crc32(f"{site_id}/{reactor_id}".encode())
        state = np.random.SeedSequence([random_seed, key]).generate_state(_DRAWS, np.uint64)
        self._keys = tuple(int(word) for word in state)

    def load(self, first_cycle: int, count: int) -> FloatArray:
        """Power over nominal, shape `(count,)`, at the cycles from `first_cycle` (not negative) on."""
        block, offset = divmod(first_cycle, BLOCK_CYCLES)
        last = (first_cycle + count - 1) // BLOCK_CYCLES
        if block == last:
            return _block(self._keys, block)[offset : offset + count]
        blocks = [_block(self._keys, number) for number in range(block, last + 1)]
        return np.concatenate(blocks)[offset : offset + count]


@lru_cache(maxsize=BLOCKS_KEPT)
def _block(keys: tuple[int, ...], number: int) -> FloatArray:
    depth, low_from, low_cycles, control, outage, outage_from, outage_cycles = keys
    first = number * BLOCK_CYCLES
    cycles = np.arange(first, first + BLOCK_CYCLES, dtype=np.int64)
    scheduled = _scheduled(depth, low_from, low_cycles, cycles) + _control(control, cycles)
    found = np.minimum(scheduled, _available(outage, outage_from, outage_cycles, cycles))
    found.flags.writeable = False  # it is handed out more than once
    return found


def _scheduled(depth: int, low_from: int, low_cycles: int, cycles: NDArray[np.int64]) -> FloatArray:
    """Full power but for one reduction a day, of that day's depth, beginning and length."""
    day = cycles // DAY_CYCLES
    within = (cycles - day * DAY_CYCLES).astype(np.float64)
    deep = np.maximum((_chance(depth, day) - FULL_POWER_DAYS) * (DEPTH_MAX / (1.0 - FULL_POWER_DAYS)), 0.0)
    shortest, longest = LOW_CYCLES
    ramps = 2.0 * DEPTH_MAX / RAMP
    lasts = ramps + shortest + (longest - shortest) * _chance(low_cycles, day)
    start = (DAY_CYCLES - lasts) * _chance(low_from, day)
    down, up = RAMP * (within - start), RAMP * (start + lasts - within)
    return 1.0 - np.maximum(np.minimum(np.minimum(down, up), deep), 0.0)


def _control(key: int, cycles: NDArray[np.int64]) -> FloatArray:
    """Straight from one demand of the grid to the next."""
    knot = cycles // CONTROL_CYCLES
    share = (cycles - knot * CONTROL_CYCLES).astype(np.float64) / CONTROL_CYCLES
    here, there = _chance(key, knot), _chance(key, knot + 1)
    return CONTROL * (2.0 * (here + (there - here) * share) - 1.0)


def _available(outage: int, outage_from: int, outage_cycles: int, cycles: NDArray[np.int64]) -> FloatArray:
    """What an outage leaves: nothing from its start to its end, and ramps without bound on both sides."""
    epoch = cycles // EPOCH_CYCLES
    within = (cycles - epoch * EPOCH_CYCLES).astype(np.float64)
    shortest, longest = OUTAGE_CYCLES
    lasts = shortest + (longest - shortest) * _chance(outage_cycles, epoch)
    down, up = LOAD_MAX / RAMP, LOAD_MAX / START_UP
    earliest, latest = DAY_CYCLES + down, EPOCH_CYCLES - up - lasts
    start = earliest + (latest - earliest) * _chance(outage_from, epoch)
    left = np.maximum(np.maximum(RAMP * (start - within), START_UP * (within - start - lasts)), 0.0)
    return np.where(_chance(outage, epoch) < OUTAGE_SHARE, left, LOAD_MAX)


def _chance(key: int, numbers: NDArray[np.int64]) -> FloatArray:
    """A number in [0, 1) for each of `numbers`, which do not fall: so each is drawn once and repeated.

    The n-th output of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
    """
    first = numbers[0]
    bits = np.arange(first + 1, numbers[-1] + 2).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits += np.uint64(key)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    drawn = (bits >> np.uint64(11)).astype(np.float64) * (1.0 / 2**53)
    return np.asarray(drawn[numbers - first])
