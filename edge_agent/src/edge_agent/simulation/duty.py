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

# Worked out and kept at a time, in whole epochs, days and demands of the grid, which broadcasting then
# spreads over their cycles; a cycle asked for alone costs no more than a slice.
BLOCK_CYCLES = 15 * EPOCH_CYCLES
BLOCKS_KEPT = 64  # 45 KiB each
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
    found = _scheduled(keys[:3], number).reshape(-1)
    found += _control(keys[3], number).reshape(-1)
    np.minimum(found, _available(keys[4:], number).reshape(-1), out=found)
    found.flags.writeable = False  # it is handed out more than once
    return found


def _scheduled(keys: tuple[int, ...], block: int) -> FloatArray:
    """Full power but for one reduction a day, of that day's depth, beginning and length; a row a day."""
    depth, begins, length = _chance(keys, *_spans(block, DAY_CYCLES))
    deep = np.maximum((depth - FULL_POWER_DAYS) * (DEPTH_MAX / (1.0 - FULL_POWER_DAYS)), 0.0)
    shortest, longest = LOW_CYCLES
    lasts = 2.0 * DEPTH_MAX / RAMP + shortest + (longest - shortest) * length
    start = (DAY_CYCLES - lasts) * begins
    within = np.arange(DAY_CYCLES, dtype=np.float64)
    found: FloatArray = np.minimum(within - start, start + lasts - within)
    found *= RAMP
    np.minimum(found, deep, out=found)
    np.maximum(found, 0.0, out=found)
    np.subtract(1.0, found, out=found)
    return found


def _control(key: int, block: int) -> FloatArray:
    """Straight from one demand of the grid to the next; a row a demand."""
    first, demands = _spans(block, CONTROL_CYCLES)
    (drawn,) = _chance((key,), first, demands + 1)
    here, there = drawn[:-1].T, drawn[1:].T
    share = (np.arange(CONTROL_CYCLES, dtype=np.float64) / CONTROL_CYCLES).reshape(-1, 1)
    found: FloatArray = (there - here) * share
    found += here
    found *= 2.0
    found -= 1.0
    found *= CONTROL
    return found.T


def _available(keys: tuple[int, ...], block: int) -> FloatArray:
    """What an outage leaves: nothing from its start to its end, and ramps without bound on both sides."""
    happens, begins, length = _chance(keys, *_spans(block, EPOCH_CYCLES))
    shortest, longest = OUTAGE_CYCLES
    lasts = shortest + (longest - shortest) * length
    down, up = LOAD_MAX / RAMP, LOAD_MAX / START_UP
    earliest, latest = DAY_CYCLES + down, EPOCH_CYCLES - up - lasts
    start = earliest + (latest - earliest) * begins
    after = np.arange(EPOCH_CYCLES, dtype=np.float64) - start
    found: FloatArray = RAMP * -after
    after -= lasts
    after *= START_UP
    np.maximum(found, after, out=found)
    np.maximum(found, 0.0, out=found)
    found[happens.reshape(-1) >= OUTAGE_SHARE] = LOAD_MAX
    return found


def _spans(block: int, cycles: int) -> tuple[int, int]:
    """The first of a block's spans of so many cycles, and how many there are."""
    spans = BLOCK_CYCLES // cycles
    return block * spans, spans


def _chance(keys: tuple[int, ...], first: int, count: int) -> FloatArray:
    """Numbers in [0, 1), shape `(len(keys), count, 1)`: of each key those from `first` on.

    The n-th output of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
    """
    bits = np.arange(first + 1, first + count + 1).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = bits + np.array(keys, dtype=np.uint64).reshape(-1, 1)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    drawn = (bits >> np.uint64(11)).astype(np.float64) * (1.0 / 2**53)
    return drawn.reshape(len(keys), count, 1)
