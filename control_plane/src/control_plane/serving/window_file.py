"""Cycles of one component in a CSV file: a header of tags, a row a cycle, oldest first.

An empty cell is a bad value. What is wrong is named with its line and
column, in words for whoever made the file.
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.errors import Rejected

FILE_BYTES_MAX = 8 * 1024 * 1024  # 10,000 rows of 50 tags; more is no window but an archive
ROWS_MAX = 10_000
COLUMNS_MAX = 1_000  # beyond the tags of any component that we know
CELL_CHARS_SHOWN = 40
HEADER_CHARS_SHOWN = 200


class Cycles(NamedTuple):
    """`values` is `(rows, tags)`, oldest first, NaN where a cell is empty or no finite number."""

    tags: tuple[str, ...]
    values: NDArray[np.float32]


def read_window_file(path: Path, tags: Sequence[str] | None = None, name: str = "") -> Cycles:
    """The columns of `tags` in their order, whatever else is there; every column as it stands without.

    Rejected says what is wrong and where; `name` is the file's for these words, its path when left out.
    """
    name = name or str(path)
    rows = _rows(path, name)
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    _check_header(header, tags or (), name)
    if not 1 <= len(rows) - 1 <= ROWS_MAX:
        found = max(len(rows) - 1, 0)
        raise Rejected(f"{name}: found {found} rows after the header; expected 1 to {ROWS_MAX}, one a cycle")
    chosen = list(header if tags is None else tags)
    columns = [(header.index(tag), tag) for tag in chosen]
    values = [_numbers(row, len(header), columns, f"{name}, line {line}") for line, row in rows[1:]]
    with np.errstate(over="ignore"):
        numbers = np.array(values, np.float64).reshape(len(values), len(columns)).astype(np.float32)
    numbers[~np.isfinite(numbers)] = np.nan
    return Cycles(tuple(chosen), numbers)


def _rows(path: Path, name: str) -> list[tuple[int, list[str]]]:
    """Each row that is not empty, with the number of its line."""
    size = path.stat().st_size
    if size > FILE_BYTES_MAX:
        raise Rejected(f"{name}: {size / 1e6:.1f} MB; at most {FILE_BYTES_MAX / 1e6:.1f} MB are read")
    try:
        reader = csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline=""), strict=True)
        return [(reader.line_num, row) for row in reader if row]
    except UnicodeDecodeError as error:
        raise Rejected(f"{name}: is no UTF-8 text at byte {error.start}; save it as CSV, UTF-8") from error
    except csv.Error as error:
        raise Rejected(f"{name}: is no CSV: {error}") from error


def _check_header(header: Sequence[str], tags: Sequence[str], name: str) -> None:
    if len(header) > COLUMNS_MAX:
        raise Rejected(f"{name}: found {len(header)} columns; at most {COLUMNS_MAX} are read")
    twice = [column for column, count in Counter(header).items() if count > 1]
    if twice:
        raise Rejected(f"{name}, line 1: column {twice[0]!r} is there twice; one is expected")
    missing = [tag for tag in tags if tag not in header]
    if missing:
        found = ", ".join(header)[:HEADER_CHARS_SHOWN] or "an empty file"
        hint = "; columns are parted by commas" if len(header) == 1 else ""
        raise Rejected(f"{name}, line 1: has no column {', '.join(missing)}; found {found}{hint}")


def _numbers(row: Sequence[str], width: int, columns: Sequence[tuple[int, str]], where: str) -> list[float]:
    if len(row) != width:
        raise Rejected(f"{where}: found {len(row)} cells; the header has {width}")
    return [_number(row[column], f"{where}, {tag}") for column, tag in columns]


def _number(cell: str, where: str) -> float:
    try:
        return float(cell) if cell.strip() else math.nan
    except ValueError as error:
        shown = cell[:CELL_CHARS_SHOWN]
        raise Rejected(f"{where}: found {shown!r}; expected a number, or nothing") from error
