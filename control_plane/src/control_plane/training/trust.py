"""What a manifest says beside the graph, so that its numbers can be explained: what is normal of each tag."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from control_plane.training.histories import Unit
from shared.features import FeatureSpec
from shared.normal import regimes_of
from shared.operation import rows_in_operation
from shared.reactor_config import Tag
from shared.schemas import TagReference
from shared.sensors import STUCK_ROWS_MIN

Floats = NDArray[np.float32]


def tag_references(
    units: Sequence[Unit], spec: FeatureSpec, tags: Mapping[str, Tag]
) -> dict[str, TagReference]:
    """What is usual of every tag by operating regime, from the normal cycles of training units.

    What was read at a standstill is left out. All cycles serve where a tag has no good value in normal
    ones, all regimes where it has none in one. ValueError names a tag that no unit has a good value of.
    """
    histories = [rows_in_operation(unit.values, unit.operating, spec) for unit in units]
    rows = np.concatenate(histories)
    normal = np.concatenate([unit.normal for unit in units])
    regimes = regimes_of(rows, spec)
    count = len(spec.normalisation.centres) if spec.normalisation else 1
    return {
        tag: TagReference(
            unit=tags[tag].unit,
            stands_still=any(_stands_still(values[:, column]) for values in histories),
            **_usual(tag, rows[:, column].astype(np.float64), normal, regimes, count),
        )
        for column, tag in enumerate(spec.tags)
    }


def _usual(
    tag: str, values: NDArray[np.float64], normal: NDArray[np.bool_], regimes: NDArray[np.intp], count: int
) -> dict[str, Any]:
    """`normal` by regime and `spread` around it."""
    good = np.isfinite(values)
    if not good.any():
        raise ValueError(f"no training unit has a good value of {tag}; leave the tag out")
    chosen = good & normal if (good & normal).any() else good
    means = np.full(count, values[chosen].mean())
    for regime in range(count):
        if (part := chosen & (regimes == regime)).any():
            means[regime] = values[part].mean()
    spread = np.sqrt(np.mean((values[chosen] - means[regimes[chosen]]) ** 2))
    return {"normal": tuple(means.tolist()), "spread": float(spread)}


def _stands_still(values: Floats) -> bool:
    """Whether a sound sensor gave one value for as long as would count as stuck."""
    return longest_run(values[np.isfinite(values)]) >= STUCK_ROWS_MIN


def longest_run(values: Floats) -> int:
    """The most consecutive rows of one value."""
    if not len(values):
        return 0
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1], [True]]))
    return int(np.diff(starts).max())
