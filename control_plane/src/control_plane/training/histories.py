"""Training data: histories of units, as windows.

A *unit* is one component from its start to its end: the smallest thing that may be held out, because
neighbouring windows of one unit nearly repeat each other.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shared.errors import ConfigError
from shared.features import FeatureSpec
from shared.reactor_config import Tag

MIN_ROWS = 10  # the agent scores from the tenth reading on; so does training
NORMAL_PERFORMANCE_MIN = 0.5  # wear down to here is the life an operator calls normal

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Unit:
    """One history: `values` `(n, T)` in the spec's order; `rul` `(n,)` in cycles, or None without labels.

    `normal` `(n,)` marks cycles without a fault and with at least `NORMAL_PERFORMANCE_MIN`.
    """

    name: str
    values: Floats
    rul: Floats | None
    normal: NDArray[np.bool_]


def load_units(path: Path, tags: dict[str, Tag], rows_per_file: int | None = None) -> list[Unit]:
    """The units of a table (`edge-agent simulate`) or of a folder of recordings (one a file).

    `rows_per_file` keeps the first rows of each recording, all taken as normal. ConfigError names the
    file and the columns that are missing.
    """
    if path.is_dir():
        files = sorted(path.glob("*.csv"), key=lambda p: (len(p.stem), p.stem))
        if not files:
            raise ConfigError(str(path), ["holds no .csv file; give a folder of recordings"])
        return [_recording(file, tags, rows_per_file) for file in files]
    table = _read(path, None)
    _require(path, table, [*tags, "run", "true_RUL", "performance"])
    return [_simulated(str(run), part, list(tags)) for run, part in table.groupby("run", sort=True)]


def data_version(path: Path) -> str:
    """SHA-256 over the bytes of the file, or of every file of the folder in order, in hex."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()


def windows(unit: Unit, spec: FeatureSpec, stride: int = 1) -> tuple[Floats, NDArray[np.intp]]:
    """Raw windows `(N, W, T)` that end at rows MIN_ROWS-1, ... and those rows; padded with NaN in front."""
    width = spec.window_cycles
    padded = np.vstack([np.full((width - 1, unit.values.shape[1]), np.nan, np.float32), unit.values])
    ends = np.arange(MIN_ROWS - 1, len(unit.values), stride)
    every = np.lib.stride_tricks.sliding_window_view(padded, width, axis=0)[ends]
    return np.ascontiguousarray(every.transpose(0, 2, 1)), ends


def hold_out(units: Sequence[Unit], fraction: float, seed: int) -> tuple[list[Unit], list[Unit]]:
    """`(kept, held out)`: whole units, at least one each, chosen by the seed."""
    order = np.random.default_rng(seed).permutation(len(units))
    count = max(1, round(len(units) * fraction))
    return [units[i] for i in order[count:]], [units[i] for i in order[:count]]


def _simulated(name: str, part: pd.DataFrame, tags: list[str]) -> Unit:
    part = part.sort_values("cycle")
    healthy = part["fault"].isna() if "fault" in part else True
    normal = (part["performance"] >= NORMAL_PERFORMANCE_MIN) & healthy
    rul = part["true_RUL"].to_numpy(np.float32)
    return Unit(name, part[tags].to_numpy(np.float32), rul, normal.to_numpy(bool))


def _recording(path: Path, tags: dict[str, Tag], rows: int | None) -> Unit:
    table = _read(path, rows)
    columns = [tag.column or name for name, tag in tags.items()]
    _require(path, table, columns)
    values = table[columns].to_numpy(np.float32)
    return Unit(path.stem, values, None, np.ones(len(values), bool))


def _read(path: Path, rows: int | None) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, sep=None, engine="python", nrows=rows)
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), [f"cannot be read as a table: {error}"]) from error


def _require(path: Path, table: pd.DataFrame, columns: list[str]) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        found = ", ".join(map(str, table.columns))
        raise ConfigError(
            str(path), [f"column {name!r} is missing; the file has {found}" for name in missing]
        )
