"""NASA's turbofan files (C-MAPSS, Saxena et al. 2008): engines run to failure, and engines cut short.

Training data is for anybody to read. Test data leaves only through `TestSet.open`, which asks for a
model that is frozen: no test row and no test label can reach a choice that was made before it.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from control_plane.training.histories import Floats, Unit
from shared.errors import ConfigError

SUBSETS = ("FD001", "FD002", "FD003", "FD004")
SETTINGS = ("altitude", "mach", "throttle")  # thousand feet, 1, degrees of the resolver
SENSORS = (
    *("T2", "T24", "T30", "T50", "P2", "P15", "P30", "Nf", "Nc", "epr", "Ps30"),
    *("phi", "NRf", "NRc", "BPR", "farB", "htBleed", "Nf_dmd", "PCNfR_dmd", "W31", "W32"),
)  # in the files' order; units as in table 2 of Saxena et al. 2008
TAGS = (*SETTINGS, *SENSORS)
COLUMNS = 2 + len(TAGS)  # before them the engine's number and the cycle
CHECKSUMS = "SHA256SUMS"
FILE_BYTES_MAX = 64 * 1024 * 1024  # the largest of NASA's files has 10 MB
DIGEST_CHARACTERS = 64
SOURCE = "take the files of NASA's data set anew"


class Frozen(Protocol):
    """What test data is handed out for: a model whose every byte is decided."""

    def check(self) -> str:
        """SHA-256 of all that decides an answer, in hex; ValueError when it is no longer what it was."""
        ...


@dataclass(frozen=True)
class TestSet:
    """Engines cut short, and the cycles that each had left after its last row `(N,)`."""

    units: list[Unit]
    rul: Floats
    frozen: str  # the SHA-256 of the model that it was opened for

    @classmethod
    def open(cls, folder: Path, subset: str, frozen: Frozen) -> "TestSet":
        """The test data of a subset, for a model that is frozen.

        ConfigError names the file, the line and what would be right; ValueError when the model has changed.
        """
        seal = frozen.check()
        units = _engines(
            folder / f"test_{subset}.txt", _check(folder, f"test_{subset}.txt")[0], labelled=False
        )
        rul = _labels(folder / f"RUL_{subset}.txt", _check(folder, f"RUL_{subset}.txt")[0], len(units))
        return cls(units, rul, seal)


def read_training(folder: Path, subset: str) -> list[Unit]:
    """The engines of `train_<subset>.txt`; the last row of each is its failure: zero cycles left.

    ConfigError names the file, the line and what would be right.
    """
    name = f"train_{subset}.txt"
    return _engines(folder / name, _check(folder, name)[0], labelled=True)


def verify(folder: Path, subset: str, *, held_out: bool = False) -> dict[str, str]:
    """What each of the subset's files is: "verified", or its SHA-256 where SHA256SUMS says nothing of it.

    Nothing of their content leaves here. ConfigError names every file that is missing or damaged, before a
    training of minutes rather than after it.
    """
    states, problems = {}, []
    for kind in ("train",) if held_out else ("train", "test", "RUL"):
        name = f"{kind}_{subset}.txt"
        try:
            states[name] = _check(folder, name)[1]
        except ConfigError as error:
            problems += [f"{Path(error.source).name}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(f"--data {folder} (--held-out reads train_{subset}.txt alone)", problems)
    return states


def _check(folder: Path, name: str) -> tuple[bytes, str]:
    """The bytes of a file that is not other than SHA256SUMS says, and what `verify` says of it.

    NASA's archive has no such list: a file that nothing is known of is read.
    """
    data = _read(folder / name)
    sums = folder / CHECKSUMS
    expected = _checksums(sums).get(name) if sums.exists() else None
    found = hashlib.sha256(data).hexdigest()
    if expected not in {None, found}:
        raise ConfigError(
            str(folder / name), [f"has SHA-256 {found}; {CHECKSUMS} says {expected}: damaged, {SOURCE}"]
        )
    return data, "verified" if expected else f"not in {CHECKSUMS}, SHA-256 {found}"


def _checksums(path: Path) -> dict[str, str]:
    """SHA-256 in hex by file name, as `sha256sum` writes them."""
    found = {}
    for number, line in enumerate(_lines(path, _read(path)), 1):
        digest, _, name = line.partition(" ")
        if len(digest) != DIGEST_CHARACTERS or set(digest) - set("0123456789abcdef") or not name.strip(" *"):
            raise ConfigError(f"{path}:{number}", ["found no line of `sha256sum`: <64 hex digits>  <file>"])
        found[name.strip(" *")] = digest
    return found


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}; {SOURCE}"]) from error
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(str(path), [f"has more than {FILE_BYTES_MAX} bytes; {SOURCE}"])
    return data


def _lines(path: Path, data: bytes) -> list[str]:
    try:
        lines = data.decode("ascii").rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}", [f"byte {error.start} is no ASCII; {SOURCE}"]) from error
    if lines == [""]:
        raise ConfigError(str(path), [f"is empty; {SOURCE}"])
    return lines


def _engines(path: Path, data: bytes, *, labelled: bool) -> list[Unit]:
    rows = _numbers(path, _lines(path, data), COLUMNS)
    _check_order(path, rows)
    starts = np.flatnonzero(rows[:, 1] == 1)[1:]
    return [_unit(path, part, labelled=labelled) for part in np.split(rows, starts)]


def _unit(path: Path, rows: NDArray[np.float64], *, labelled: bool) -> Unit:
    count = len(rows)
    rul = np.arange(count - 1, -1, -1, dtype=np.float32) if labelled else None
    name = f"{path.stem}:{int(rows[0, 0])}"
    return Unit(name, rows[:, 2:].astype(np.float32), rul, np.arange(count) < count / 2)


def _labels(path: Path, data: bytes, engines: int) -> Floats:
    rul = _numbers(path, _lines(path, data), 1)[:, 0]
    bad = np.flatnonzero((rul < 0) | (rul != np.round(rul)))
    if len(bad):
        raise ConfigError(
            f"{path}:{bad[0] + 1}", [f"found {rul[bad[0]]:g}; a RUL is a whole number from 0 on"]
        )
    if len(rul) != engines:
        raise ConfigError(str(path), [f"has {len(rul)} lines; the test file has {engines} engines; {SOURCE}"])
    return rul.astype(np.float32)


def _numbers(path: Path, lines: list[str], columns: int) -> NDArray[np.float64]:
    """`(n, columns)`, finite."""
    fields = [line.split() for line in lines]
    for number, line in enumerate(fields, 1):
        if len(line) != columns:
            raise ConfigError(f"{path}:{number}", [f"has {len(line)} columns; {columns} are right; {SOURCE}"])
    try:
        rows = np.array(fields).astype(np.float64)
    except ValueError:
        rows = np.array([[_number(field) for field in line] for line in fields])
    wrong = np.argwhere(~np.isfinite(rows))
    if len(wrong):
        row, column = wrong[0]
        raise ConfigError(
            f"{path}:{row + 1}", [f"column {column + 1} holds {fields[row][column]!r}, no number; {SOURCE}"]
        )
    return rows


def _number(field: str) -> float:
    try:
        return float(field)
    except ValueError:
        return np.nan


def _check_order(path: Path, rows: NDArray[np.float64]) -> None:
    """Engines 1, 2, ... one after the other, each with cycles 1, 2, ..."""
    engine, cycle = rows[:, 0], rows[:, 1]
    first = cycle == 1
    right_engine = engine == np.cumsum(first)
    right_cycle = first | (cycle == np.concatenate([[0.0], cycle[:-1]]) + 1)
    wrong = np.flatnonzero(~(right_engine & right_cycle))
    if len(wrong):
        row = wrong[0]
        raise ConfigError(
            f"{path}:{row + 1}",
            [f"engine {engine[row]:g}, cycle {cycle[row]:g} is out of order: both count from 1; {SOURCE}"],
        )
