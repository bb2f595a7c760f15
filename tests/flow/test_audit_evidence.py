"""A site's record at the centre, over lake and files: verified, proved to others, and never both wrong."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from typer.testing import CliRunner

from control_plane.audit.centre_log import CentreAct
from control_plane.audit.evidence import keys_on_file, verify_centre, verify_folder
from control_plane.audit.proofs import check_prediction
from control_plane.audit.tile_paths import bundle, entries_of
from control_plane.audit.witness_rounds import WitnessRounds
from control_plane.commands.audit import app
from control_plane.layout import Layout
from control_plane.sinks.lake_tables import TABLES
from shared.errors import ConfigError, PmStackError
from shared.schemas import PredictionRecord
from tests.support.audited_centre import SITE, AuditedCentre, prediction

ENTRIES = 300


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A centre with 300 predictions on the record, co-signed in three looks."""
    centre = AuditedCentre(tmp_path_factory.mktemp("made") / "centre")
    for predictions in (100, 1, ENTRIES - 101):
        centre.more(predictions)
        assert not centre.look().findings
        if predictions == 100:
            shutil.copytree(centre.layout.tiles, centre.layout.data_dir / "earlier")
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


def keys_file(layout: Layout) -> Path:
    path = layout.data_dir / "keys.json"
    path.write_text(call("keys", "--data-dir", layout.data_dir)[1])
    return path


def test_lake_and_files_both_hold(layout):
    """The same 300 entries in both, the co-signed notes of all three looks counted."""
    code, said = call("verify", "--data-dir", layout.data_dir, "--json")
    lake, files = json.loads(said)
    assert code == 0
    assert (lake["source"], lake["entries"], lake["covered"], lake["verified"]) == ("lake", 300, 300, True)
    assert (files["source"], files["entries"], files["covered"], files["verified"]) == (
        "tiles",
        300,
        300,
        True,
    )
    assert lake["witnessed"] == 4  # three notes, and the checkpoint among the files


def test_a_copy_of_the_files_verifies_by_keys_alone(layout, tmp_path):
    """Without lake, database or private key; with no keys it is refused with what is missing."""
    keys = keys_file(layout)
    copy = shutil.copytree(layout.tiles, tmp_path / "copy")
    shutil.rmtree(layout.lake)
    code, said = call("verify", "--files", copy, "--keys", keys, "--json")
    [found] = json.loads(said)
    assert (code, found["covered"], found["witnessed"]) == (0, 300, 1)
    assert "needs --keys" in call("verify", "--files", copy)[1]
    with pytest.raises(ConfigError, match="holds no folder of a site"):
        verify_folder(tmp_path / "nothing", {})


def test_each_of_the_two_is_held_against_what_was_signed(layout):
    """An entry changed in the lake, or in the files, is named where it was changed and only there."""
    body = DeltaTable(str(layout.lake / "audit"))
    body.update(predicate='"index" = 7', updates={"body": "replace(body, 'kg/s', 'kg/h')"})
    lake, files = verify_centre(layout, keys_on_file(layout))
    assert files.verified
    assert any("its root is not that of the entries" in each for each in lake.problems)
    path = layout.tiles / SITE / "tile" / "entries" / "000"
    entries = entries_of(path.read_bytes())
    entries[9] = entries[9].replace(b"kg/s", b"kg/h")
    path.write_bytes(bundle(entries))
    _, files = verify_centre(layout, keys_on_file(layout))
    assert files.problems == ["entry 9: its bytes are not those whose hash is in tile/0/000"]


def test_a_log_that_was_put_back_is_named_by_what_was_kept(layout):
    """An earlier state of the files holds by itself; a checkpoint of later says that it was cut."""
    keys, later = keys_file(layout), layout.tiles / SITE / "checkpoint"
    earlier = ["verify", "--files", layout.data_dir / "earlier", "--keys", keys, "--site", SITE]
    assert call(*earlier)[0] == 0
    code, said = call(*earlier, "--checkpoint", later)
    assert code == 1
    assert "checkpoint: is of 100 entries; 300 were signed before" in said
    shutil.rmtree(layout.tiles)
    (layout.data_dir / "earlier").rename(layout.tiles)
    lake, files = verify_centre(layout, keys_on_file(layout))
    assert (lake.verified, files.verified) == (True, False)


def test_a_lake_that_is_gone_is_said(layout):
    """With the files whole and the lake lost, verification fails and says what cannot be read."""
    shutil.rmtree(layout.lake)
    lake, files = verify_centre(layout, keys_on_file(layout))
    assert files.verified
    assert "its entries cannot be read" in lake.problems[0]


def test_a_proof_convinces_whoever_has_the_keys_alone(layout, tmp_path):
    """The printed proof holds by the public keys and shows the prediction; by index it is the same one."""
    wanted = prediction(123)
    code, proof = call("prove", wanted.prediction_id, "--data-dir", layout.data_dir)
    assert code == 0
    assert call("prove", "--site", SITE, "--index", 123, "--data-dir", layout.data_dir)[1] == proof
    keys = keys_file(layout)
    path = tmp_path / "a.tlog-proof"
    path.write_text(proof)
    code, said = call("verify-proof", path, "--keys", keys, "--json")
    found = json.loads(said)
    assert (code, found["index"], found["size"]) == (0, 123, 300)
    assert found["entry"]["prediction"]["rul"] == wanted.rul
    path.write_text(proof.replace("index 123", "index 122"))
    code, said = call("verify-proof", path, "--keys", keys)
    assert code == 1
    assert "the entry is not number 122 under the signed root" in said


def test_a_prediction_is_followed_to_both_signatures(layout):
    """Entry, window, place in the log, the site's signature, the centre's: each step said, all held."""
    verdict = check_prediction(layout, prediction(250).prediction_id)
    assert verdict.ok
    assert [step.what for step in verdict.steps] == [
        "entry on the record", "input window", "place in the log", "the site's signature",
        "the centre's co-signature",
    ]  # fmt: skip
    assert verdict.steps[0].detail.startswith("entry 250 of TX01")


def test_a_prediction_that_is_not_on_the_record_is_said(layout):
    """An id that no entry has, and one whose window was changed, fail at that step and go no further."""
    unknown = check_prediction(layout, "nobody")
    assert (unknown.ok, len(unknown.steps)) == (False, 1)
    assert "no audit entry holds prediction nobody" in unknown.steps[0].detail
    wanted = prediction(5).prediction_id
    path = str(layout.lake / "predictions")
    rows = DeltaTable(path).to_pyarrow_table().to_pylist()
    changed = [row | {"window": b"\0" * 256} for row in rows]
    schema = TABLES[PredictionRecord.SCHEMA].schema
    write_deltalake(path, pa.Table.from_pylist(changed, schema), mode="overwrite")
    verdict = check_prediction(layout, wanted)
    assert [(step.what, step.ok) for step in verdict.steps] == [
        ("entry on the record", True), ("input window", False),
    ]  # fmt: skip


def act(layout: Layout, number: int = 1) -> None:
    """Acts of the centre's people on its record."""
    for _ in range(number):
        layout.centre_log().note(CentreAct.RELEASE_APPROVED, "pump/1", by="alice")


def infer(layout: Layout, number: int = 1) -> list[str]:
    """Predictions of the centre's own inference on its record; their ids."""
    window = np.ones((4, 2), np.float32)
    with layout.audit_logger() as logger:
        return [
            logger.log_prediction(SITE, "R1", "pump", "1", window, 9.5 + n, "2026-01-01T00:00:00Z")
            for n in range(number)
        ]


def look(layout: Layout) -> WitnessRounds:
    """The witness's round over all logs."""
    rounds = WitnessRounds(layout, layout.store())
    for log in rounds.logs():
        rounds.look(log)
    return rounds


def in_the_log(layout: Layout, log: str, sql: str) -> None:
    """Change a log of the centre's own behind everybody's back."""
    with closing(sqlite3.connect(layout.data_dir / f"{log}_log" / "log.db")) as db, db:
        db.executescript(sql)


def test_a_prediction_of_the_centres_own_inference_is_followed_to_both_signatures(layout):
    """It is not proven before the witness has co-signed it, as a site's; then each step holds."""
    [found] = infer(layout)
    before = check_prediction(layout, found).steps
    assert [(step.what, step.missing) for step in before if not step.ok] == [("place in the log", True)]
    assert not look(layout).findings
    verdict = check_prediction(layout, found)
    assert verdict.ok
    assert [step.what for step in verdict.steps] == [
        "entry on the record", "input window", "place in the log", "the log's signature",
        "the centre's co-signature",
    ]  # fmt: skip
    assert verdict.steps[0].detail.startswith("entry 0 of the centre's inference")


def test_the_inference_log_verifies_as_the_service_has_it_and_as_files(layout, tmp_path):
    """Both forms under the co-signed notes; a copy of the files by keys alone; a proof from it too."""
    [*_, wanted] = infer(layout, 5)
    look(layout)
    infer(layout, 2)
    look(layout)
    log, files = verify_centre(layout, keys_on_file(layout), "inference")
    assert (log.source, log.covered, log.witnessed, log.problems) == ("log", 7, 3, [])
    assert (files.source, files.covered, files.witnessed, files.problems) == ("tiles", 7, 1, [])
    sources = [each.source for each in verify_centre(layout, keys_on_file(layout))]
    assert sources == ["lake", "tiles", "log", "tiles"]
    keys, proof = keys_file(layout), tmp_path / "a.tlog-proof"
    copy = shutil.copytree(layout.tiles, tmp_path / "copy")
    proof.write_text(call("prove", wanted, "--data-dir", layout.data_dir)[1])
    assert proof.read_text() == call(
        "prove", "--site", "inference", "--index", 4, "--data-dir", layout.data_dir
    )[1]  # fmt: skip
    shutil.rmtree(layout.data_dir / "inference_log")
    assert call("verify", "--files", copy, "--keys", keys)[0] == 0
    code, said = call("verify-proof", proof, "--keys", keys, "--json")
    assert (code, json.loads(said)["entry"]["prediction"]["prediction_id"]) == (0, wanted)
    assert json.loads(said)["signed_by"] == ["pm-stack-smr/inference", "pm-stack-smr/witness"]


def test_the_log_of_the_centres_acts_is_co_signed_and_kept_as_files(layout, tmp_path):
    """In the same rounds; it verifies where it is, as files by keys alone, and by a proof of one act."""
    act(layout, 3)
    look(layout)
    act(layout, 2)
    look(layout)
    log, files = verify_centre(layout, keys_on_file(layout), "centre")
    assert (log.source, log.covered, log.witnessed, log.problems) == ("log", 5, 3, [])
    assert (files.source, files.covered, files.witnessed, files.problems) == ("tiles", 5, 1, [])
    keys, proof = keys_file(layout), tmp_path / "a.tlog-proof"
    whole = json.loads(call("verify", "--data-dir", layout.data_dir, "--json")[1])
    assert [each["site"] for each in whole] == [SITE, SITE, "the centre", "the centre"]
    proof.write_text(call("prove", "--site", "centre", "--index", 4, "--data-dir", layout.data_dir)[1])
    copy = shutil.copytree(layout.tiles, tmp_path / "copy")
    shutil.rmtree(layout.data_dir / "centre_log")
    assert call("verify", "--files", copy, "--keys", keys, "--site", "centre")[0] == 0
    code, said = call("verify-proof", proof, "--keys", keys, "--json")
    found = json.loads(said)
    assert (code, found["signed_by"]) == (0, ["pm-stack-smr/centre", "pm-stack-smr/witness"])
    assert found["entry"]["detail"] == {"by": "alice"}


@pytest.mark.parametrize(("log", "add"), [("centre", act), ("inference", infer)])
def test_a_log_of_the_centres_own_is_exported_whole(layout, tmp_path, log, add):
    """Its entries and checkpoints are the service's, not the lake's, which has none of them."""
    add(layout, 3)
    look(layout)
    to = tmp_path / "inspection"
    assert call("export", "--site", log, "--to", to, "--data-dir", layout.data_dir)[0] == 0
    own = layout.own_logs()[log]
    assert (to / "entries.jsonl").read_bytes().splitlines() == [leaf.data for leaf in own.leaves()]
    notes = [path.read_text() for path in sorted((to / "checkpoints").iterdir())]
    assert len(notes) > 0
    assert notes == own.checkpoints()


@pytest.mark.parametrize(("log", "add"), [("centre", act), ("inference", infer)])
def test_a_log_of_the_centres_own_that_is_taken_away_is_missed(layout, log, add):
    """By the keys that somebody noted; and by the files of the witness, where its key has gone too."""
    add(layout, 3)
    noted = keys_on_file(layout)
    shutil.move(layout.data_dir / f"{log}_log", layout.data_dir / "away")
    assert verify_centre(layout, noted)[-1].problems == [
        "is not there, and its key or its files say that it was"
    ]
    shutil.move(layout.data_dir / "away", layout.data_dir / f"{log}_log")
    look(layout)
    shutil.rmtree(layout.data_dir / f"{log}_log")
    found, files = verify_centre(layout, noted)[-2:]
    assert (found.verified, files.verified) == (False, True)
    assert verify_centre(layout, keys_on_file(layout))[-1].problems == ["no verifier key is known for it"]


@pytest.mark.parametrize(("log", "add"), [("centre", act), ("inference", infer)])
def test_a_damaged_file_of_a_log_stops_neither_the_witness_nor_the_verification_of_others(layout, log, add):
    """It is named, and the sites' logs are looked at."""
    add(layout)
    (layout.data_dir / f"{log}_log" / "log.db").write_bytes(b"no database " * 1000)
    assert "file is not a database" in look(layout).findings[log]
    lake, files, damaged = verify_centre(layout, keys_on_file(layout))
    assert (lake.verified, files.verified) == (True, True)
    assert "file is not a database" in damaged.problems[0]


@pytest.mark.parametrize(("log", "add"), [("centre", act), ("inference", infer)])
@pytest.mark.parametrize(
    ("sql", "named"),
    [
        (
            "UPDATE entries SET body = replace(replace(body, '9.5', '95'), 'alice', 'mally') "
            'WHERE "index" = 0',
            "its root is not that",
        ),
        (
            'DELETE FROM entries WHERE "index" > 2; DELETE FROM checkpoints; DELETE FROM tree;',
            "2 entries under it are missing",
        ),
    ],
)
def test_a_log_that_was_changed_after_it_was_co_signed_is_named(layout, log, add, sql, named):
    """Its key could sign it anew; the notes and files that the witness kept tell the two apart."""
    add(layout, 5)
    look(layout)
    in_the_log(layout, log, sql)
    found, files = verify_centre(layout, keys_on_file(layout), log)
    assert any(named in problem for problem in found.problems), found.problems
    assert files.verified


def test_an_answer_that_was_changed_after_it_was_co_signed_is_named(layout):
    """The files hold what was signed."""
    first, *_ = infer(layout, 5)
    look(layout)
    in_the_log(
        layout, "inference", "UPDATE entries SET body = replace(body, '9.5', '95') WHERE \"index\" = 0"
    )
    wrong = check_prediction(layout, first).steps[-1]
    assert (wrong.what, wrong.detail) == ("place in the log", "the log holds another entry under this index")


def test_an_inference_that_nobody_has_asked_yet_is_no_failure(layout):
    """Its log is there from its start, with no entry in it."""
    with layout.audit_logger():
        pass
    assert layout.has_inference_log
    code, said = call("verify", "--data-dir", layout.data_dir)
    assert code == 0, said
    assert "NOT VERIFIED" not in said


@pytest.mark.parametrize(("log", "add"), [("centre", act), ("inference", infer)])
def test_a_log_that_was_begun_anew_is_not_co_signed(layout, log, add):
    """The witness goes on only from what it co-signed."""
    add(layout, 3)
    look(layout)
    (layout.data_dir / f"{log}_log" / "log.db").unlink()
    add(layout, 6)
    assert "its root is not that of the entries" in look(layout).findings[log]


def test_keys_of_ones_own_are_the_only_ones_believed_of_the_inference_log(layout):
    """With a file of keys that has none for it, it is not verified by the key beside it."""
    infer(layout)
    others = {name: key for name, key in keys_on_file(layout).items() if name != "inference"}
    assert "no verifier key" in verify_centre(layout, others)[-1].problems[0]
