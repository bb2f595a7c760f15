"""Searches: what a space may say, several workers on one study, and going on where it stopped."""

import re
from pathlib import Path

import pytest

from control_plane.training.search import Outcome, Search, run
from control_plane.training.search_space import read_space
from shared.errors import ConfigError

SPACE = "x: {low: -4.0, high: 4.0}\nn: {choices: [1, 2, 3]}\n"


def bowl(chosen: dict) -> Outcome:
    """Least at x = 1, n = 2; a module's function, so that a worker process can have it."""
    value = (chosen["x"] - 1) ** 2 + abs(chosen["n"] - 2)
    return Outcome(value, {"loss": value}, {"loss": [value + 1, value]})


def search(folder: Path, space: str = SPACE, fingerprint: str = "same") -> Search:
    (folder / "space.yaml").write_text(space)
    return Search(f"sqlite:///{folder}/tune.db", "bowl", read_space(folder / "space.yaml"), fingerprint)


def test_a_search_goes_on_where_it_stopped_and_tells_each_trial_once_a_call(tmp_path):
    """Six trials after four are two more, of the same study; enough already runs none."""
    told: list[int] = []
    run(search(tmp_path), bowl, 4, 1, 0, lambda trial: told.append(trial.number))
    assert told == [0, 1, 2, 3]
    told.clear()
    study = run(search(tmp_path), bowl, 6, 1, 0, lambda trial: told.append(trial.number))
    assert told == list(range(6))
    assert study.best_value == min(bowl(trial.params).value for trial in study.trials)
    assert study.best_trial.user_attrs["curves"]["loss"][1] == study.best_value
    assert len(run(search(tmp_path), bowl, 3, 1, 0, lambda _trial: None).trials) == 6


def test_another_space_or_data_under_the_same_name_is_refused(tmp_path):
    """Trials of two searches cannot be compared."""
    run(search(tmp_path), bowl, 1, 1, 0, lambda _trial: None)
    with pytest.raises(ConfigError, match="searched another space or other data; give a new name"):
        search(tmp_path, fingerprint="other").study()


@pytest.mark.slow
def test_two_workers_share_one_storage(tmp_path):
    """Every trial is told once, none is done twice, and the study has what was asked for."""
    told: list[int] = []
    study = run(search(tmp_path), bowl, 8, 2, 0, lambda trial: told.append(trial.number))
    assert sorted(told) == sorted({*told})
    assert 8 <= len(told) <= 9
    assert len({trial.params["x"] for trial in study.trials}) == len(study.trials)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x: {low: 4, high: -4}", "x: is no range with low < high"),
        ("x: {low: 0, high: 1, log: true}", "x: low is 0; on a logarithmic scale it is above 0"),
        ("x: {low: 0, high: 1, choices: [1]}", "x: has choices and a range"),
        ("x: {lowest: 0}", "x: Extra inputs are not permitted"),
        ("- x", "holds no setting; expected lines like"),
        ("x: [", "cannot be read as YAML"),
    ],
)
def test_a_wrong_space_is_refused_with_the_right_form(tmp_path, text, message):
    """Each problem names the setting and shows what one looks like."""
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_space(tmp_path / "space.yaml")
