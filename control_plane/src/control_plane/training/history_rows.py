"""One component's rows to its histories: ordered, without holes, labelled. Pure; both engines call it.

Cycles that no poll saw become rows without a number, as they do in the agent's window.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from control_plane.training.source_tables import PLACE, Failures
from shared.errors import ConfigError

GAP_CYCLES_MAX = 1000  # a longer hole is no missed poll: the counter was set back, or two units are mixed
NORMAL_PERFORMANCE_MIN = 0.5  # wear down to here is the life an operator calls normal
NORMAL_LIFE_FRACTION = 0.5  # where nobody recorded the wear: the first half of a life counts as normal

Floats = NDArray[np.float32]


class History(NamedTuple):
    """One component from its start to its failure; n consecutive cycles, T tags.

    `values` float32 `(n, T)`, NaN where bad; `rul` float32 `(n,)` in cycles; `status` `(n,)`: normal,
    worn, faulty or failed.
    """

    place: tuple[str, str, str]
    run: int
    cycle: NDArray[np.int64]
    values: Floats
    rul: Floats
    status: NDArray[np.str_]

    @property
    def name(self) -> str:
        return f"{'/'.join(self.place)} run {self.run}"


def histories(
    rows: pa.Table,
    tags: Sequence[str],
    source: str,
    failures: Failures | None = None,
    *,
    leave_out: bool = False,
) -> Iterator[History]:
    """Each run of one component, in order. `rows` are of `source_schema`, of one component.

    With `failures`, a life ends at each of them, and the next run begins behind it. ConfigError for a
    cycle that is there twice, a hole beyond GAP_CYCLES_MAX, a unit without any number, and a unit that
    never fails, which `leave_out` leaves out instead.
    """
    empty = [name for name in ("run", "cycle") if rows[name].null_count]
    if empty:
        raise ConfigError(
            source, [f"column {name!r} is empty in some rows; each needs one" for name in empty]
        )
    order = np.lexsort((_numbers(rows, "cycle"), _numbers(rows, "run")))
    rows = rows.take(pa.array(order))
    place = _place(rows)
    cycles = _numbers(rows, "cycle").astype(np.int64)
    run, rul = _numbers(rows, "run").astype(np.int64), _numbers(rows, "true_RUL")
    if failures is not None:
        ends = failures.get(place, np.empty(0, np.int64))
        run = np.searchsorted(ends, cycles)
        rul = np.append(ends, -1).astype(np.float64)[run] - cycles
        rul[run == len(ends)] = np.nan
    for number in np.unique(run):
        at = run == number
        name = f"{'/'.join(place)} run {number}"
        if np.isnan(rul[at]).any():
            if leave_out:
                continue
            raise ConfigError(source, [_unlabelled(name, rul[at])])
        yield _history(rows.filter(pa.array(at)), tags, source, (place, int(number), cycles[at], rul[at]))


def _history(
    rows: pa.Table,
    tags: Sequence[str],
    source: str,
    known: tuple[tuple[str, str, str], int, NDArray[np.int64], NDArray[np.float64]],
) -> History:
    place, run, cycles, rul = known
    name = f"{'/'.join(place)} run {run}"
    _check_cycles(cycles, name, source)
    values = np.column_stack([_numbers(rows, tag) for tag in tags]).astype(np.float32)
    if not np.isfinite(values).any():
        raise ConfigError(source, [f"{name} has no number in any row of {', '.join(tags)}; leave it out"])
    status = _status(rows, rul)
    whole = np.arange(cycles[0], cycles[-1] + 1)
    before = np.searchsorted(cycles, whole, side="right") - 1  # the last row that was seen
    missed = cycles[before] != whole
    filled = values[before]
    filled[missed] = np.nan
    lived = (whole - cycles[before]).astype(np.float64)
    left = np.maximum(rul[before] - lived, 0).astype(np.float32)
    return History(place, run, whole, filled, left, status[before])


def _status(rows: pa.Table, rul: NDArray[np.float64]) -> NDArray[np.str_]:
    performance = _numbers(rows, "performance")
    faulty = np.array(rows["fault"].is_valid(), bool)
    life = rul.max() if len(rul) else 0.0
    early = rul >= NORMAL_LIFE_FRACTION * life
    normal = np.where(np.isnan(performance), early, performance >= NORMAL_PERFORMANCE_MIN)
    return np.select([faulty, normal, rul <= 0], ["faulty", "normal", "failed"], "worn")


def _check_cycles(cycles: NDArray[np.int64], name: str, source: str) -> None:
    steps = np.diff(cycles)
    twice = np.flatnonzero(steps == 0)
    if len(twice):
        raise ConfigError(
            source,
            [f"{name} has cycle {cycles[twice[0]]} twice; give each life a `run` of its own, and a row once"],
        )
    far = np.flatnonzero(steps > GAP_CYCLES_MAX)
    if len(far):
        a, b = cycles[far[0]], cycles[far[0] + 1]
        raise ConfigError(
            source,
            [f"{name} jumps from cycle {a} to {b}; at most {GAP_CYCLES_MAX} may be missing: split the run"],
        )


def _unlabelled(name: str, rul: NDArray[np.float64]) -> str:
    return (
        f"{name} never fails: {int(np.isnan(rul).sum())} of {len(rul)} rows have no true_RUL; record its "
        "failure with --failures, or leave such units out with --leave-out-unfailed"
    )


def _place(rows: pa.Table) -> tuple[str, str, str]:
    site_id, reactor_id, component = (str(rows[name][0].as_py() or "unknown") for name in PLACE)
    return site_id, reactor_id, component


def _numbers(rows: pa.Table, name: str) -> NDArray[np.float64]:
    """A column as float64, NaN where it is null."""
    found: NDArray[np.float64] = rows[name].to_numpy().astype(np.float64)
    return found
