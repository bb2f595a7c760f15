"""Normal and gamma random numbers with the same bits on every machine of one architecture.

NumPy's uniform numbers are integer arithmetic and one product. Its normal ones (the ziggurat of Marsaglia
and Tsang, J. Stat. Softw. 5, 2000) are a product of table and integer too, but for the tail, where the C
library's log1p gives the value, and its exp decides whether a number near a layer's edge is taken. C
libraries differ there in the last bit, even one with itself on another CPU. So numbers of the tail are
rounded to `TAIL_STEP` here. What is left is chance: that a last bit decides, with a probability below
1e-15 a number. NumPy's gamma numbers are the C library's pow and log throughout, and are not used.
"""

import numpy as np
from numpy.typing import NDArray

from edge_agent.simulation.physics.elementary import FloatArray, exp, log

TAIL = 3.6541528853610088  # where NumPy's ziggurat ends and its tail begins; one number in 3,900 is beyond
TAIL_STEP = 1.0 / 1_024.0  # of a standard deviation: far under what any tag resolves
CANDIDATES_SHARE, CANDIDATES_MORE = 1.08, 16  # drawn at once: 95 % and more are accepted
SQUEEZE = 0.0331  # of the fourth power: below it a gamma candidate needs no logarithm


def standard_normal(rng: np.random.Generator, shape: int | tuple[int, ...]) -> FloatArray:
    """Independent standard normal numbers, shape `shape`; as many as one call or several draw."""
    numbers = rng.standard_normal(shape)
    flat = numbers.reshape(-1)
    tail = np.flatnonzero(np.abs(flat) > TAIL)
    flat[tail] = np.rint(flat[tail] / TAIL_STEP) * TAIL_STEP
    return numbers


def standard_gamma(rng: np.random.Generator, shape: float, count: int) -> FloatArray:
    """`count` independent gamma numbers of `shape` > 0 and scale 1.

    By rejection from the cube of a normal number (Marsaglia and Tsang, ACM Trans. Math. Softw. 26, 2000);
    below shape 1 as those of shape + 1 times U^(1 / shape), from the same paper.
    """
    if shape < 1.0:
        grown = standard_gamma(rng, shape + 1.0, count)
        return grown * exp(log(1.0 - rng.random(count)) / shape)
    centre = shape - 1.0 / 3.0
    width = 1.0 / float(np.sqrt(9.0 * centre))
    numbers = np.empty(0)
    while len(numbers) < count:
        candidates = int((count - len(numbers)) * CANDIDATES_SHARE) + CANDIDATES_MORE
        normal, uniform = standard_normal(rng, candidates), 1.0 - rng.random(candidates)
        root = 1.0 + width * normal
        cube = root * root * root
        numbers = np.append(numbers, centre * cube[_accepted(normal, uniform, cube, centre)])
    return numbers[:count]


def _accepted(normal: FloatArray, uniform: FloatArray, cube: FloatArray, centre: float) -> NDArray[np.bool_]:
    square = normal * normal
    taken = (cube > 0.0) & (uniform < 1.0 - SQUEEZE * square * square)
    doubtful = np.flatnonzero((cube > 0.0) & ~taken)
    rest = cube[doubtful]
    log_uniform, log_rest = log(np.stack([uniform[doubtful], rest]))
    taken[doubtful] = log_uniform < 0.5 * square[doubtful] + centre * (1.0 - rest + log_rest)
    return taken
