"""The trial: who is judged on what, and a whole small one through the command line."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from control_plane.commands.benchmark_fleet import fleet
from control_plane.training.config import TrainingConfig
from control_plane.training.fleet_trial import (
    DETECTED_WITHIN_CYCLES,
    Calls,
    Subject,
    judge,
    load_subjects,
    pooled,
    split,
)
from control_plane.training.histories import Unit
from shared.errors import ConfigError
from shared.features import FeatureSpec
from shared.reactor_config import parse_fleet

TAGS = parse_fleet({"S": {"R": {"coolant_pump": {}}}}, "test").components()
TAGS = next(iter(TAGS.values())).tags
HORIZON = 125.0
MONTH = 2880.0


def subject(name="1", fault="none", life=100, fault_cycle=None):
    rul = np.arange(life, -1, -1, dtype=np.float32)
    struck = np.zeros(life + 1, bool)
    if fault_cycle is not None:
        struck[fault_cycle:] = True
    normal = (rul > life / 2) & ~struck
    return Subject(Unit(name, np.zeros((life + 1, 2), np.float32), rul, normal), fault, struck)


def calls(of, error=0.0, alarms=()):
    """Calls from the tenth cycle on, each off by `error` cycles, alarming at the named cycles."""
    rows = np.arange(9, len(of.struck))
    truth = np.minimum(of.unit.rul[rows], HORIZON)
    predicted = np.stack([truth + error - 5, truth + error, truth + error + 5], axis=-1)
    return Calls(of, rows, truth, predicted, np.isin(rows, list(alarms)), HORIZON)


def table(folder, counts, life=60, tags=TAGS):
    """A table as `edge-agent simulate` writes it: pumps whose every tag falls with life."""
    chance = np.random.default_rng(0)
    parts = []
    for run, fault in enumerate(name for name, count in counts.items() for _ in range(count)):
        cycle = np.arange(life + run % 5)
        rul = cycle[::-1]
        part = pd.DataFrame({"run": run, "cycle": cycle})
        for tag in tags:
            part[tag] = 100 + rul / life * 20 + chance.standard_normal(len(cycle))
        part["performance"] = 0.3 + 0.7 * rul / life
        part["true_RUL"] = rul
        part["fault"] = None if fault == "none" else np.where(cycle >= 40, fault, None)
        parts.append(part)
    path = folder / "coolant_pump.parquet"
    pd.concat(parts).to_parquet(path)
    return path


def test_no_unit_is_in_two_parts_and_each_fault_is_in_all(tmp_path):
    subjects = load_subjects(table(tmp_path, {"none": 9, "leak": 3, "sensor_bias": 5}), TAGS)
    parts = split(subjects, seed=3)
    names = [s.unit.name for part in parts for s in part]
    assert sorted(names) == sorted(s.unit.name for s in subjects)
    assert all({s.fault for s in part} == {"none", "leak", "sensor_bias"} for part in parts)
    assert parts == split(subjects, seed=3)


def test_faults_and_their_cycles_are_read(tmp_path):
    subjects = load_subjects(table(tmp_path, {"none": 3, "leak": 3}), TAGS)
    assert [s.fault for s in subjects] == ["none"] * 3 + ["leak"] * 3
    assert not subjects[0].struck.any()
    assert np.flatnonzero(subjects[3].struck)[0] == 40


def test_too_few_units_of_a_fault_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="has 2 units of fault 'leak'; at least 3"):
        load_subjects(table(tmp_path, {"none": 3, "leak": 2}), TAGS)


def test_a_unit_with_two_faults_is_refused(tmp_path):
    path = table(tmp_path, {"none": 3, "leak": 3})
    found = pd.read_parquet(path)
    found.loc[(found["run"] == 4) & (found["cycle"] > 50), "fault"] = "spike"
    found.to_parquet(path)
    with pytest.raises(ConfigError, match="run 4 has faults leak, spike; at most one a unit"):
        load_subjects(path, TAGS)


def test_perfect_calls_have_perfect_figures():
    row = judge("pump", "none", "m", [calls(subject()), calls(subject("2", life=300))], MONTH)
    assert (row.rmse, row.cone, row.at_half, row.accuracy, row.late, row.score) == (0, 1, 1, 1, 0, 0)
    assert (row.coverage, row.worst_coverage, row.units) == (1, 1, 2)
    assert row.horizon == 124  # of 91 and 124: the last call in sight of a horizon of 125
    assert row.lead == 25 - 1  # raised at the second call at or below 25
    assert (row.early_per_month, row.false_per_month) == (0, 0)
    assert np.isnan(row.detected)


def test_a_struck_unit_is_judged_from_its_fault_on():
    """Before it, the life that was left was another one."""
    struck = calls(subject("1", "leak", fault_cycle=60))
    struck.predicted[:51] = 0.0
    assert judge("pump", "leak", "m", [struck], MONTH).rmse == 0
    struck.predicted[51] = 0.0
    assert judge("pump", "leak", "m", [struck], MONTH).rmse > 0


def test_late_calls_and_warnings_that_never_come():
    row = judge("pump", "none", "m", [calls(subject(), error=30.0)], MONTH)
    assert row.late == 1
    assert row.lead == 0
    assert row.coverage == 0


def test_a_warning_far_too_early_is_counted_per_month():
    early = calls(subject(life=300))
    early.predicted[20:30] = 3.0
    row = judge("pump", "none", "m", [early], MONTH)
    alive = 300 - 9 - 50
    assert row.early_per_month == pytest.approx(1 / alive * MONTH)
    assert row.lead == 24


def test_alerts_before_the_fault_are_false_and_after_it_a_detection():
    found = calls(subject("1", "leak", life=300, fault_cycle=100), alarms=[20, 21, 110, 111, 112])
    row = judge("pump", "leak", "m", [found], MONTH)
    assert (row.detected, row.delay) == (1, 11)
    assert row.false_per_month == pytest.approx(1 / (100 - 9) * MONTH)


def test_what_is_raised_after_a_day_is_no_detection():
    late = 100 + DETECTED_WITHIN_CYCLES
    found = calls(subject("1", "leak", life=300, fault_cycle=100), alarms=[late, late + 1])
    assert judge("pump", "leak", "m", [found], MONTH).detected == 0


def test_a_pooled_network_sees_a_mean_a_step_and_the_newest_row():
    spec, config = pooled("pump", ("a", "b"), TrainingConfig(), window_cycles=120, pool_cycles=5)
    assert spec.columns == ("a", "b", "a_present", "b_present", "a_mean", "b_mean")
    assert (spec.window_cycles, spec.rolling_cycles, config.row_stride) == (120, 5, 5)
    plain, same = pooled("pump", ("a", "b"), TrainingConfig(), window_cycles=30, pool_cycles=1)
    assert plain == FeatureSpec(component_type="pump", tags=("a", "b"))
    assert same == TrainingConfig()


@pytest.mark.slow
def test_the_command_judges_three_methods_and_draws(tmp_path):
    table(tmp_path, {"none": 6, "leak": 4})
    app = typer.Typer()
    app.command()(fleet)
    pictures = tmp_path / "pictures"
    arguments = [
        "--data",
        str(tmp_path),
        "--pictures",
        str(pictures),
        "--epochs",
        "1",
        "--window-cycles",
        "30",
        "--json",
    ]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    rows = json.loads(result.stdout.splitlines()[-1])["rows"]
    assert [(r["fault"], r["method"]) for r in rows[:3]] == [
        ("all", "network"), ("all", "linear"), ("all", "boosting"),
    ]  # fmt: skip
    by_method = {r["method"]: r for r in rows if r["fault"] == "all"}
    assert by_method["linear"]["rmse"] < 20
    assert {r["fault"] for r in rows} == {"all", "none", "leak"}
    assert {path.name for path in pictures.iterdir()} == {
        "fleet-cone-coolant_pump.png", "fleet-horizon.png", "fleet-delay.png",
    }  # fmt: skip


def test_a_table_without_labels_is_refused(tmp_path):
    path = table(tmp_path, {"none": 3})
    pd.read_parquet(path).drop(columns=["true_RUL"]).to_parquet(path)
    with pytest.raises(ConfigError, match="column 'true_RUL' is missing; the file has run, cycle"):
        load_subjects(path, TAGS)


def test_a_unit_that_never_fails_counts_where_it_can():
    """Its calls out of sight of failure are judged by nobody, its alerts are."""
    alive = calls(subject(life=300))
    alive = replace(alive, **{name: getattr(alive, name)[:150] for name in ("rows", "truth", "predicted")})
    row = judge("pump", "none", "m", [replace(alive, alarming=np.arange(150) == 20)], MONTH)
    assert (row.units, row.false_per_month) == (1, 0)
    assert all(np.isnan(value) for value in (row.rmse, row.cone, row.horizon, row.coverage, row.lead))


def test_an_empty_folder_is_refused(tmp_path):
    app = typer.Typer()
    app.command()(fleet)
    with pytest.raises(ConfigError, match=r"holds no TYPE\.parquet"):
        CliRunner().invoke(app, ["--data", str(tmp_path)], catch_exceptions=False)
