"""The training table: the same rows whoever built it, and a refusal for what nothing can be learnt from."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from deltalake import DeltaTable, write_deltalake

from control_plane.sinks.lake_tables import TABLES
from control_plane.training.dataset import (
    FEATURE_PREFIX,
    read_dataset,
    read_info,
    write_training_data,
)
from control_plane.training.dataset_build import build
from control_plane.training.feature_table import generate_features
from control_plane.training.histories import data_version, load_units
from control_plane.training.source_tables import read_failures
from edge_agent.window import WindowBuffer
from shared.errors import ConfigError
from shared.features import unit_spec, window_features
from shared.schemas import ComponentId, Telemetry
from tests.support.golden import component
from tests.support.pump_table import CYCLES, TAGS, rows, saved

SPEC = unit_spec(TAGS, 6).model_copy(update={"component_type": "coolant_pump"})


def built(data: Path, output: Path, failures: Path | None = None, **options: object):
    known = read_failures(failures) if failures else None
    return build(data, output, SPEC, [], known, lambda _line: None, **options)


def test_csv_and_parquet_of_the_same_rows_have_the_same_hash(tmp_path):
    """The hash is over rows, not over a file's bytes; another value gives another hash."""
    both = pd.concat([rows(0), rows(1)])
    parquet = built(saved(both, tmp_path), tmp_path / "a")
    csv = built(saved(both, tmp_path, "pumps.csv"), tmp_path / "b")
    shuffled = built(saved(both.sample(frac=1, random_state=1), tmp_path, "c.parquet"), tmp_path / "c")
    assert parquet.sha256 == csv.sha256 == shuffled.sha256
    assert (parquet.units, parquet.rows, parquet.version) == (2, 2 * CYCLES, 0)
    both.iloc[3, both.columns.get_loc("flow_rate")] += 0.01
    assert built(saved(both, tmp_path, "d.parquet"), tmp_path / "d").sha256 != parquet.sha256


def test_a_row_has_the_features_that_the_agent_would_have_made(tmp_path):
    """Bit for bit, missed cycles and bad values included: what trains is what scores."""
    table = rows().drop(index=[7, 8])
    table.loc[4, "flow_rate"] = np.nan
    built(saved(table, tmp_path), tmp_path / "set")
    [found] = read_dataset(tmp_path / "set")
    assert found["cycle"].to_pylist() == list(range(CYCLES))  # the missed ones have a row without numbers
    assert found["flow_rate"].null_count == 3
    names = [FEATURE_PREFIX + name for name in SPEC.columns]
    here = np.column_stack([found[name].to_numpy() for name in names])
    buffer = WindowBuffer(ComponentId("TX01", "R1", "coolant_pump"), "coolant_pump", SPEC)
    compared = 0
    for row in table.to_dict("records"):
        metrics = {tag: row[tag] for tag in TAGS if np.isfinite(row[tag])}
        quality = {tag: "timeout" for tag in TAGS if tag not in metrics}
        window = buffer.push(
            Telemetry(
                timestamp=datetime(2026, 1, 1, tzinfo=UTC), site_id="TX01", reactor_id="R1",
                component="coolant_pump", cycle=row["cycle"], metrics=metrics, quality=quality,
            )
        )  # fmt: skip
        if window is not None:
            there = window_features(window.values, SPEC)[-1]
            assert there.tobytes() == here[row["cycle"]].tobytes(), row["cycle"]
            compared += 1
    assert compared >= 3


def test_the_features_are_those_of_the_feature_table(tmp_path):
    """The one function for tables, `generate_features`: every column, every bit, at every cycle seen."""
    table = pd.concat([rows(0).drop(index=[6]), rows(1, fault="stuck")], ignore_index=True)
    built(saved(table, tmp_path), tmp_path / "set")
    there = generate_features(table, window_size=6)
    [found] = read_dataset(tmp_path / "set")
    here = found.to_pandas().drop(index=6).reset_index(drop=True)
    for name in there.columns.drop("true_RUL"):
        assert here[FEATURE_PREFIX + name].to_numpy().tobytes() == there[name].to_numpy().tobytes(), name


def test_training_gets_the_same_units_from_a_data_set_as_from_its_source(tmp_path):
    """Building a data set first changes nothing that a training sees but the data's version."""
    data = saved(pd.concat([rows(0), rows(1), rows(2, fault="stuck_sensor")]), tmp_path)
    info = built(data, tmp_path / "set")
    tags = component().tags
    plain, made = load_units(data, tags), load_units(tmp_path / "set", tags, None, "coolant_pump")
    assert [unit.name for unit in plain] == [unit.name for unit in made]
    for a, b in zip(plain, made, strict=True):
        assert a.values.tobytes() == b.values.tobytes()
        assert a.rul.tobytes() == b.rul.tobytes()
        assert a.normal.tolist() == b.normal.tolist()
    assert not made[2].normal.any()  # faulty from its first cycle
    assert data_version(tmp_path / "set") == info.sha256


def lake(folder: Path, cycles: range) -> Path:
    """Telemetry as ingest writes it: no labels, one reading without its cycle."""
    spec = TABLES[Telemetry.SCHEMA]
    polled = rows(cycles=len(cycles) + 1).to_dict("records")
    records = [
        {
            "site_id": "TX01", "reactor_id": "R1", "component": "coolant_pump", "store_id": "s", "seq": seq,
            "cycle": cycle, "metrics": [(tag, row[tag]) for tag in TAGS], "quality": [], "config_hash": "",
            "timestamp": datetime(2026, 1, 1, tzinfo=UTC),
        }
        for seq, (cycle, row) in enumerate(zip([*cycles, None], polled, strict=True))
    ]  # fmt: skip
    path = folder / "lake"
    write_deltalake(
        str(path / spec.name), pa.Table.from_pylist(records, spec.schema), partition_by=spec.partition_by
    )
    return path


def test_a_lake_and_its_recorded_failures_become_labelled_lives(tmp_path):
    """Each failure ends a life; what has not failed yet is refused, or left out when that is asked for."""
    data, failures = lake(tmp_path, range(30)), tmp_path / "failures.csv"
    failures.write_text(
        "site_id,reactor_id,component,cycle\nTX01,R1,coolant_pump,11\nTX01,R1,coolant_pump,24\n"
    )
    with pytest.raises(ConfigError, match=r"run 2 never fails.*--failures.*--leave-out-unfailed"):
        built(data, tmp_path / "set", failures)
    assert not (tmp_path / "set").exists()
    info = built(data, tmp_path / "set", failures, leave_out=True)
    [found] = read_dataset(tmp_path / "set")
    assert (info.units, info.source_version) == (2, 0)
    assert found["true_RUL"].to_pylist() == [*range(11, -1, -1), *range(12, -1, -1)]
    assert found["component_status"].to_pylist()[:12] == ["normal"] * 6 + ["worn"] * 5 + ["failed"]
    with pytest.raises(ConfigError, match="no labels; give its failures with --failures"):
        built(data, tmp_path / "other")


REFUSED = {
    "a wrong column": (rows().rename(columns={"flow_rate": "flow"}), "column 'flow_rate' is missing"),
    "a column of text": (rows(flow_rate="high"), "column 'flow_rate': found (large_)?string"),
    "a tag without a number": (rows(flow_rate=np.nan), "column 'flow_rate' has no number in any row"),
    "a unit without a number": (
        pd.concat([rows(0), rows(1, **dict.fromkeys(TAGS, np.nan))]), "run 1 has no number in any row",
    ),
    "a unit that never fails": (pd.concat([rows(0), rows(1, true_RUL=np.nan)]), "run 1 never fails"),
    "no row": (rows().iloc[:0], "has no row"),
    "a cycle twice": (pd.concat([rows(), rows().iloc[5:6]]), "has cycle 5 twice"),
    "a counter set back": (rows().assign(cycle=[*range(14), 10_000]), "jumps from cycle 13 to 10000"),
    "a row without its cycle": (rows().assign(cycle=[*range(14), None]), "column 'cycle' is empty in some"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_nothing_can_be_learnt_from_is_refused_by_name(tmp_path, case):
    """By training and by the data set alike; nothing is left behind."""
    table, message = REFUSED[case]
    data = saved(table, tmp_path)
    for attempt in (lambda: built(data, tmp_path / "set"), lambda: load_units(data, component().tags)):
        with pytest.raises(ConfigError, match=message) as refused:
            attempt()
        assert refused.value.source == str(data)
    assert [path.name for path in tmp_path.iterdir()] == [data.name]


def test_a_data_set_of_another_type_or_changed_since_is_refused(tmp_path):
    """Its hash is checked whenever it is read."""
    built(saved(rows(), tmp_path), tmp_path / "set")
    with pytest.raises(ConfigError, match=r"is a data set of coolant_pump .*; expected heat_exchanger"):
        load_units(tmp_path / "set", component().tags, None, "heat_exchanger")
    with pytest.raises(ConfigError, match="is there already"):
        built(saved(rows(1), tmp_path), tmp_path / "set")
    [file] = (tmp_path / "set").rglob("*.parquet")
    table = pa.parquet.read_table(file, partitioning=None)
    moved = pa.array(np.asarray(table["flow_rate"], np.float32) + np.float32(1))
    at = table.column_names.index("flow_rate")
    pa.parquet.write_table(table.set_column(at, "flow_rate", moved), file)
    with pytest.raises(ConfigError, match="were changed after it was built"):
        load_units(tmp_path / "set", component().tags)


def test_written_rows_are_partitioned_parquet_that_grows_by_versions(tmp_path):
    """PRD 3.2: any reader of Parquet sees the rows; a second call appends all of its own or none."""
    path = str(tmp_path / "set")
    frame = rows().rename(columns={"run": "batch"}).drop(columns=["performance", "fault"])
    frame["component_status"] = "normal"
    assert write_training_data(frame, path) == 0
    assert write_training_data(frame.assign(site_id="TX02"), path, ["site_id", "component"]) == 1
    found = pd.read_parquet(path)
    assert len(found) == 2 * CYCLES
    assert set(found["site_id"]) == {"TX01", "TX02"}
    assert set(TAGS) <= set(found.columns)
    wrong = {
        "column 'true_RUL' is missing": frame.drop(columns="true_RUL"),
        "column 'true_RUL' is empty in 15 of 15 rows": frame.assign(true_RUL=np.nan),
        "found no row": frame.iloc[:0],
        "does not take these rows": frame.assign(more=1.0),
    }
    for message, table in wrong.items():
        with pytest.raises(ConfigError, match=re.escape(message)):
            write_training_data(table, path)
    assert DeltaTable(path).version() == 1


def test_the_description_names_source_spec_and_hash(tmp_path):
    """`_dataset.json` is what a registry and a person go by."""
    data = saved(rows(), tmp_path)
    info = built(data, tmp_path / "set")
    assert read_info(tmp_path / "set") == info
    told = json.loads((tmp_path / "set" / "_dataset.json").read_text())
    assert told["feature_spec_hash"] == SPEC.hash()
    assert (told["source"], told["engine"]) == (str(data), "local")
