"""The SKAB benchmark: what trains, what is counted, what is refused."""

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from control_plane.commands.benchmark_skab import skab as command
from control_plane.training.skab import (
    Counts,
    LevelJudge,
    Row,
    benchmark,
    fit_published_forest,
    load_settings,
)
from control_plane.training.skab_files import Recording, checksum_states, load_recordings
from shared.errors import ConfigError
from tests.support import skab

SETTINGS = load_settings()
PUBLISHED = Path(os.environ.get("SKAB_DIR", Path(__file__).parents[3] / "shared/data/skab"))
GOOD = skab.text(*skab.table())


@pytest.fixture(scope="module")
def rig(tmp_path_factory) -> Path:
    """Two labelled recordings and one without labels."""
    folder = tmp_path_factory.mktemp("rig")
    skab.write(folder / "valve1" / "0.csv", seed=1)
    skab.write(folder / "other" / "1.csv", seed=2)
    (folder / "anomaly-free").mkdir()
    (folder / "anomaly-free" / "anomaly-free.csv").write_text("datetime;Current\n")
    return folder


def learned(recording: Recording) -> tuple[bytes, ...]:
    """Every number that a judge learned, bit for bit."""
    judge = LevelJudge(recording.training, SETTINGS)
    numbers = (judge.mean, judge.std, judge.detector.mean, judge.detector.whitening)
    return (*(n.tobytes() for n in numbers), np.float64(judge.detector.threshold).tobytes())


def test_test_rows_and_labels_change_no_bit_of_what_was_learned(tmp_path):
    """Other rows after the 400th and every label turned round leave threshold and cloud as they are."""
    values, labels = skab.table(3)
    other = values.copy()
    other[SETTINGS.train_rows :] = skab.table(4)[0][SETTINGS.train_rows :] * 1.5
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "0.csv").write_text(skab.text(values, labels))
    (tmp_path / "b" / "0.csv").write_text(skab.text(other, 1 - labels))
    one, two = (load_recordings(tmp_path / name, SETTINGS.train_rows)[0] for name in "ab")
    assert not np.array_equal(one.test, two.test)
    assert not np.array_equal(one.anomalous, two.anomalous)
    assert learned(one) == learned(two)


def test_a_row_is_judged_without_the_rows_after_it(rig):
    recording = load_recordings(rig, SETTINGS.train_rows)[0]
    judge = LevelJudge(recording.training, SETTINGS)
    np.testing.assert_array_equal(judge(recording.test[:90]), judge(recording.test)[:90])


def test_the_fault_is_found_and_the_rest_is_quiet(rig):
    recordings = load_recordings(rig, SETTINGS.train_rows)
    ours = benchmark(recordings, SETTINGS)[0].pooled
    assert ours.mar < 10
    assert ours.far < 10


def test_always_alarm_scores_what_the_share_of_anomalies_gives(rig):
    recordings = load_recordings(rig, SETTINGS.train_rows)
    always = benchmark(recordings, SETTINGS)[-1].pooled
    share = (skab.TO - skab.FROM) / (skab.ROWS - SETTINGS.train_rows)
    assert always.f1 == pytest.approx(2 * share / (1 + share))
    assert (always.far, always.mar) == (100.0, 0.0)


def test_counts_are_pooled_over_files_before_any_ratio():
    """A file without anomalies adds its false alarms; it does not count as a file of F1 0."""
    row = Row("x", (Counts(found=6, false=2, missed=4, quiet=8), Counts(false=2, quiet=8)))
    assert row.pooled.f1 == pytest.approx(12 / (12 + 4 + 4))
    assert row.pooled.far == pytest.approx(20.0)
    assert row.pooled.mar == pytest.approx(40.0)


def test_the_published_forest_needs_two_of_three_rows():
    """A median of three rows, and none before the third: as in SKAB's notebook."""
    values, _ = skab.table(5)
    test = np.repeat(skab.MEAN[np.newaxis], 8, axis=0)
    test[[0, 1, 4, 6, 7]] += 50 * skab.STD
    flags = fit_published_forest(values[: SETTINGS.train_rows])(test) > 1
    assert flags.tolist() == [False, False, True, False, False, False, True, True]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (GOOD.replace("Pressure", "Druck", 1), "column 'Pressure' is missing; the file has datetime"),
        (GOOD.replace("anomaly", "truth", 1), "column 'anomaly' is missing"),
        (GOOD.replace(";0.0;0.0\n", ";nan;0.0\n"), "row 401, column 'anomaly' is 'nan'; a number is right"),
        (GOOD.replace(";1.0;0.0\n", ";2.0;0.0\n"), "column 'anomaly' holds 2; 0 or 1 is right"),
        ("\n".join(GOOD.splitlines()[:401]), "has 400 rows; more than 400 are needed"),
        (GOOD.replace("10:00:03;", "10:00:03;x", 1), "row 4, column 'Accelerometer1RMS' is 'x0.0"),
        (GOOD.replace("10:00:03;", "10:00:03;1e30", 1), "row 4, column 'Accelerometer1RMS' is '1e300.0"),
        (skab.text(np.ones((450, 8)), np.zeros(450)), "no sensor moves in the first 400 rows"),
        (GOOD.replace(";", ","), "column 'Accelerometer1RMS' is missing"),
        ("", "is no table separated by semicolons"),
        ("\x00\xff", "is missing"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_what_would_be_right(tmp_path, broken, message):
    (tmp_path / "9.csv").write_text(broken)
    with pytest.raises(ConfigError) as error:
        load_recordings(tmp_path, SETTINGS.train_rows)
    assert "9.csv: " in str(error.value)
    assert message in str(error.value)


def test_every_wrong_file_is_listed(tmp_path):
    skab.write(tmp_path / "0.csv")
    (tmp_path / "1.csv").write_bytes(b"\xff\xfe\xfa")
    (tmp_path / "2.csv").write_text("a;b\n")
    with pytest.raises(ConfigError, match="2 problems"):
        load_recordings(tmp_path, SETTINGS.train_rows)


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_folder_without_recordings_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "anomaly-free.csv").write_text("datetime;Current\n")
    with pytest.raises(ConfigError, match="give SKAB's data folder"):
        load_recordings(tmp_path / name, SETTINGS.train_rows)


@settings(max_examples=40, deadline=None)
@given(
    st.binary(max_size=200)
    | st.tuples(st.integers(0, len(GOOD)), st.integers(0, 40), st.binary(max_size=20)).map(
        lambda cut: GOOD.encode()[: cut[0]] + cut[2] + GOOD.encode()[cut[0] + cut[1] :]
    )
)
def test_any_bytes_are_read_or_refused(data):
    """Damage anywhere in a file gives finite numbers or a ConfigError, never another error."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "0.csv").write_bytes(data)
        try:
            [recording] = load_recordings(Path(folder), SETTINGS.train_rows)
        except ConfigError:
            return
        assert len(recording.training) == SETTINGS.train_rows
        assert len(recording.test) == len(recording.anomalous) > 0
        assert np.isfinite(LevelJudge(recording.training, SETTINGS)(recording.test)).all()


def test_the_command_ends_with_one_json_object(rig):
    app = typer.Typer()
    app.command()(command)
    answer = CliRunner().invoke(app, ["--data", str(rig), "--json"])
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout.splitlines()[-1])
    assert found["files"] == 2
    assert found["f1"] > 0.9
    assert 0 <= found["far"] < 10
    assert 0 <= found["mar"] < 10
    assert found["rows"]["always alarm"]["far"] == 100
    assert found["checksums"] == {"verified": 0, "differ": 1, "unknown": 1}


def test_the_command_prints_its_protocol_and_draws(rig, tmp_path):
    app = typer.Typer()
    app.command()(command)
    picture = tmp_path / "skab.png"
    answer = CliRunner().invoke(app, ["--data", str(rig / "other"), "--plot", str(picture)])
    assert answer.exit_code == 0, answer.output
    assert "the first 400 rows train" in answer.stdout
    assert "pooled over 1 files" in answer.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(not (PUBLISHED / "valve1").is_dir(), reason="SKAB's files are not on this machine")
def test_valve1_comes_out_as_documented():
    """The published bytes with the committed settings give the figures of docs/model_experiments.md."""
    recordings = load_recordings(PUBLISHED / "valve1", SETTINGS.train_rows)
    assert checksum_states(recordings) == {"verified": 16, "differ": 0, "unknown": 0}
    counts = [Counts.of(LevelJudge(r.training, SETTINGS)(r.test) > 1, r.anomalous) for r in recordings]
    pooled = Row("ours", tuple(counts)).pooled
    assert pooled.f1 == pytest.approx(0.825, abs=0.005)
    assert pooled.far == pytest.approx(22.1, abs=0.5)
    assert pooled.mar == pytest.approx(16.3, abs=0.5)
