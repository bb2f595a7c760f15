"""What stands on the record: found by what is asked for, computed again, handed to an inspector."""

import json
import re
import shutil
import sqlite3
from collections import Counter
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from control_plane.audit import audit_table
from control_plane.audit.export import PROOFS_MAX
from control_plane.audit.query import Question, ask, write
from control_plane.audit.recorded import draw
from control_plane.audit.replay_many import replay_many
from control_plane.commands.audit import app
from control_plane.layout import Layout
from control_plane.serving.engine import Run
from control_plane.serving.recording import record
from edge_agent.scoring import Scorer
from shared.errors import ConfigError, PmStackError, Rejected, Retryable
from shared.interpret import interpret
from shared.onnx_model import OnnxModel, runtime
from shared.schemas import ComponentId, PredictionRecord, Window
from tests.support import audited_centre
from tests.support.audited_centre import BEGIN, SITE, AuditedCentre
from tests.support.releases import make_release, spec

SPEC = spec()
MANIFEST, MODEL = make_release()
SCORER = Scorer.load(MANIFEST, MODEL)
PUMP = ComponentId(SITE, "R1", "coolant_pump")
AT_EDGE, AT_CENTRE = 30, 12


def releases(sha256):
    """What the registry answers."""
    if sha256 != MANIFEST.sha256:
        raise Rejected(f"no registered model has SHA-256 {sha256}")
    return MANIFEST, MODEL


def window(number: int) -> Window:
    values = np.random.default_rng(number).normal(5, 3, (SPEC.window_cycles, len(SPEC.tags)))
    return Window(
        PUMP, "coolant_pump", number, BEGIN + timedelta(hours=number), SPEC.tags, np.float32(values)
    )


def scored(number: int) -> PredictionRecord:
    found = SCORER.score(window(number))
    assert isinstance(found, PredictionRecord)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A centre with a site's 30 predictions and 12 of its own inference, every second one run alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audited_centre, "prediction", scored)
        centre = AuditedCentre(tmp_path_factory.mktemp("made") / "centre")
        centre.more(AT_EDGE)
        centre.look()
    model = OnnxModel(MANIFEST, MODEL)
    with centre.layout.audit_logger() as logger:
        for number in range(100, 100 + AT_CENTRE):
            asked, block = window(number), 1 if number % 2 else 16
            raw = model.run(asked.values[np.newaxis], block)
            run = Run({}, runtime(block), took_ms=0.25)
            record(logger, model, asked, run, interpret(raw, MANIFEST, asked))
    centre.look()
    return centre.layout.data_dir


@pytest.fixture
def layout(made, tmp_path) -> Layout:
    return Layout(shutil.copytree(made, tmp_path / "centre"))


def call(*arguments: object) -> tuple[int, str]:
    """The exit code and what was printed; 1 for an error that the program reports as a line."""
    ended = CliRunner().invoke(app, [str(each) for each in arguments])
    if isinstance(ended.exception, PmStackError):
        return 1, str(ended.exception)
    return ended.exit_code, ended.stdout


def test_one_table_holds_the_sites_predictions_and_the_centres_own(layout):
    """Both kinds have the fields of PRD 7.1, whichever log they are in."""
    rows = ask(layout, Question(event="prediction"))
    assert [row["log"] for row in rows].count(SITE) == AT_EDGE
    assert [row["log"] for row in rows].count("inference") == AT_CENTRE
    for row in rows:
        assert (row["site_id"], row["reactor_id"], row["component"]) == PUMP
        assert (row["model_name"], row["model_version"]) == (MANIFEST.name, str(MANIFEST.version))
        assert row["model_sha256"] == MANIFEST.sha256
        assert row["rul_state"] in ("ok", "beyond_horizon", "withheld")
        assert row["inference_time_ms"] >= 0
        assert row["window_sha256"]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (Question(site=SITE), AT_EDGE + AT_CENTRE),
        (Question(site="ID01"), 0),
        (Question(log="inference"), AT_CENTRE),
        (Question(component="coolant_pump", model_version="coolant_pump/1"), AT_EDGE + AT_CENTRE),
        (Question(model_version="2"), 0),
        (Question(since=BEGIN + timedelta(hours=10), until=BEGIN + timedelta(hours=20)), 10),
        (Question(event="audit_failure"), 0),
        (Question(flag="nothing has this flag"), 0),
    ],
)
def test_entries_are_found_by_what_is_asked_for(layout, question, expected):
    """By site, log, component, model version, time and flag; what does not fit is not there."""
    assert len(ask(layout, question)) == expected


def test_flags_are_found_in_both_logs(layout):
    """An abnormal prediction is found as such at the edge and at the centre, as its entry says."""
    rows = ask(layout, Question())
    flagged = ask(layout, Question(flag="anomaly"))
    assert {row["prediction_id"] for row in flagged} == {
        row["prediction_id"]
        for row in rows
        if "anomaly" in (told := json.loads(row["body"])["prediction"]).get("flags", ())
        or told.get("is_anomaly")
    }


def test_parquet_parts_go_on_and_are_made_again(layout, monkeypatch):
    """Full parts are final, the last one grows; without them the table is the same."""
    monkeypatch.setattr(audit_table, "PART_ENTRIES", 5)
    before = ask(layout, Question(log="inference"))
    with layout.audit_logger() as logger:
        logger.log_prediction(SITE, "R1", "pump", "7", [1.0], 3.0, BEGIN)
    assert len(ask(layout, Question(log="inference"))) == len(before) + 1
    assert pq.read_table(layout.audit_log).num_rows == AT_CENTRE + 1
    shutil.rmtree(layout.audit_log)
    assert len(ask(layout, Question(log="inference"))) == AT_CENTRE + 1


def test_the_table_is_written_as_sqlite_and_as_parquet(layout, tmp_path):
    """The same rows in both; another end, or a file that is there, is refused."""
    rows = ask(layout, Question())
    for name in ("log.sqlite", "log.parquet"):
        write(rows, tmp_path / name)
    database = sqlite3.connect(tmp_path / "log.sqlite")
    assert database.execute("SELECT count(*), count(DISTINCT prediction_id) FROM audit_log").fetchone() == (
        AT_EDGE + AT_CENTRE, AT_EDGE + AT_CENTRE,
    )  # fmt: skip
    database.close()
    assert pq.read_table(tmp_path / "log.parquet").num_rows == len(rows)
    for name in ("log.csv", "log.sqlite"):
        with pytest.raises(ConfigError):
            write(rows, tmp_path / name)


def test_an_empty_centre_says_that_nothing_is_on_the_record(tmp_path):
    """No tables and no log: a clear word."""
    with pytest.raises(Retryable, match="nothing is on the record yet"):
        ask(Layout(tmp_path), Question())


def test_every_drawn_prediction_is_computed_again_bit_for_bit(layout):
    """The sites' and the centre's own, run alone or in a block, each as its record says; a draw repeats."""
    ids = draw(layout, 1000, seed=7)
    assert len(ids) == AT_EDGE + AT_CENTRE
    assert draw(layout, 5, seed=7) == draw(layout, 5, seed=7) != draw(layout, 5, seed=8)
    found = replay_many(layout, ids, releases)
    assert (found.held, found.counts()["bit-exact"]) == (True, AT_EDGE + AT_CENTRE)
    assert all(result.runtime == result.recorded_runtime for result in found.results)


@pytest.mark.parametrize(("shift", "answer"), [(1e-5, "within tolerance"), (1.0, "different")])
def test_another_output_is_answered_as_what_it_is(layout, shift, answer):
    """A record that another machine made a little otherwise, or that is false, is told from an exact one."""
    logger_of = layout.audit_logger()
    model, asked = OnnxModel(MANIFEST, MODEL), window(1)
    raw = model.run(asked.values[np.newaxis])
    with logger_of as logger:
        told = interpret(raw, MANIFEST, asked)
        told["raw"] = {name: [x + shift for x in rows] for name, rows in told["raw"].items()}
        made_up = record(logger, model, asked, Run({}, runtime(16), took_ms=0.25), told)
    found = replay_many(layout, [made_up], releases)
    assert found.results[0].answer == answer
    assert found.held == (answer == "within tolerance")


def test_a_prediction_that_cannot_be_computed_again_is_named(layout):
    """An unknown id, a model that the registry lacks and a changed window are problems, not silence."""
    [an_id, *_] = layout.inference_log().prediction_ids()
    assert not replay_many(layout, ["no such id"], releases).held
    nobody = replay_many(layout, [an_id], lambda sha256: (_ for _ in ()).throw(Rejected(f"no {sha256}")))
    assert (nobody.held, len(nobody.problems)) == (False, 1)
    database = sqlite3.connect(layout.data_dir / "inference_log" / "log.db")
    with database:
        database.execute('UPDATE entries SET "window" = zeroblob(length("window"))')
    database.close()
    [problem] = replay_many(layout, [an_id], releases).problems
    assert "not the one on the record" in problem


def test_an_inspector_verifies_the_folder_with_nothing_else(layout, tmp_path):
    """After the centre is gone, log and proofs hold by files and keys alone; a changed one does not."""
    folder = tmp_path / "inspection"
    code, said = call("export", "--site", SITE, "--to", folder, "--data-dir", layout.data_dir, "--json")
    assert (code, json.loads(said)["entries"], json.loads(said)["verified"]) == (0, AT_EDGE, True)
    assert json.loads(said)["proofs"] == PROOFS_MAX + AT_CENTRE
    shutil.rmtree(layout.data_dir)
    verify = "verify", "--files", folder / "audit", "--keys", folder / "keys.json", "--site", SITE
    assert call(*verify)[0] == 0
    by = []
    for proof in (folder / "proofs").iterdir():
        code, said = call("verify-proof", proof, "--keys", folder / "keys.json", "--json")
        by.append(json.loads(said)["origin"])
    assert Counter(by) == {"pm-stack-smr/TX01": PROOFS_MAX, "pm-stack-smr/inference": AT_CENTRE}
    assert not (folder / "audit" / "inference").exists()  # it has other sites' predictions too
    assert len((folder / "entries.jsonl").read_bytes().splitlines()) == AT_EDGE
    assert not any(b"PRIVATE KEY" in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    tile = next((folder / "audit" / SITE / "tile" / "entries").rglob("*.p/*"))
    tile.write_bytes(tile.read_bytes().replace(b"coolant_pump", b"coolant_pumq", 1))
    assert call(*verify)[0] == 1


def test_an_export_of_a_damaged_record_says_so(layout, tmp_path):
    """A tile that was changed: the folder is written, the report names it, and the exit code is 1."""
    tile = next((layout.tiles / SITE / "tile" / "entries").rglob("*.p/*"))
    tile.write_bytes(tile.read_bytes().replace(b"coolant_pump", b"coolant_pumq", 1))
    folder = tmp_path / "inspection"
    assert call("export", "--site", SITE, "--to", folder, "--data-dir", layout.data_dir)[0] == 1
    assert "DOES NOT HOLD" in (folder / "report.html").read_text()


def test_the_report_needs_nothing_from_elsewhere(layout, tmp_path):
    """Nothing to fetch and nothing to run: it opens from a disk, for years."""
    folder = tmp_path / "inspection"
    call("export", "--site", SITE, "--to", folder, "--data-dir", layout.data_dir)
    report = (folder / "report.html").read_text()
    assert "Everything that was checked holds" in report
    assert not re.search(r"<script|<link|<img|src=|href=|url\(|@import|https?:", report)


def test_a_site_of_which_nothing_is_known_cannot_be_exported(layout, tmp_path):
    """The message says what is missing; no folder is left."""
    code, said = call("export", "--site", "ID01", "--to", tmp_path / "x", "--data-dir", layout.data_dir)
    assert (code, (tmp_path / "x").exists()) == (1, False)
    assert "has never called" in said
