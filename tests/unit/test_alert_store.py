"""The alarm list on disk: the same as the pure machine's, with its notices in the same transaction."""

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from control_plane.alerts import store as module
from control_plane.alerts.lifecycle import Transition, UnknownAlert
from control_plane.alerts.store import AlertStore
from control_plane.sinks.alerts import AlertSink
from control_plane.sinks.arrival import Arrival
from shared.envelope import Envelope
from shared.errors import ConfigError, Rejected
from shared.schemas import Alert, ComponentId, Telemetry

PUMP = ComponentId("TX01", "R1", "coolant_pump")
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CHANNEL = "webhook"


def alert(state, second, alert_id="a", severity="alarm"):
    return Alert(
        timestamp=NOW + timedelta(seconds=second), **PUMP._asdict(), alert_id=alert_id, severity=severity,
        state=state, kind="anomaly", subject="anomaly", message="score 7.4",
    )  # fmt: skip


def arrival(record, seq, store_id="store-TX01"):
    return Arrival(record, b"", Envelope(record.SCHEMA, "TX01", store_id, seq, "c0ffee"))


@pytest.fixture
def store(tmp_path):
    found = AlertStore(tmp_path / "alerts.db", lambda: NOW + timedelta(minutes=1))
    found.follow(CHANNEL)
    yield found
    found.close()


@pytest.fixture
def sink(store):
    return AlertSink(store)


def statuses(store):
    return {view.alert_id: view.status.value for view in store.views()}


def notices(store, channel=CHANNEL):
    found = []
    while one := store.next_notice(channel):
        found.append((one.notice.notice.value, one.notice.alert.alert_id))
        store.settle(channel, one.number)
    return found


def test_only_alerts_reach_the_list_and_repeats_change_nothing(store, sink):
    reading = Telemetry(timestamp=NOW, **PUMP._asdict(), cycle=1, metrics={}, quality={})
    batch = [arrival(reading, 1), arrival(alert("raised", 1), 2)]
    sink.accept(batch)
    sink.accept(batch)
    assert statuses(store) == {"a": "raised"}
    assert notices(store) == [("raised", "a")]


def test_an_acknowledgement_outlives_the_process_and_is_told(store, sink, tmp_path):
    sink.accept([arrival(alert("raised", 1), 1)])
    store.acknowledge(["a"], "A. Reyes", "crew is on its way")
    store.close()
    again = AlertStore(tmp_path / "alerts.db")
    [view] = again.views()
    assert (view.status.value, view.acknowledgement.who) == ("acknowledged", "A. Reyes")
    assert notices(again) == [("raised", "a"), ("acknowledged", "a")]
    again.close()


def test_what_cannot_be_put_on_the_record_is_not_acknowledged(store, sink):
    def fails(_):
        raise ConfigError("log.db", ["damaged"])

    sink.accept([arrival(alert("raised", 1), 1)])
    with pytest.raises(ConfigError):
        store.acknowledge(["a"], "A. Reyes", "", on_record=fails)
    assert statuses(store) == {"a": "raised"}
    assert notices(store) == [("raised", "a")]


def test_alerts_are_acknowledged_together_or_not_at_all(store, sink):
    sink.accept([arrival(alert("raised", 1), 1)])
    with pytest.raises(UnknownAlert, match="no alert nobody"):
        store.acknowledge(["a", "nobody"], "A. Reyes", "")
    assert statuses(store) == {"a": "raised"}
    store.acknowledge(["a"], "A. Reyes", "")
    with pytest.raises(Rejected, match=r"A\. Reyes has acknowledged it"):
        store.acknowledge(["a"], "B. Ito", "")


def test_an_older_alert_that_comes_late_finds_the_newer_one_that_is_over(store, sink):
    """A site that was cut off: what it says of last week does not stand again."""
    sink.accept([arrival(alert("raised", 50, "new"), 5)])
    store.acknowledge(["new"], "A. Reyes", "")
    sink.accept([arrival(alert("cleared", 60, "new"), 6)])
    sink.accept([arrival(alert("raised", 1, "old"), 1)])
    assert statuses(store) == {"new": "cleared", "old": "cleared"}


def test_what_the_centre_scored_is_hidden_while_the_sites_own_alert_stands(store, sink):
    sink.accept([arrival(alert("raised", 1), 1), arrival(alert("raised", 2, "c"), 1, "centre-TX01")])
    assert statuses(store) == {"a": "raised"}
    assert notices(store) == [("raised", "a")]


def test_a_channel_begins_with_what_happens_from_then_on(store, sink):
    sink.accept([arrival(alert("raised", 1), 1)])
    store.follow("email")
    store.follow(CHANNEL)  # known already: goes on where it was
    assert notices(store, "email") == []
    assert notices(store) == [("raised", "a")]


def test_what_is_long_over_and_told_is_let_go(store, sink, monkeypatch):
    monkeypatch.setattr(module, "PRUNE_EVERY", 2)
    monkeypatch.setattr(module, "NOTICES_KEPT_MAX", 1)
    sink.accept([arrival(alert("raised", -1e8), 1), arrival(alert("cleared", -1e8 + 1), 2)])
    store.acknowledge(["a"], "A. Reyes", "")
    for second in (1, 2, 3):
        sink.accept([arrival(alert("raised", second, str(second)), 2 + second)])
    notices(store)
    sink.accept([arrival(alert("escalated", 4, "3"), 9)])
    sink.accept([arrival(alert("escalated", 5, "3"), 10)])
    assert "a" not in statuses(store)


def test_a_damaged_file_is_named_with_the_way_out(tmp_path):
    (tmp_path / "alerts.db").write_bytes(b"no database at all, and long enough" * 100)
    with pytest.raises(ConfigError, match=r"(?s)alerts\.db.*move it away"):
        AlertStore(tmp_path / "alerts.db").views()


def test_the_list_is_what_the_pure_machine_says(store, sink, tmp_path):
    """In the file as in memory: a transition is told by what it says, not by its batch."""
    told = [alert("raised", 1), alert("shelved", 2), alert("unshelved", 3), alert("cleared", 4)]
    for seq, one in reversed(list(enumerate(told))):
        sink.accept([arrival(one, seq)])
    assert statuses(store) == {"a": "returned_unacknowledged"}
    assert isinstance(Transition(alert=told[0], seq=1), Transition)
    with sqlite3.connect(tmp_path / "alerts.db") as db:
        assert db.execute("SELECT count(*) FROM alerts").fetchone() == (1,)
    db.close()
