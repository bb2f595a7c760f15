"""The centre's own RUL alarm: raised once, cleared once, untouched by what is not known."""

from datetime import UTC, datetime

import pytest

from control_plane.ingest.rul_alarm import RulAlarm
from shared.reactor_config import parse_fleet
from shared.schemas import AlertKind, AlertState, ModelRef, PredictionRecord, RulState, Severity

[(PLACE, COMPONENT)] = parse_fleet({"TX01": {"R1": {"coolant_pump": {}}}}, "test").components().items()


def prediction(rul, state=RulState.OK):
    return PredictionRecord(
        **PLACE._asdict(), timestamp=datetime(2026, 1, 1, tzinfo=UTC), prediction_id="p", cycle=3,
        model=ModelRef(name="m", version=1, sha256="0" * 64), feature_spec_hash="0" * 64,
        window_sha256="0" * 64, rul_state=state, rul=rul, anomaly_score=0, anomaly_threshold=1,
        is_anomaly=False, ood_score=0, ood_threshold=1, is_ood=False, raw={}, inference_time_ms=1,
        runtime="r", window=b"",
    )  # fmt: skip


def states(*records):
    alarm = RulAlarm(PLACE, COMPONENT)
    return [alert.state if (alert := alarm.after(record)) else None for record in records]


@pytest.mark.parametrize(
    ("ruls", "expected"),
    [
        ([10.1, 10.0, 9.0, 3.0], [None, AlertState.RAISED, None, None]),
        ([10.0, 10.9, 11.1, 12.0], [AlertState.RAISED, None, AlertState.CLEARED, None]),  # deadband 10 %
        ([9.0, 20.0, 9.0], [AlertState.RAISED, AlertState.CLEARED, AlertState.RAISED]),
    ],
)
def test_it_is_raised_at_the_limit_and_cleared_beyond_the_deadband(ruls, expected):
    """`rul_alarm` is 10 cycles."""
    assert states(*map(prediction, ruls)) == expected


def test_what_is_withheld_changes_nothing_and_beyond_the_horizon_is_normal():
    withheld, beyond = RulState.WITHHELD, RulState.BEYOND_HORIZON
    found = states(prediction(5.0), prediction(None, withheld), prediction(None, beyond))
    assert found == [AlertState.RAISED, None, AlertState.CLEARED]


def test_an_alert_that_stood_before_is_cleared_under_its_own_id():
    """A centre that was restarted leaves no alert standing for ever."""
    first = RulAlarm(PLACE, COMPONENT).after(prediction(5.0))
    again = RulAlarm(PLACE, COMPONENT)
    again.resume(first)
    assert again.after(prediction(6.0)) is None
    cleared = again.after(prediction(50.0))
    assert (cleared.alert_id, cleared.state) == (first.alert_id, AlertState.CLEARED)
    assert (first.kind, first.severity, first.threshold) == (AlertKind.RUL_LOW, Severity.ALARM, 10)
