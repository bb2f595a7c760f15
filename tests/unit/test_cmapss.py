"""The C-MAPSS benchmark: its files, its protocol, its numbers."""

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.commands import benchmark
from control_plane.training import cmapss_files, cmapss_settings
from control_plane.training.cmapss_files import SUBSETS, read_training, verify
from control_plane.training.cmapss_scores import score
from control_plane.training.cmapss_trial import (
    CUT_RUL,
    FrozenModel,
    cut_short,
    run_held_out,
    run_test,
    train_frozen,
)
from control_plane.training.fit import BEYOND
from control_plane.training.optimise import Epoch
from shared.errors import ConfigError
from tests.support.engines import ENGINES, LEFT, lines, tiny_settings, write, write_folder

TEST_FILES = ("test_FD001.txt", "RUL_FD001.txt")


class Sealed:
    """A model that is frozen already, for a test of files alone."""

    def check(self) -> str:
        return "seal"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "cmapss")


def nothing(_: object) -> None:
    pass


def test_last_row_of_a_training_engine_has_no_cycle_left(folder):
    """A training engine's RUL counts down to zero at its failure."""
    units = read_training(folder, "FD001")
    assert len(units) == ENGINES
    assert all(unit.rul[-1] == 0 and unit.rul[0] == len(unit.values) - 1 for unit in units)


@pytest.mark.parametrize(
    ("number", "line", "said"),
    [
        (3, "1 3 0.5", "has 3 columns; 26 are right"),
        (2, "1 2 " + "x " * 24, "column 3 holds 'x', no number"),
        (2, "1 2 " + "nan " * 24, "column 3 holds 'nan', no number"),
        (2, "1 5 " + "0 " * 24, "engine 1, cycle 5 is out of order"),
        (1, "2 1 " + "0 " * 24, "engine 2, cycle 1 is out of order"),
        (4, "", "has 0 columns; 26 are right"),
        (2, "1 2 \u00e9", "is no ASCII"),
    ],
)
def test_bad_line_is_refused_by_file_and_line(folder, number, line, said):
    """What is wrong with a line is said with its file, its number and what would be right."""
    content = lines(0)
    content[number - 1] = line
    write(folder, "train_FD001.txt", "\n".join(content))
    with pytest.raises(ConfigError) as refused:
        read_training(folder, "FD001")
    assert said in str(refused.value)
    assert f"train_FD001.txt:{number}" in str(refused.value)


def test_damaged_and_missing_files_are_refused_together(folder):
    """Every file that is missing, or not what SHA256SUMS says, is named before a training begins."""
    (folder / "test_FD001.txt").write_text("other")
    (folder / "RUL_FD001.txt").unlink()
    with pytest.raises(ConfigError) as refused:
        verify(folder, "FD001")
    damaged, missing = refused.value.problems
    assert re.fullmatch(r"test_FD001.txt: has SHA-256 \w+; SHA256SUMS says \w+: damaged, .*", damaged)
    assert missing.startswith("RUL_FD001.txt: cannot be read: No such file")
    assert "--held-out reads train_FD001.txt alone" in str(refused.value)
    assert verify(folder, "FD001", held_out=True) == {"train_FD001.txt": "verified"}
    with pytest.raises(ConfigError, match=r"(?s)test_FD001.txt.*damaged"):
        cmapss_files.TestSet.open(folder, "FD001", Sealed())
    with pytest.raises(ConfigError, match=r"(?s)RUL_FD001.txt.*cannot be read: No such file"):
        cmapss_files.TestSet.open(write_folder_without_labels(folder), "FD001", Sealed())


def test_files_without_a_checksum_are_read_and_say_so(folder):
    """NASA's archive has no SHA256SUMS: its files are read, and their digest is told instead."""
    digest = hashlib.sha256((folder / "RUL_FD001.txt").read_bytes()).hexdigest()
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(line for line in sums.read_text().splitlines(True) if "RUL" not in line))
    states = verify(folder, "FD001")
    assert states == dict.fromkeys(("train_FD001.txt", "test_FD001.txt"), "verified") | {
        "RUL_FD001.txt": f"not in SHA256SUMS, SHA-256 {digest}"
    }
    sums.unlink()
    assert all(state.startswith("not in SHA256SUMS") for state in verify(folder, "FD001").values())
    assert len(cmapss_files.TestSet.open(folder, "FD001", Sealed()).rul) == ENGINES
    sums.write_text("no digest  train_FD001.txt")
    with pytest.raises(ConfigError, match=r"(?s)SHA256SUMS:1.*found no line of `sha256sum`"):
        read_training(folder, "FD001")


def write_folder_without_labels(folder: Path) -> Path:
    write_folder(folder)
    (folder / "RUL_FD001.txt").unlink()
    return folder


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("1\n" * (ENGINES - 1), f"the test file has {ENGINES} engines"),
        ("1\n-3\n", r"(?s)RUL_FD001.txt:2.*found -3"),
    ],
)
def test_wrong_labels_are_refused(folder, labels, said):
    """One whole number from zero on for each test engine, or a refusal."""
    write(folder, "RUL_FD001.txt", labels)
    with pytest.raises(ConfigError, match=said):
        cmapss_files.TestSet.open(folder, "FD001", Sealed())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_parser_gives_engines_or_a_refusal_whatever_the_bytes(folder, data):
    """No bytes make the parser fail in another way, or give a number that is not finite."""
    content = bytearray("\n".join(lines(0)[:70]).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3) | st.just(b"1e999"))
    write(folder, "train_FD001.txt", bytes(content))
    try:
        units = read_training(folder, "FD001")
    except ConfigError as refused:
        assert "train_FD001.txt" in str(refused)  # noqa: PT017
    else:
        assert all(np.isfinite(unit.values).all() for unit in units)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, FrozenModel]:
    """A folder, and the model of its training engines."""
    folder = write_folder(tmp_path_factory.mktemp("trained"))
    units = read_training(folder, "FD001")
    return folder, train_frozen(units, "FD001", tiny_settings(), 0, nothing)


@pytest.mark.slow
def test_no_test_row_or_label_reaches_training(trained, tmp_path):
    """While it trains there is no test row and a garbled label file; the model is the same, byte for byte."""
    folder, frozen = trained
    other = write_folder(tmp_path / "other", left=LEFT + 30)
    kept = {name: (other / name).read_bytes() for name in TEST_FILES}
    (other / "test_FD001.txt").unlink()
    (other / "RUL_FD001.txt").write_bytes(b"garbled")
    epochs = []

    def bring_test_files_when_trained(epoch: Epoch) -> None:
        epochs.append(epoch)
        if (epoch.member, epoch.epoch) == (epoch.members, epoch.epochs):
            for name, content in kept.items():
                (other / name).write_bytes(content)

    late = run_test(other, "FD001", tiny_settings(), 0, bring_test_files_when_trained)
    assert len(epochs) == 4
    assert late.seal == frozen.seal
    test = cmapss_files.TestSet.open(folder, "FD001", frozen)
    assert (late.intervals == frozen.last_intervals(test.units)).all()
    assert (late.truth == test.rul + 30).all()


@pytest.mark.slow
def test_changed_model_is_given_no_test_data(trained):
    """Once frozen, another byte of the model or another threshold closes the test files."""
    folder, frozen = trained
    assert cmapss_files.TestSet.open(folder, "FD001", frozen).frozen == frozen.seal
    manifest = frozen.manifest.model_copy(update={"anomaly_threshold": 1.0})
    for changed in (replace(frozen, model=frozen.model + b"x"), replace(frozen, manifest=manifest)):
        with pytest.raises(ValueError, match="has changed since it was frozen"):
            cmapss_files.TestSet.open(folder, "FD001", changed)
    assert FrozenModel.freeze(frozen.model, manifest).seal != frozen.seal


@pytest.mark.slow
def test_command_prints_one_json_line_and_draws(folder, tmp_path, monkeypatch, capsys):
    """With --json stdout is one object with the promised keys, and the held-out mode opens no test file."""
    monkeypatch.setattr(cmapss_settings, "settings_of", lambda subset: tiny_settings(epochs=1))
    for name in TEST_FILES:
        (folder / name).unlink()
    picture = tmp_path / "plot.png"
    benchmark.cmapss(folder, "FD001", 1, held_out=True, plot=picture, checkpoints=tmp_path, as_json=True)
    [line] = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    promised = {"rmse_capped_mean", "rmse_capped_sd", "rmse_uncapped_mean", "score_capped_mean", "picp90"}
    assert promised | {"mean_width90", "seconds_per_seed"} <= found.keys()
    assert (found["seeds"], found["rmse_capped_sd"]) == (1, 0.0)
    assert found["files"] == {"train_FD001.txt": "verified"}
    assert found["rmse_capped_mean"] == found["trials"][0]["rmse_capped"]
    assert picture.stat().st_size > 10_000


def test_held_out_engines_are_not_trained_on(folder, monkeypatch):
    """The five parts of the held-out mode are disjoint from what each trains on, and make up all engines."""
    trained, judged = [], []

    def note(units, *_):
        trained.append({unit.name for unit in units})
        raise KeyboardInterrupt

    monkeypatch.setattr("control_plane.training.cmapss_trial.train_frozen", note)
    for seed in range(5):
        with pytest.raises(KeyboardInterrupt):
            run_held_out(folder, "FD001", tiny_settings(), seed, nothing)
        judged.append({unit.name for unit in read_training(folder, "FD001")} - trained[-1])
    assert [len(part) for part in judged] == [ENGINES // 5] * 5
    assert len(set.union(*judged)) == ENGINES


def test_cut_engines_have_what_a_test_engine_has(folder):
    """Each cut keeps a history, and the cycles that are left are those of the label."""
    cut = cut_short(read_training(folder, "FD001"), 0)
    assert cut
    assert all(CUT_RUL[0] <= unit.rul[-1] <= CUT_RUL[1] and len(unit.values) >= 31 for unit in cut)


def test_scores_are_the_published_formulas():
    """Worked by hand: one call 13 early, one 10 late, one engine beyond the horizon."""
    intervals = np.array([[70.0, 87.0, 110.0], [70.0, 80.0, 90.0], [110.0, 125.0, 125.0]])
    found = score(intervals, np.array([100.0, 70.0, 140.0]), 125.0)
    assert found.rmse_capped == pytest.approx(np.sqrt((13**2 + 10**2) / 3))
    assert found.rmse_uncapped == pytest.approx(np.sqrt((13**2 + 10**2 + 15**2) / 3))
    assert found.score_capped == pytest.approx(2 * (np.e - 1))
    assert (found.picp90, found.mean_width90) == (1.0, 25.0)
    assert found.late_call_rate == pytest.approx(1 / 3)


@pytest.mark.parametrize("subset", SUBSETS)
def test_shipped_settings_are_sound(subset):
    """Each subset has settings that a training takes, and another name is refused."""
    found = cmapss_settings.settings_of(subset)
    config = found.config(3)
    assert config.seed == 3
    assert (found.regimes == 6) == (subset in {"FD002", "FD004"})
    with pytest.raises(ConfigError, match="found 'FD005'"):
        cmapss_settings.settings_of("FD005")


@pytest.mark.parametrize("subset", SUBSETS)
def test_margins_rest_on_every_engine_at_moments_that_are_judged(subset):
    """Each engine calibrates networks that never saw it, and no window before the earliest cut does."""
    config = cmapss_settings.settings_of(subset).config(0)
    assert config.parts > 1
    assert not config.calibrate_beyond
    assert CUT_RUL[1] <= BEYOND * config.horizon_cycles < CUT_RUL[1] + 1
