"""A component's measurement noise: a function of cycle and tag, however the cycles are cut."""

import numpy as np

from edge_agent.simulation.components import FloatArray
from edge_agent.simulation.physics.chance import standard_normal

BLOCK_CYCLES = 256  # drawn at a time, tag by tag; with 9 tags 18 KB are kept of each component
BLOCKS_AT_ONCE = 8  # drawn before they are put in their place: they stay in a core's cache


class Noise:
    """Standard normal numbers, in blocks of cycles from one stream. Asked for in order, each cycle once."""

    def __init__(self, rng: np.random.Generator, tags: int) -> None:
        self._rng, self._tags = rng, tags
        self._blocks_drawn = 0
        self._last = np.empty((tags, BLOCK_CYCLES))

    def columns(self, first_cycle: int, count: int) -> FloatArray:
        """Shape `(tags, count)`, of `count` cycles from `first_cycle` on. Not to be written to."""
        block, offset = divmod(first_cycle, BLOCK_CYCLES)
        end = -(-(first_cycle + count) // BLOCK_CYCLES)
        known = self._blocks_drawn - block  # 1 where the last block is not used up, else 0
        if end == self._blocks_drawn:
            return self._last[:, offset : offset + count]
        whole = np.empty((self._tags, end - block, BLOCK_CYCLES))
        if known:
            whole[:, 0] = self._last
        for place in range(known, end - block, BLOCKS_AT_ONCE):
            blocks = min(BLOCKS_AT_ONCE, end - block - place)
            drawn = standard_normal(self._rng, (blocks, self._tags, BLOCK_CYCLES))
            whole[:, place : place + blocks] = drawn.transpose(1, 0, 2)
        self._blocks_drawn, self._last = end, drawn[-1].copy()
        return whole.reshape(self._tags, -1)[:, offset : offset + count]
