"""Training data: histories of units, as windows.

A *unit* is one component from its start to its end: the smallest thing that may be held out, because
neighbouring windows of one unit nearly repeat each other.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from control_plane.training.dataset import is_dataset, read_dataset, read_info
from control_plane.training.history_rows import histories
from control_plane.training.source_tables import (
    PLACE,
    Source,
    check_seen,
    delimiter_of,
    read_source,
    require_columns,
)
from shared.errors import ConfigError
from shared.features import FeatureSpec
from shared.operation import rows_in_operation, standstills
from shared.reactor_config import Tag
from shared.window_buffer import MIN_CYCLES

NO_TAGS: Mapping[str, float] = {}
MIN_ROWS = MIN_CYCLES  # the agent scores from the tenth reading on; so does training

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Unit:
    """One history: `values` `(n, T)` in the spec's order; `rul` `(n,)` in cycles, or None without labels.

    `normal` `(n,)` marks cycles without a fault and with at least `NORMAL_PERFORMANCE_MIN`. `operating` is
    `Manifest.operating`: what it stood still below.
    """

    name: str
    values: Floats
    rul: Floats | None
    normal: NDArray[np.bool_]
    operating: Mapping[str, float] = field(default_factory=dict)


def load_units(
    path: Path,
    tags: dict[str, Tag],
    rows_per_file: int | None = None,
    component_type: str | None = None,
    operating: Mapping[str, float] = NO_TAGS,
) -> list[Unit]:
    """The units of a table (`edge-agent simulate`), a built data set, or a folder of recordings (one a file).

    `rows_per_file` keeps the first rows of each recording, all taken as normal. ConfigError names the
    file, what is wrong with it and what would be right: a missing column, no row at all, a tag or a unit
    without any number, a unit that never fails, a data set of another type.
    """
    if path.is_dir() and not is_dataset(path):
        units = _recordings(path, tags, rows_per_file)
        return [replace(unit, operating=operating) for unit in units]
    units = _built(path, tags, component_type) if path.is_dir() else _table(path, tags)
    long = [replace(unit, operating=operating) for unit in units if len(unit.values) >= MIN_ROWS]
    if not long:
        raise ConfigError(
            str(path), [f"no unit has {MIN_ROWS} cycles; a window that can be scored has no fewer"]
        )
    return long


def data_version(path: Path) -> str:
    """A built data set's own hash; else SHA-256 over the file, or every file of the folder in order."""
    if is_dataset(path):
        return read_info(path).sha256
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()


def windows(unit: Unit, spec: FeatureSpec, stride: int = 1) -> tuple[Floats, NDArray[np.intp]]:
    """Raw windows `(N, W, T)` that end at rows MIN_ROWS-1, ... and those rows; padded with NaN in front.

    As the agent has them: without what was read at a standstill, and without those of which a standstill
    leaves nothing to say.
    """
    width = spec.window_cycles
    padded = np.vstack([np.full((width - 1, unit.values.shape[1]), np.nan, np.float32), unit.values])
    ends = np.arange(MIN_ROWS - 1, len(unit.values), stride)
    every = np.lib.stride_tricks.sliding_window_view(padded, width, axis=0)[ends]
    raw = np.ascontiguousarray(every.transpose(0, 2, 1))
    told = np.array([each is None for each in standstills(raw, unit.operating, spec)], bool)
    return rows_in_operation(raw[told], unit.operating, spec), ends[told]


def hold_out(units: Sequence[Unit], fraction: float, seed: int) -> tuple[list[Unit], list[Unit]]:
    """`(kept, held out)`: whole units, at least one each, chosen by the seed."""
    order = np.random.default_rng(seed).permutation(len(units))
    count = max(1, round(len(units) * fraction))
    return [units[i] for i in order[count:]], [units[i] for i in order[:count]]


def _table(path: Path, tags: dict[str, Tag]) -> list[Unit]:
    """A file's units, by site, reactor, component and run."""
    rows = read_source(Source(path), list(tags), (), ())
    check_seen({tag: rows.num_rows - rows[tag].null_count for tag in tags}, str(path))
    names = [pc.fill_null(rows[name], "unknown") for name in PLACE]
    keys = pc.binary_join_element_wise(*names, "/")
    return [
        Unit(found.name, found.values, found.rul, found.status == "normal")
        for key in pc.unique(keys).to_pylist()
        for found in histories(rows.filter(pc.equal(keys, key)), list(tags), str(path))
    ]


def _built(path: Path, tags: dict[str, Tag], component_type: str | None) -> list[Unit]:
    """A data set's units, as they were built."""
    info = read_info(path)
    wanted = component_type or info.component_type
    if info.component_type != wanted or info.feature_spec.tags != tuple(tags):
        raise ConfigError(
            str(path),
            [
                f"is a data set of {info.component_type} with the tags {', '.join(info.feature_spec.tags)}; "
                f"expected {wanted} with {', '.join(tags)}"
            ],
        )
    units = []
    for table in read_dataset(path):
        runs = pc.unique(table["run"]).to_pylist()
        units += [_unit(table.filter(pc.equal(table["run"], run)), tags, run) for run in runs]
    return units


def _unit(rows: pa.Table, tags: dict[str, Tag], run: int) -> Unit:
    values = np.column_stack([rows[tag].to_numpy() for tag in tags]).astype(np.float32)
    name = "/".join(rows[column][0].as_py() for column in PLACE)
    normal = np.array(pc.equal(rows["component_status"], "normal"), bool)
    return Unit(f"{name} run {run}", values, rows["true_RUL"].to_numpy(), normal)


def _recordings(path: Path, tags: dict[str, Tag], rows: int | None) -> list[Unit]:
    files = sorted(path.glob("*.csv"), key=lambda p: (len(p.stem), p.stem))
    if not files:
        raise ConfigError(
            str(path), ["holds neither a built data set nor a .csv file; see `control-plane dataset build`"]
        )
    return [_recording(file, tags, rows) for file in files]


def _recording(path: Path, tags: dict[str, Tag], rows: int | None) -> Unit:
    try:
        table = pd.read_csv(path, sep=delimiter_of(path), nrows=rows, float_precision="round_trip")
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), [f"cannot be read as a table: {error}"]) from error
    columns = [tag.column or name for name, tag in tags.items()]
    require_columns(path, list(table.columns), columns)
    if table.empty:
        raise ConfigError(str(path), ["has no row; leave it out"])
    values = table[columns].to_numpy(np.float32)
    return Unit(path.stem, values, None, np.ones(len(values), bool))
