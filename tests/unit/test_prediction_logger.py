"""The record of the centre's inference (PRD 7.1): complete, in order, and never in inference's way."""

import shutil
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.audit import prediction_logger, spool
from control_plane.audit.inference_entry import InferenceEvent
from control_plane.layout import Layout
from shared.errors import ConfigError
from tests.support.agent_process import until

WINDOW = np.array([[1.5, np.nan], [2.5, -0.0]], dtype=np.float32)
WHEN = "2026-03-01T12:00:00+00:00"


@pytest.fixture(autouse=True)
def _no_group_in_between(monkeypatch):
    monkeypatch.setattr(prediction_logger, "COMMIT_PERIOD_S", 3600.0)


def log_one(logger, number=0, **more):
    return logger.log_prediction("TX01", "SMR-1", "pump_a", "7", WINDOW, number / 4, WHEN, **more)


def logged(folder, times):
    with Layout(folder).audit_logger() as logger:
        return [log_one(logger, number) for number in range(times)]


def spooled(folder, what="*.open"):
    """The files that are written to, or the segments."""
    return sorted((folder / "inference_log" / "spool").glob(what))


def details(folder):
    entries = Layout(folder).inference_log().entries()
    return [each.detail for each in entries if each.event is InferenceEvent.AUDIT_FAILURE]


def test_a_prediction_is_on_the_record_with_every_field_and_its_window(tmp_path):
    """Every field of PRD 7.1, the outputs for a replay, and the window that the entry's digest is of."""
    with Layout(tmp_path).audit_logger() as logger:
        found = log_one(
            logger, 5, model_name="pump", model_sha256="a" * 64, component_type="coolant_pump",
            raw={"rul": [1.0, 1.25, 2.0]}, flags=["anomaly"], inference_time_ms=0.5, rul_state="ok",
        )  # fmt: skip
    entry, window = Layout(tmp_path).inference_log().find(found)
    told = entry.prediction
    assert (told.site_id, told.reactor_id, told.component) == ("TX01", "SMR-1", "pump_a")
    assert (told.model_name, told.model_version, told.model_sha256) == ("pump", "7", "a" * 64)
    assert (told.predicted_rul, told.raw, told.flags) == (1.25, {"rul": [1.0, 1.25, 2.0]}, ["anomaly"])
    assert (told.inference_time_ms, entry.timestamp) == (0.5, datetime(2026, 3, 1, 12, tzinfo=UTC))
    assert window == WINDOW.tobytes()
    assert Layout(tmp_path).inference_log().verify().verified


def test_a_list_of_numbers_is_the_same_window_as_an_array(tmp_path):
    """PRD 7.1 hands in a list of floats."""
    with Layout(tmp_path).audit_logger() as logger:
        found = logger.log_prediction("TX01", "R1", "pump", "7", [1.5, 2.5], 3.0, WHEN)
    assert Layout(tmp_path).inference_log().find(found)[1] == np.float32([1.5, 2.5]).tobytes()


def test_numpys_numbers_are_numbers_like_others(tmp_path):
    """What leaves a model goes on the record as it is, every bit of its float32."""
    with Layout(tmp_path).audit_logger() as logger:
        found = log_one(logger, rul_low=np.float32(0.1), raw={"rul": np.float32([0.1, 0.2])})
        assert logger.failed == 0
    told = Layout(tmp_path).inference_log().find(found)[0].prediction
    assert (told.rul_low, told.raw) == (float(np.float32(0.1)), {"rul": np.float32([0.1, 0.2]).tolist()})


def test_the_log_goes_on_after_a_restart(tmp_path):
    """Entries keep their order and numbers over two lives, and one log verifies."""
    ids = logged(tmp_path, 3) + logged(tmp_path, 2)
    record = Layout(tmp_path).inference_log()
    assert record.prediction_ids() == ids
    assert [each.index for each in record.entries()] == [0, 1, 2, 3, 4]
    assert record.verify().covered == 5


def test_a_segment_whose_commit_was_not_noticed_is_not_committed_twice(tmp_path):
    """Killed after the commit and before the file is removed: the next start removes it."""
    with Layout(tmp_path).audit_logger() as logger:
        log_one(logger)
        logger.cut()
        [segment] = spooled(tmp_path, "*.spool")
        kept = segment.read_bytes()
        logger.flush()
        segment.write_bytes(kept)
    ids = logged(tmp_path, 1)
    assert len(Layout(tmp_path).inference_log().prediction_ids()) == 2
    assert Layout(tmp_path).inference_log().prediction_ids()[1:] == ids
    assert not spooled(tmp_path, "*.spool")


def test_a_record_that_was_cut_off_is_itself_on_the_record(tmp_path):
    """Whole records before a torn one are kept; that one is missing is an entry."""
    with Layout(tmp_path).audit_logger() as logger:
        first, _ = log_one(logger, 0), log_one(logger, 1)
        [segment] = spooled(tmp_path)
        segment.write_bytes(segment.read_bytes()[:-3])
    assert Layout(tmp_path).inference_log().prediction_ids() == [first]
    [detail] = details(tmp_path)
    assert "cut off" in detail["reason"]
    assert Layout(tmp_path).inference_log().verify().verified


def test_a_flipped_bit_in_the_spool_is_no_prediction(tmp_path):
    """A damaged record never becomes an entry of other content."""
    with Layout(tmp_path).audit_logger() as logger:
        log_one(logger)
        [segment] = spooled(tmp_path)
        data = bytearray(segment.read_bytes())
        data[-1] ^= 1
        segment.write_bytes(data)
    assert Layout(tmp_path).inference_log().prediction_ids() == []
    assert len(details(tmp_path)) == 1


def test_a_call_that_cannot_be_logged_returns_and_is_on_the_record_later(tmp_path):
    """With its folder gone the logger answers all the same; how many calls were lost is an entry."""
    with Layout(tmp_path).audit_logger() as logger:
        folder = tmp_path / "inference_log" / "spool"
        shutil.rmtree(folder)
        for _ in range(3):
            assert log_one(logger)
        assert logger.failed == 3
        folder.mkdir()
        kept = log_one(logger)
        logger.flush()
        logger.flush()
    assert Layout(tmp_path).inference_log().prediction_ids() == [kept]
    [detail] = details(tmp_path)
    assert (detail["what"], detail["times"]) == ("lost", 3)


def test_a_spool_that_was_taken_away_is_on_the_record_and_later_calls_are_committed(tmp_path):
    """What lay in it is gone, which one commit says; the next ones go on."""
    with Layout(tmp_path).audit_logger() as logger:
        log_one(logger)
        [taken] = spooled(tmp_path)
        taken.unlink()
        assert not logger.flush()
        kept = log_one(logger)
        assert logger.flush()
    assert Layout(tmp_path).inference_log().prediction_ids() == [kept]
    [detail] = details(tmp_path)
    assert "taken away" in detail["reason"]


def test_a_full_spool_refuses_and_takes_again_after_a_commit(tmp_path, monkeypatch):
    """The spool is bounded: what does not fit is counted, and nothing that was taken is harmed."""
    with Layout(tmp_path).audit_logger() as logger:
        log_one(logger)
        monkeypatch.setattr(spool, "SPOOL_BYTES_MAX", 1)
        log_one(logger)
        assert logger.failed == 1
        logger.flush()
        log_one(logger)
        assert logger.failed == 1
    assert len(Layout(tmp_path).inference_log().prediction_ids()) == 2
    assert [each["times"] for each in details(tmp_path)] == [1]


def test_a_log_that_cannot_be_written_keeps_all_in_the_spool(tmp_path):
    """A damaged log stops neither inference nor the spool; put back, it takes it all, late."""
    database = tmp_path / "inference_log" / "log.db"
    with Layout(tmp_path).audit_logger() as logger:
        whole = database.read_bytes()
        database.write_bytes(b"no database" * 500)
        ids = [log_one(logger, 1)]
        assert not logger.flush()
        ids.append(log_one(logger, 2))
        assert logger.failed == 0
        database.write_bytes(whole)
        assert logger.flush()
    assert Layout(tmp_path).inference_log().prediction_ids() == ids
    assert [each["what"] for each in details(tmp_path)] == ["late"]


def test_a_second_server_on_the_same_folder_does_not_start(tmp_path):
    """Two writers would give two entries one number; the second is told what to do."""
    with Layout(tmp_path).audit_logger(), pytest.raises(ConfigError, match="another inference server"):
        Layout(tmp_path).audit_logger().__enter__()


def test_processes_beside_the_one_that_commits_log_to_the_same_record(tmp_path):
    """Each segment is in the log once, whoever wrote it and whenever it was cut; what they lost too."""
    layout = Layout(tmp_path)
    with layout.audit_logger() as logger, layout.prediction_spool() as one, layout.prediction_spool() as two:
        ids = []
        for number in range(30):
            writer = (logger, one, two)[number % 3]
            ids.append(log_one(writer, number))
            if number % 4 == 0:
                assert writer.cut() == []
            if number % 7 == 0:
                logger.flush()
        two.close()
        log_one(two)
        logger.tell(two.cut())
        assert logger.failed == 1
        for each in (one, two):
            each.close()
        logger.flush()
    record = layout.inference_log()
    assert sorted(record.prediction_ids()) == sorted(ids)
    assert [(each["what"], each["times"]) for each in details(tmp_path)] == [("lost", 1)]
    assert record.verify().verified


def test_what_a_writer_was_killed_over_is_committed_at_the_next_start(tmp_path):
    """Its file has no number yet; one that is still written to is left to its writer."""
    layout = Layout(tmp_path)
    with layout.audit_logger():
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True, check=False
        )
        lives = layout.prediction_spool().__enter__()
        here = log_one(lives)
    with layout.audit_logger():
        assert layout.inference_log().prediction_ids() == [killed.stdout.strip()]
        lives.close()
    assert layout.inference_log().prediction_ids() == [killed.stdout.strip(), here]


KILLED = """
import os, signal, sys
from pathlib import Path
from control_plane.layout import Layout
with Layout(Path(sys.argv[1])).prediction_spool() as spool:
    print(spool.log_prediction("TX01", "R1", "pump", "7", [1.0], 1.0, "2026-03-01T12:00:00Z"), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_close_a_call_still_returns(tmp_path):
    """A late call of a server that ends is counted, not raised."""
    with Layout(tmp_path).audit_logger() as logger:
        pass
    assert log_one(logger)
    assert logger.failed == 1


DAMAGE = [
    ("UPDATE entries SET body = replace(body, 'pump_a', 'pump_b') WHERE \"index\" = 2", "root is not that"),
    ('DELETE FROM entries WHERE "index" = 2', "entries are missing"),
    ('DELETE FROM entries WHERE "index" = 5', "1 entries under it are missing"),
    ('UPDATE entries SET body = \'{"a":1}\' WHERE "index" = 2', "no entry of the inference log"),
    ("UPDATE entries SET body = body || ' ' WHERE \"index\" = 2", "canonical form"),
    ("UPDATE checkpoints SET note = replace(note, 'inference', 'other')", "not the log's own"),
]


@pytest.mark.parametrize(("sql", "problem"), DAMAGE)
def test_a_changed_log_is_seen(tmp_path, sql, problem):
    """An entry that is changed, taken out or cut off contradicts a signed checkpoint."""
    logged(tmp_path, 6)
    database = sqlite3.connect(tmp_path / "inference_log" / "log.db")
    with database:
        database.execute(sql)
    database.close()
    found = Layout(tmp_path).inference_log().verify()
    assert not found.verified
    assert any(problem in each for each in found.problems)


texts = st.text(st.characters(), max_size=300)
numbers = st.one_of(st.none(), st.floats())


@settings(deadline=None, max_examples=25)
@given(texts, texts, texts, numbers, st.dictionaries(texts, st.lists(st.floats(), max_size=3), max_size=3))
def test_whatever_is_logged_is_on_the_record_and_verifies(tmp_path_factory, site, version, when, rul, raw):
    """Lone surrogates, no numbers and no times: an entry all the same, below the limit of the format."""
    folder = tmp_path_factory.mktemp("centre")
    with Layout(folder).audit_logger() as logger:
        logger.log_prediction(site, "R1", "pump", version, WINDOW, rul, when, raw=raw, rul_low=rul)
        assert logger.failed == 0
    record = Layout(folder).inference_log()
    assert record.verify().verified
    assert len(record.prediction_ids()) == 1
    assert all(len(leaf.data) < 65_535 for leaf in record.leaves())


def test_half_a_character_is_on_the_record(tmp_path):
    """A lone surrogate in a caller's text, as Python may hold one, loses no entry."""
    with Layout(tmp_path).audit_logger() as logger:
        logger.log_prediction("TX01", "R1", "pump\ud800", "7", WINDOW, 1.0, WHEN)
        assert logger.failed == 0
    assert len(Layout(tmp_path).inference_log().prediction_ids()) == 1


def committing(folder):
    """The processes of this one's that commit to a centre's log."""
    children = psutil.Process().children()
    return [each for each in children if str(folder / "inference_log") in each.cmdline()]


def test_what_commits_much_is_a_process_of_its_own_that_is_begun_again(tmp_path, monkeypatch):
    """Killed, it takes nothing with it: the next one commits all, and that one was late is on the record."""
    monkeypatch.setattr(prediction_logger, "COMMIT_PERIOD_S", 0.05)
    monkeypatch.setattr(prediction_logger, "APART_BYTES_MIN", 0)
    record = Layout(tmp_path).inference_log()
    with Layout(tmp_path).audit_logger() as logger:
        ids = [log_one(logger, 1)]
        until(lambda: record.prediction_ids() == ids, "the first commit")
        [process] = committing(tmp_path)
        process.kill()
        ids.append(log_one(logger, 2))
        until(lambda: record.prediction_ids() == ids, "a commit by another process")
    assert committing(tmp_path) == []
    assert [each["what"] for each in details(tmp_path)] == ["late"]
    assert record.verify().verified
