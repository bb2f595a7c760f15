"""The alarm list beside a real lake: what it missed it takes from there; the command line reads and acts."""

import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from control_plane.commands.alerts import app
from control_plane.layout import Layout
from control_plane.sinks.alerts import AlertSink, catch_up
from control_plane.sinks.arrival import Arrival
from control_plane.sinks.lake import LakeReader, LakeWriter
from shared.envelope import Envelope
from shared.errors import Rejected
from shared.schemas import utc_now
from tests.support.console_lake import EXCHANGER, PUMP, alert


class Centre:
    """A lake and an alarm list that need not hold the same."""

    def __init__(self, folder):
        self.layout = Layout(folder)
        self.store, self.lake = self.layout.alert_store(), LakeWriter(self.layout.lake)
        self.lake.create()
        self.seq = 0

    def arrivals(self, *alerts):
        self.seq += len(alerts)
        first = self.seq - len(alerts)
        return [
            Arrival(a, a.outgoing().body, Envelope(a.SCHEMA, a.site_id, "store", first + n, "c0ffee"))
            for n, a in enumerate(alerts)
        ]

    def catch_up(self):
        catch_up(AlertSink(self.store), self.store, LakeReader(self.layout.lake))

    @property
    def statuses(self):
        return {view.alert_id: view.status.value for view in self.store.views()}


@pytest.fixture
def centre(tmp_path):
    found = Centre(tmp_path)
    yield found
    found.store.close()


def ago(seconds):
    return utc_now() - timedelta(seconds=seconds)


def test_a_list_that_never_held_anything_begins_with_what_stands(centre):
    """After an upgrade nobody must acknowledge a year of alerts that cleared before there was a list."""
    over = [alert(EXCHANGER, ago(90), "over"), alert(EXCHANGER, ago(80), "over", "cleared")]
    centre.lake.accept(centre.arrivals(*over, alert(PUMP, ago(70), "stands")))
    centre.catch_up()
    assert centre.statuses == {"stands": "raised"}


def test_what_only_the_lake_took_before_a_kill_reaches_the_list_at_the_next_start(centre):
    known = centre.arrivals(alert(PUMP, ago(90), "a"))
    centre.lake.accept(known)
    AlertSink(centre.store).accept(known)
    missed = [alert(EXCHANGER, ago(80), "b"), alert(EXCHANGER, ago(70), "b", "cleared")]
    centre.lake.accept(centre.arrivals(*missed))
    centre.catch_up()
    centre.catch_up()
    assert centre.statuses == {"a": "raised", "b": "returned_unacknowledged"}


def test_alerts_are_listed_and_acknowledged_on_the_command_line(centre, tmp_path):
    AlertSink(centre.store).accept(
        centre.arrivals(alert(PUMP, ago(9), "12345678-a"), alert(EXCHANGER, ago(8), "12x"))
    )

    def does(*arguments):
        answer = CliRunner().invoke(app, [*arguments, "--data-dir", str(tmp_path)])
        if answer.exception and not isinstance(answer.exception, SystemExit):
            raise answer.exception
        return answer

    listed = does("list").output
    assert "TX01/R1/coolant_pump" in listed
    assert "nobody yet" in listed
    assert "begins 2 alerts" in does("acknowledge", "12").output
    done = does("acknowledge", "123", "--by", "A. Reyes", "--note", "crew is on its way")
    assert done.output == "12345678-a: acknowledged\n"
    [found] = [a for a in json.loads(does("list", "--json").output) if a["status"] == "acknowledged"]
    assert (found["acknowledgement"]["who"], found["to_acknowledge"]) == ("A. Reyes", False)
    [entry] = centre.layout.centre_log().entries()
    assert (entry.act, entry.detail["note"]) == ("alert_acknowledged", "crew is on its way")
    with pytest.raises(Rejected, match=r"A\. Reyes has acknowledged it"):
        does("acknowledge", "123")
    with pytest.raises(Rejected, match="no alert nobody"):
        does("acknowledge", "nobody")
