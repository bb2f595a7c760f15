"""Recorded data as a plant: CSV files whose columns become tags. A digital twin's output enters here."""

import csv
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.simulation.plant import Label, PlantRow
from shared.errors import ConfigError
from shared.modbus_registers import encode
from shared.reactor_config import Component, Tag
from shared.schemas import ComponentId

if TYPE_CHECKING:
    import _csv

ROWS_MAX = 2_000_000  # held in memory: about 1 GB with ten columns
PROBLEMS_MAX = 20  # listed at once; a wrong separator would make one a row
TIME_COLUMNS = frozenset({"datetime", "timestamp"})  # the plant has its own clock


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a file: values by column (NaN where empty), labels by column, where it stands."""

    values: dict[str, float]
    labels: dict[str, Label]


class Recording:
    """Every *.csv of a folder in natural order (2 before 10), checked whole before it is served.

    Tags take the column that `Tag.column` names; other columns are labels, but for `datetime` and
    `timestamp`. The separator is `;` or `,`, whichever the header uses.
    """

    def __init__(self, folder: Path, components: Mapping[ComponentId, Component]) -> None:
        self._folder = folder
        self._components = dict(components)
        self._lines: list[_Line] = []

    def __len__(self) -> int:
        return len(self._lines)

    def load(self) -> None:
        """Read the files; ConfigError lists what is wrong by file, line and column."""
        columns = self._columns()
        files = sorted(self._folder.glob("*.csv"), key=_natural)
        if not files:
            raise ConfigError(str(self._folder), ["holds no *.csv file; name a folder of recordings"])
        problems: list[str] = []
        for path in files:
            self._lines += _read(path, columns, problems)
            if len(problems) > PROBLEMS_MAX or len(self._lines) > ROWS_MAX:
                break
        if len(self._lines) > ROWS_MAX:
            problems.append(f"more than {ROWS_MAX} rows; serve the recording in parts")
        if not problems and not self._lines:
            problems.append("holds no rows, only headers")
        if problems:
            raise ConfigError(str(self._folder), problems[:PROBLEMS_MAX])

    def rows(self, from_row: int = 0) -> Iterator[list[PlantRow]]:
        """Rows from `from_row` on, a list per tick; the cycle is the row's number over all files."""
        for cycle in range(from_row, len(self._lines)):
            line = self._lines[cycle]
            yield [
                PlantRow(
                    component_id,
                    cycle,
                    {name: line.values[tag.column or ""] for name, tag in component.tags.items()},
                    line.labels,
                )
                for component_id, component in self._components.items()
            ]

    def _columns(self) -> dict[str, list[Tag]]:
        """Which tags each column feeds; ConfigError for a tag that names none."""
        columns: dict[str, list[Tag]] = {}
        problems = []
        for component_id, component in self._components.items():
            for name, tag in component.tags.items():
                if tag.column is None:
                    problems.append(
                        f"{component_id.key} tag {name}: no column; say which column of the recording it is"
                    )
                else:
                    columns.setdefault(tag.column, []).append(tag)
        if problems:
            raise ConfigError("--replay", problems)
        return columns


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _read(path: Path, columns: dict[str, list[Tag]], problems: list[str]) -> list[_Line]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            separator = ";" if ";" in file.readline() else ","
            file.seek(0)
            reader = csv.reader(file, delimiter=separator)
            header = [name.strip() for name in next(reader, [])]
            missing = [column for column in columns if column not in header]
            if missing:
                problems.append(
                    f"{path.name} line 1: no column {', '.join(map(repr, missing))}; found "
                    f"{', '.join(map(repr, header))}; correct the file or the tags' `column`"
                )
                return []
            return list(_lines(path.name, reader, header, columns, problems))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problems.append(f"{path.name}: cannot be read as UTF-8 CSV: {error}")
        return []


def _lines(
    name: str, reader: "_csv.Reader", header: list[str], columns: dict[str, list[Tag]], problems: list[str]
) -> Iterator[_Line]:
    for cells in reader:
        place = f"{name} line {reader.line_num}"
        if not cells:
            continue
        if len(cells) != len(header):
            problems.append(f"{place}: {len(cells)} cells; the header has {len(header)}; complete the row")
        else:
            row = dict(zip(header, cells, strict=True))
            values = {
                column: _value(row[column], f"{place}, column {column!r}", tags, problems)
                for column, tags in columns.items()
            }
            yield _Line(values, _labels(row, columns))
        if len(problems) > PROBLEMS_MAX:
            return


def _value(cell: str, place: str, tags: list[Tag], problems: list[str]) -> float:
    """The number of a cell, NaN when it is empty; a problem when it is none or its register is too small."""
    try:
        value = float(cell) if cell.strip() else math.nan
    except ValueError:
        problems.append(f"{place}: found {cell!r}; expected a number or an empty cell")
        return math.nan
    for tag in tags:
        try:
            encode(tag.register_, value)
        except ValueError as error:
            problems.append(f"{place}: {error}; give the tag's register a float type")
    return value


def _labels(row: dict[str, str], columns: dict[str, list[Tag]]) -> dict[str, Label]:
    return {
        name: _label(cell)
        for name, cell in row.items()
        if name not in columns and name.lower() not in TIME_COLUMNS
    }


def _label(cell: str) -> Label:
    """A finite number where it is one, None where the cell is empty or not finite, else its text."""
    try:
        number = float(cell)
    except ValueError:
        return cell.strip() or None
    return number if math.isfinite(number) else None
