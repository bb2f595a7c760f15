"""Small tables of run-to-failure histories, as `edge-agent simulate` writes them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from tests.support.golden import component

TAGS = tuple(component().tags)
CYCLES = 15


def rows(run: int = 0, cycles: int = CYCLES, **changes: object) -> pd.DataFrame:
    """One life of a pump as `edge-agent simulate` writes it."""
    chance = np.random.default_rng(run)
    table = pd.DataFrame(
        {"site_id": "TX01", "reactor_id": "R1", "component": "coolant_pump", "run": run}, range(cycles)
    )
    table["cycle"] = np.arange(cycles)
    for number, tag in enumerate(TAGS):
        table[tag] = chance.normal(100 * number, 3, cycles)
    table["performance"] = np.linspace(1, 0.3, cycles)
    table["true_RUL"] = cycles - 1 - np.arange(cycles)
    table["fault"] = None
    return table.assign(**changes)


def saved(table: pd.DataFrame, folder: Path, name: str = "pumps.parquet") -> Path:
    path = folder / name
    arrow = pa.Table.from_pandas(table.astype({"fault": "string"}), preserve_index=False)
    writer = pa.csv.write_csv if path.suffix == ".csv" else pa.parquet.write_table
    writer(arrow, path)
    return path
