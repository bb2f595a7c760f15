"""The centre's own record: in order, whole, and seen to be neither (issue 7)."""

import sqlite3
from multiprocessing import get_context

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.audit.centre_log import CENTRE, CentreAct
from control_plane.layout import Layout
from shared.errors import ConfigError

ACTS = 6


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path)
    for number in range(ACTS):
        assert layout.centre_log().note(CentreAct.RELEASE_APPROVED, f"pump/{number}", by="alice") == number
    return layout


def change(layout, sql, *values):
    db = sqlite3.connect(layout.data_dir / "centre_log" / "log.db")
    with db:
        db.execute(sql, values)
    db.close()


def test_acts_verify_and_are_read_back_in_order(layout):
    """Every act stands under a checkpoint of its own."""
    found = layout.centre_log().verify()
    assert (found.site, found.entries, found.covered, found.verified) == (CENTRE, ACTS, ACTS, True)
    assert [each.subject for each in layout.centre_log().entries(4)] == ["pump/4", "pump/5"]


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("UPDATE entries SET body = replace(body, 'alice', 'mally') WHERE \"index\" = 2", "root is not that"),
        ('DELETE FROM entries WHERE "index" = 2', "entries are missing"),
        ('DELETE FROM entries WHERE "index" = 5', "1 entries under it are missing"),
        ('UPDATE entries SET body = \'{"a":1}\' WHERE "index" = 2', "no entry of the centre's log"),
        ("UPDATE checkpoints SET note = replace(note, 'centre', 'other')", "not the log's own"),
    ],
)
def test_a_changed_log_is_seen(layout, sql, problem):
    """An entry that is changed, taken out or cut off contradicts a signed checkpoint."""
    change(layout, sql)
    found = layout.centre_log().verify()
    assert not found.verified
    assert any(problem in each for each in found.problems)


def test_a_changed_entry_stays_seen_when_the_log_goes_on(layout):
    """What was signed goes on, not what lies there: a later checkpoint does not cover up a change."""
    change(layout, "UPDATE entries SET body = replace(body, 'alice', 'mally') WHERE \"index\" = 2")
    layout.centre_log().note(CentreAct.RELEASE_PUBLISHED, "pump/2")
    assert any("checkpoint at 7: its root" in each for each in layout.centre_log().verify().problems)


def test_nothing_is_written_behind_a_hole(layout):
    """A log that lost entries takes no more, so that none gets the number of a lost one."""
    change(layout, 'DELETE FROM entries WHERE "index" = 5')
    with pytest.raises(ConfigError, match="5 entries, its tree 6"):
        layout.centre_log().note(CentreAct.RELEASE_PUBLISHED, "pump/2")


def test_another_key_does_not_pass_for_the_centres(layout, tmp_path):
    """A log that was written anew is signed with another key than the one noted down."""
    noted = layout.centre_log().verifier
    for path in (tmp_path / "centre_log").iterdir():
        path.unlink()
    layout.centre_log().note(CentreAct.RELEASE_PUBLISHED, "pump/2")
    assert layout.centre_log().verify().verified
    assert not layout.centre_log().verify(noted).verified


def _note_ten(folder, name):
    log = Layout(folder).centre_log()
    for number in range(10):
        log.note(CentreAct.CONNECTION_REFUSED, name, number=number)


def test_processes_write_one_log_with_one_key(tmp_path):
    """Services and commands of the centre start and note at once."""
    context = get_context("spawn")
    writers = [context.Process(target=_note_ten, args=(tmp_path, f"p{n}")) for n in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    found = Layout(tmp_path).centre_log().verify()
    assert (found.verified, found.entries) == (True, 20)


@settings(deadline=None, max_examples=25)
@given(
    subject=st.text(st.characters(), max_size=3000),
    value=st.one_of(st.text(st.characters(), max_size=3000), st.integers(), st.floats(), st.booleans()),
)
def test_whatever_was_refused_can_be_put_on_record(tmp_path_factory, subject, value):
    """What an attacker sends is noted, whatever it is: not even lone surrogates or NaN stop the record."""
    layout = Layout(tmp_path_factory.mktemp("centre"))
    layout.centre_log().note(CentreAct.ENROLMENT_REFUSED, subject, value=value)
    assert layout.centre_log().verify().verified
    assert len(layout.centre_log().entries()[0].leaf()) < 65_535
