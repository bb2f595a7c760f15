"""Simulated histories as files: what training reads (PRD 1.4). Labels stand last, apart from the tags.

pyarrow comes with the extra `batch`: a site makes no histories, and goes without its 150 MB.
"""

import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_agent.simulation.components import FloatArray
from edge_agent.simulation.generators import Columns
from edge_agent.simulation.physics.chance import standard_normal
from edge_agent.simulation.physics.elementary import exp
from edge_agent.simulation.reactor import Reactor, with_upstream
from shared.errors import ConfigError
from shared.reactor_config import Component
from shared.schemas import ComponentId

if TYPE_CHECKING:
    import pyarrow as pa

LABELS = ("performance", "true_RUL", "fault")
SUFFIXES = (".csv", ".parquet")
CHUNK_CYCLES = 65_536  # of a run in memory at once, some 30 MB; a row group of a Parquet file
CYCLES_MAX = 1_000_000_000  # of a run: 30 years at 1 Hz; 100 GB and more on disk
RUNS_MAX = 1_000_000  # their wear rates are drawn at once: 8 MB
_SPREAD_STREAM = 5  # apart from the simulators' own random streams


@dataclass(frozen=True, slots=True)
class Batch:
    """`runs` histories of one component, the i-th with seed `seed + i` and run number `first_run + i`.

    Each wears at a rate scaled by a lognormal factor of sigma `decay_spread` (median 1). `others` are the
    components around it: those that reach it are simulated with it, each as in a batch of its own, where
    its factors are drawn apart, so that a worn pump does not tell how worn the exchanger is.
    """

    component_id: ComponentId
    config: Component
    cycles: int
    seed: int = 0
    runs: int = 1
    decay_spread: float = 0.0
    stop_at_failure: bool = False
    first_run: int = 0
    others: Mapping[ComponentId, Component] = field(default_factory=dict)

    @property
    def tables_max(self) -> int:
        """As many as `histories` gives when no run ends early."""
        return self.runs * -(-self.cycles // CHUNK_CYCLES)

    def histories(self) -> "Iterator[pa.Table]":
        """Each run as tables of at most CHUNK_CYCLES rows: identity, `run`, `cycle`, tags, labels.

        The same arguments, the same bits; the whole of a long run is never in memory.
        """
        parts = with_upstream(self.component_id, {**self.others, self.component_id: self.config})
        scales = {place: self._scales(place) for place in parts}
        for run in range(self.runs):
            reactor = Reactor(parts, self.seed + run, {place: float(s[run]) for place, s in scales.items()})
            yield from self._chunks(self.first_run + run, reactor)

    def _scales(self, place: ComponentId) -> FloatArray:
        """A component's own factors on its wear rate, one a run."""
        key = zlib.crc32(place.key.encode())
        chance = np.random.Generator(np.random.PCG64([self.seed, key, _SPREAD_STREAM]))
        return exp(self.decay_spread * standard_normal(chance, self.runs))

    def _chunks(self, run: int, reactor: Reactor) -> "Iterator[pa.Table]":
        for done in range(0, self.cycles, CHUNK_CYCLES):
            columns = reactor.simulate(min(CHUNK_CYCLES, self.cycles - done))[self.component_id]
            table = self._table(run, columns)
            yield table
            if self.stop_at_failure and table["true_RUL"][-1].as_py() == 0:
                return

    def _table(self, run: int, columns: Columns) -> "pa.Table":
        import pyarrow as pa

        count = self._kept(columns)
        columns = {name: column[:count] for name, column in columns.items()}
        identity = {name: [value] * count for name, value in self.component_id._asdict().items()}
        head = {"timestamp": columns.pop("timestamp"), **identity, "run": np.full(count, run)}
        fault = pa.array(columns.pop("fault").tolist(), pa.string())
        return pa.table({**head, **columns, "fault": fault})

    def _kept(self, columns: Columns) -> int:
        """How many rows stay: up to and with the first failed cycle, where that was asked for."""
        failed = np.flatnonzero(columns["true_RUL"] == 0)
        if self.stop_at_failure and len(failed):
            return int(failed[0]) + 1
        return len(columns["cycle"])


def in_one(batches: Sequence[Batch]) -> "Iterator[pa.Table]":
    """The tables of all batches with the same columns: those of every tag, null where there is none.

    Runs are numbered on from batch to batch, so that a run is one history in the whole file.
    """
    tags = list(dict.fromkeys(tag for batch in batches for tag in batch.config.tags))
    first_run = 0
    for batch in batches:
        for table in replace(batch, first_run=first_run).histories():
            head = table.column_names[: -len(batch.config.tags) - len(LABELS)]
            yield _with_columns(table, [*head, *tags, *LABELS])
        first_run += batch.runs


def write_each(batches: Iterable[Batch], folder: Path) -> int:
    """Write each batch as `SITE/REACTOR/COMPONENT.parquet` under `folder`, made where it is missing."""
    if not folder.parent.is_dir():
        raise ConfigError("--output-path", [f"folder {folder.parent} does not exist; create it first"])
    if folder.is_file():
        raise ConfigError(
            "--output-path", [f"{folder} is a file; name a folder, or end it in .csv or .parquet"]
        )
    rows = 0
    for batch in batches:
        site_id, reactor_id, component = batch.component_id
        place = folder / site_id / reactor_id
        place.mkdir(parents=True, exist_ok=True)
        rows += write(batch.histories(), place / f"{component}.parquet")
    return rows


def _with_columns(table: "pa.Table", names: list[str]) -> "pa.Table":
    import pyarrow as pa

    missing = pa.nulls(table.num_rows, pa.float64())
    found = {name: table[name] if name in table.column_names else missing for name in names}
    return pa.table(found)


def write(tables: "Iterable[pa.Table]", path: Path) -> int:
    """Write the tables as one CSV or Parquet file, whole or not at all; returns the rows written."""
    if path.suffix not in SUFFIXES:
        raise ConfigError("--output-path", [f"found {path.name!r}; it must end in .csv or .parquet"])
    if not path.parent.is_dir():
        raise ConfigError("--output-path", [f"folder {path.parent} does not exist; create it first"])
    part, rows = path.with_name(path.name + ".part"), 0
    with ExitStack() as stack:
        stack.callback(part.unlink, missing_ok=True)
        writer: Any = None
        for table in tables:
            writer = writer or stack.enter_context(_writer(path.suffix, part, table.schema))
            writer.write_table(table)
            rows += table.num_rows
        if writer is not None:
            writer.close()
            os.replace(part, path)
    return rows


def _writer(suffix: str, path: Path, schema: "pa.Schema") -> Any:
    from pyarrow import csv, parquet

    if suffix == ".csv":
        return csv.CSVWriter(path, schema, write_options=csv.WriteOptions(quoting_style="none"))
    return parquet.ParquetWriter(path, schema)
