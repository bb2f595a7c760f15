"""Any interleaving of values, restarts and operators: no alarm is lost, doubled, or cleared too soon."""

import os
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import booleans, floats, integers

from edge_agent.scoring import AlertRules, Shelf
from edge_agent.scoring.alarm_point import CHATTER_WINDOW
from shared.reactor_config import parse_fleet
from shared.schemas import Alert, AlertState, ComponentId, Severity, Telemetry

PUMP = ComponentId("TX01", "R1", "coolant_pump")
ON_DELAY, OFF_DELAY, HIGH, DEADBAND = 2, 3, 100.0, 10.0
EXAMPLES = int(os.environ.get("ALARM_EXAMPLES", "40"))
HOUR = timedelta(hours=1)


def component(latching: bool):
    section = {
        "thresholds": {"limits": {"flow_rate": {"high": HIGH, "deadband": DEADBAND}}},
        "alarms": {"limit": {"on_delay": ON_DELAY, "off_delay": OFF_DELAY, "latching": latching}},
    }
    return parse_fleet({"TX01": {"R1": {"coolant_pump": section}}}, "test").components()[PUMP]


class Centre:
    """What someone who sees the transitions alone knows: the last state of each alert."""

    def __init__(self) -> None:
        self.state: dict[str, AlertState] = {}

    def hear(self, alerts: list[Alert]) -> None:
        for alert in alerts:
            self.state[alert.alert_id] = alert.state

    @property
    def open(self) -> list[str]:
        return [key for key, state in self.state.items() if state is not AlertState.CLEARED]


class AlarmMachine(RuleBasedStateMachine):
    """One limit with both delays and a deadband. The last kept note is all that a kill leaves."""

    latching = False

    def __init__(self) -> None:
        super().__init__()
        self.component = component(self.latching)
        self.rules = AlertRules(PUMP, self.component)
        self.centre = Centre()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.note = ""
        self.shelved_until: datetime | None = None
        self.beyond = self.inside = 0  # consecutive ones since the start

    def take(self, alerts: list[Alert]) -> None:
        """As the agent: transitions and note are committed together."""
        if self.rules.changed:
            self.note = self.rules.note()
        self.centre.hear(alerts)

    @rule(value=floats(0, 200), times=integers(1, 12))
    def read(self, value, times):
        for _ in range(times):
            self.now += timedelta(seconds=1)
            metrics = dict.fromkeys(self.component.tags, 1.0) | {"flow_rate": value}
            found = self.rules.update(
                Telemetry(timestamp=self.now, **PUMP._asdict(), cycle=1, metrics=metrics)
            )
            self.beyond = self.beyond + 1 if value > HIGH else 0
            self.inside = self.inside + 1 if value <= HIGH - DEADBAND else 0
            if any(alert.state is AlertState.CLEARED for alert in found):
                assert self.inside >= OFF_DELAY, "cleared before its off-delay"
            if any(alert.state is AlertState.RAISED for alert in found):
                assert self.beyond >= ON_DELAY, "raised before its on-delay"
                assert self.shelved_until is None, "raised under the shelf"
            self.take(found)

    @rule()
    def be_killed(self):
        """What was not committed never was: the note and the transitions that went with it are there."""
        self.rules = AlertRules(PUMP, self.component)
        self.take(self.rules.resume(self.note, self.now))
        self.beyond = self.inside = 0

    @rule(calm=integers(1, 2 * CHATTER_WINDOW))
    def rest(self, calm):
        self.read(50.0, calm)

    @precondition(lambda self: self.rules.alert_ids)
    @rule(hours=integers(1, 3))
    def shelve(self, hours):
        shelf = Shelf("op", "why", self.now, self.now + hours * HOUR, Severity.WARNING)
        [alert_id] = self.rules.alert_ids
        self.take(self.rules.shelve(alert_id, shelf))
        self.shelved_until = shelf.until

    @precondition(lambda self: self.shelved_until is not None)
    @rule()
    def unshelve(self):
        [alert_id] = self.rules.alert_ids
        self.take(self.rules.unshelve(alert_id, "op", "why", self.now))
        self.shelved_until = None

    @rule(minutes=integers(1, 200))
    def time_passes(self, minutes):
        self.now += timedelta(minutes=minutes)
        found = self.rules.expire(self.now)
        if self.shelved_until is not None and self.now >= self.shelved_until:
            assert found[0].state is AlertState.UNSHELVED
            self.shelved_until = None
        else:
            assert found == []
        self.take(found)

    @precondition(lambda self: self.latching and self.centre.open)
    @rule(really=booleans())
    def reset(self, really):
        [alert_id] = self.rules.alert_ids
        try:
            self.take(self.rules.reset(alert_id, "op", "why", self.now))
        except ValueError:
            return
        self.shelved_until = None

    @invariant()
    def at_most_one_alert_stands_for_the_point(self):
        assert len(self.centre.open) <= 1

    @invariant()
    def what_is_due_is_known(self):
        """Beyond the limit for the on-delay: it stands, or an operator shelved it."""
        if self.beyond >= ON_DELAY:
            [alert_id] = self.centre.open
            state = self.centre.state[alert_id]
            known = (AlertState.RAISED, AlertState.ESCALATED, AlertState.UNSHELVED)
            assert state in ((AlertState.SHELVED,) if self.shelved_until else known)

    @invariant()
    def what_is_over_ends(self):
        """Inside for as long as anything is held: cleared, or latched, or shelved."""
        if self.inside > max(OFF_DELAY, CHATTER_WINDOW) and self.shelved_until is None:
            assert all(self.centre.state[key] is AlertState.RETURNED for key in self.centre.open)
            assert self.latching or not self.centre.open

    @invariant()
    def the_site_and_the_centre_agree(self):
        assert self.rules.alert_ids == self.centre.open
        assert not self.rules.changed


class LatchingMachine(AlarmMachine):
    """The same, latching: nothing clears without a reset."""

    latching = True


TestAlarms = AlarmMachine.TestCase
TestAlarms.settings = settings(max_examples=EXAMPLES, stateful_step_count=40, deadline=None)
TestLatchingAlarms = LatchingMachine.TestCase
TestLatchingAlarms.settings = settings(max_examples=EXAMPLES, stateful_step_count=40, deadline=None)
