"""What a manifest says beside the graph, so that its numbers can be judged: margins, and what is normal."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from control_plane.training.conformal import calibrate
from control_plane.training.evaluate import outputs_of
from control_plane.training.histories import Unit
from shared.features import FeatureSpec
from shared.reactor_config import Tag
from shared.schemas import Calibration, TagReference
from shared.sensors import STUCK_ROWS_MIN

Floats = NDArray[np.float32]


def calibrated(
    model: bytes,
    units: Sequence[Unit],
    spec: FeatureSpec,
    names: Sequence[str],
    horizon: float,
    coverage: float,
) -> Calibration | None:
    """Margins from every window of units that were not trained on, through the shipped bytes.

    None where the release has no RUL.
    """
    if "rul" not in names:
        return None
    found = [(unit, outputs_of(model, unit, spec, names)) for unit in units]
    truth = [unit.rul[o["rows"].astype(int)] for unit, o in found if unit.rul is not None]
    number = np.repeat(np.arange(len(truth)), [len(part) for part in truth])
    predicted = np.concatenate([o["rul"] for _, o in found])
    return calibrate(predicted, np.concatenate(truth), number, horizon, coverage)


def tag_references(
    units: Sequence[Unit], spec: FeatureSpec, tags: Mapping[str, Tag]
) -> dict[str, TagReference]:
    """What is usual of every tag, from the normal cycles of training units (all cycles where none is normal).

    ValueError names a tag that no unit has a good value of.
    """
    return {
        tag: _reference(
            tag, [unit.values[:, column] for unit in units], [u.normal for u in units], tags[tag].unit
        )
        for column, tag in enumerate(spec.tags)
    }


def _reference(
    tag: str, histories: Sequence[Floats], normal: Sequence[NDArray[np.bool_]], unit: str
) -> TagReference:
    good = [np.isfinite(values) for values in histories]
    usual = np.concatenate([v[g & n] for v, g, n in zip(histories, good, normal, strict=True)])
    if not len(usual):
        usual = np.concatenate([v[g] for v, g in zip(histories, good, strict=True)])
    if not len(usual):
        raise ValueError(f"no training unit has a good value of {tag}; leave the tag out")
    still = any(longest_run(v[g]) >= STUCK_ROWS_MIN for v, g in zip(histories, good, strict=True))
    mean, std = float(usual.mean(dtype=np.float64)), float(usual.std(dtype=np.float64))
    return TagReference(unit=unit, normal=(mean,), spread=std, stands_still=still)


def longest_run(values: Floats) -> int:
    """The most consecutive rows of one value."""
    if not len(values):
        return 0
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1], [True]]))
    return int(np.diff(starts).max())
