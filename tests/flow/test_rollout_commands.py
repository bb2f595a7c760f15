"""`control-plane rollout` as a person or a script types it, on a real centre's folder."""

import json

import pytest
from typer.testing import CliRunner

from control_plane.commands.rollout import app
from control_plane.release.journal import Event, Kind
from shared.errors import ConfigError, Rejected
from shared.schemas import utc_now
from tests.support.releases import PASSPHRASE, Centre, make_release

SITES = ("TX01", "ID01")
PLAN = "canary: [TX01]\nrings_percent: []\nsoak_s: 0\ngate: {windows_min: 0}\n"


@pytest.fixture
def centre(tmp_path, monkeypatch):
    monkeypatch.setenv("PM_KEY_PASSPHRASE", PASSPHRASE)
    found = Centre(tmp_path, SITES)
    found.publish(*make_release())
    (tmp_path / "plan.yaml").write_text(PLAN)
    return found


def run(centre, *words: str) -> str:
    command = [*words, "--data-dir", str(centre.layout.data_dir)]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def rows(centre) -> dict[str, dict]:
    return {row["site"]: row for row in json.loads(run(centre, "status", "--json"))}


def test_a_roll_out_from_start_to_a_roll_back(centre, tmp_path):
    """Each command does what it says, and `status --json` follows."""
    keys, plan = str(centre.keys), str(tmp_path / "plan.yaml")
    start = ("start", "coolant_pump/1", "--plan", plan, "--keys", keys, "--by", "dave", "--json")
    [rollout_id] = json.loads(run(centre, *start))
    assert {site: row["state"] for site, row in rows(centre).items()} == {
        "TX01": "commanded",
        "ID01": "waiting",
    }
    table = run(centre, "status")
    assert "no answer yet" in table
    assert "not open yet" in table

    assert "paused" in run(centre, "pause", rollout_id, "--because", "outage", "--by", "dave")
    with pytest.raises(Rejected, match="resume it first"):
        run(centre, "promote", rollout_id)
    assert "goes on" in run(centre, "resume", rollout_id)
    generation = rows(centre)["TX01"]["generation"]
    answer = Event(rollout_id, generation, "TX01", Kind.COMMITTED, "coolant_pump/1", utc_now())
    centre.layout.store().append([answer])
    assert "the ring passes" in run(centre, "promote", rollout_id, "--because", "seen by eye")
    assert "goes back" in run(centre, "abort", rollout_id)
    assert rows(centre)["TX01"]["rollout_state"] == "rolling_back"
    by = [(entry.act.value, entry.detail.get("by")) for entry in centre.layout.centre_log().entries()]
    assert ("rollout_paused", "dave") in by


def test_without_site_the_whole_fleet_takes_part_and_with_it_only_the_named(centre, tmp_path):
    plan = str(tmp_path / "plan.yaml")
    run(centre, "start", "coolant_pump/1", "--plan", plan)
    assert set(rows(centre)) == set(SITES)
    run(centre, "abort", rows(centre)["TX01"]["rollout_id"])
    with pytest.raises(Rejected, match="is rolling_back at TX01"):
        run(centre, "start", "coolant_pump/1", "--plan", plan, "--site", "TX01")


def test_a_wrong_plan_file_says_where_and_starts_nothing(centre, tmp_path):
    (tmp_path / "plan.yaml").write_text("soak: 3\n")
    with pytest.raises(ConfigError, match="soak: Extra inputs"):
        run(centre, "start", "coolant_pump/1", "--plan", str(tmp_path / "plan.yaml"))
    assert rows(centre) == {}
