"""SKAB's recordings of a pump rig (Katser and Kozitsin 2020), read with its protocol's split."""

from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shared.errors import ConfigError

SENSORS = (
    "Accelerometer1RMS",
    "Accelerometer2RMS",
    "Current",
    "Pressure",
    "Temperature",
    "Thermocouple",
    "Voltage",
    "Volume Flow RateRMS",
)
LABEL = "anomaly"
WITHOUT_LABELS = "anomaly-free"  # name of the recording that is no test
CHECKSUMS = "skab_checksums.txt"  # of the published files that this project has seen
VALUE_MAX = 1e9  # in any sensor's unit; no sensor of the rig comes near
FILE_BYTES_MAX = 64 * 2**20  # the published files have 0.1 MB

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Recording:
    """One file: `training` `(train_rows, S)`, then `test` `(n, S)` and its labels `anomalous` `(n,)`.

    The labels of the training rows are not read at all.
    """

    name: str
    training: Floats
    test: Floats
    anomalous: NDArray[np.bool_]
    checksum: str


def load_recordings(folder: Path, train_rows: int) -> list[Recording]:
    """Every labelled recording below `folder`, by name; ConfigError names each file that cannot be used."""
    if not folder.is_dir():
        raise ConfigError(str(folder), ["is not a folder; give SKAB's data folder (valve1, valve2, other)"])
    files = [file for file in sorted(folder.rglob("*.csv"), key=_order) if WITHOUT_LABELS not in file.stem]
    if not files:
        raise ConfigError(
            str(folder), ["holds no labelled .csv recording; give SKAB's data folder (valve1, valve2, other)"]
        )
    recordings, problems = [], []
    for file in files:
        try:
            recordings.append(_recording(file, folder, train_rows))
        except ValueError as error:
            problems.append(f"{file.relative_to(folder)}: {error}")
    if problems:
        raise ConfigError(str(folder), problems)
    return recordings


def checksum_states(recordings: list[Recording]) -> dict[str, int]:
    """How many recordings are the published bytes, are other bytes of that name, or are not known here."""
    text = resources.files("control_plane.training").joinpath(CHECKSUMS).read_text()
    known = {name: digest for digest, name in (line.split(maxsplit=1) for line in text.splitlines())}
    states = {"verified": 0, "differ": 0, "unknown": 0}
    for recording in recordings:
        expected = known.get("/".join(Path(recording.name).parts[-2:]))
        same = "verified" if expected == recording.checksum else "differ"
        states["unknown" if expected is None else same] += 1
    return states


def _order(file: Path) -> tuple[str, int, str]:
    return str(file.parent), len(file.stem), file.stem


def _recording(file: Path, folder: Path, train_rows: int) -> Recording:
    data = _bytes(file)
    table = _table(data)
    missing = [name for name in (*SENSORS, LABEL) if name not in table.columns]
    if missing:
        found = ", ".join(map(str, table.columns))
        raise ValueError(f"column {missing[0]!r} is missing; the file has {found}")
    if len(table) <= train_rows:
        raise ValueError(f"has {len(table)} rows; more than {train_rows} are needed, which train")
    values = np.column_stack([_numbers(table, name) for name in SENSORS])
    if not np.ptp(values[:train_rows], axis=0).any():
        raise ValueError(f"no sensor moves in the first {train_rows} rows; there is nothing to learn")
    labels = _numbers(table[train_rows:], LABEL)
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"column {LABEL!r} holds {labels[~np.isin(labels, (0, 1))][0]:g}; 0 or 1 is right")
    name = f"{folder.resolve().name}/{file.relative_to(folder).as_posix()}"
    return Recording(name, values[:train_rows], values[train_rows:], labels == 1, sha256(data).hexdigest())


def _bytes(file: Path) -> bytes:
    try:
        size = file.stat().st_size
        if size > FILE_BYTES_MAX:
            raise ValueError(f"has {size} bytes; at most {FILE_BYTES_MAX} are read")
        return file.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error


def _table(data: bytes) -> pd.DataFrame:
    """The text as a table; every cell is text, so that a wrong one can be named."""
    try:
        table = pd.read_csv(BytesIO(data), sep=";", dtype=str, keep_default_na=False, index_col=False)
    except (
        ValueError,
        pd.errors.ParserWarning,
    ) as error:  # ParserError and UnicodeDecodeError are ValueErrors
        raise ValueError(f"is no table separated by semicolons: {error}") from error
    return table


def _numbers(table: pd.DataFrame, name: str) -> Floats:
    """One column as finite numbers."""
    numbers: Floats = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero(~(np.abs(numbers) <= VALUE_MAX))
    if len(wrong):
        row = int(table.index[wrong[0]])
        raise ValueError(
            f"row {row + 1}, column {name!r} is {table[name].iloc[wrong[0]]!r}; a number is right"
        )
    return numbers
