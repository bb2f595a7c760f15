"""One component's way from a reading to records. Pure: no I/O, no clock."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_agent.recorder import Detail, Event
from edge_agent.scoring import AlertRules, Scorer
from edge_agent.sources import FreshnessGuard
from edge_agent.window import WindowBuffer
from shared.errors import Rejected
from shared.reactor_config import Component
from shared.schemas import Alert, AuditEvent, ComponentId, PredictionRecord, Record, Telemetry, Window

SCORED_TOGETHER_MAX = 64  # windows in one run of a graph: beyond, memory grows and speed does not

Answer = PredictionRecord | Rejected | None

NOTE_PREFIX = "alarms:"


def note_name(component_id: ComponentId) -> str:
    """Under which name a component's alerts are noted."""
    return f"{NOTE_PREFIX}{component_id.key}"


def alert_event(alert: Alert) -> Event:
    """What the audit log says of an alert: who did it too, where an operator did."""
    detail: Detail = {"alert_id": alert.alert_id, "kind": alert.kind, "state": alert.state}
    said = {"operator": alert.operator, "reason": alert.reason}
    said["until"] = alert.until.isoformat() if alert.until else None
    detail |= {name: text for name, text in said.items() if text}
    return Event(AuditEvent.ALERT, alert.key, detail=detail)


@dataclass
class Line:
    """One component's way from reading to records."""

    component_id: ComponentId
    component: Component
    guard: FreshnessGuard = field(init=False)
    rules: AlertRules = field(init=False)
    window: WindowBuffer | None = None
    scorer: Scorer | None = None

    def __post_init__(self) -> None:
        self.guard = FreshnessGuard()
        self.rules = AlertRules(self.component_id, self.component)

    def use(self, scorer: Scorer, window: WindowBuffer | None = None) -> None:
        """Score with this model from the next reading on, with the window that it brings along; else the one
        here is kept when the features agree."""
        spec = scorer.manifest.feature_spec
        if window is not None:
            self.window = window
        elif self.window is None or self.window.spec != spec:
            self.window = WindowBuffer(self.component_id, self.component.type, spec)
        self.scorer = scorer

    def conclude(self, telemetry: Telemetry, answer: Answer) -> tuple[list[Record], list[Event]]:
        """What one reading leads to, the model's answer being known."""
        records: list[Record] = [telemetry]
        events: list[Event] = []
        alerts = self.rules.update(telemetry)
        if isinstance(answer, Rejected):
            events.append(Event(AuditEvent.SCORING_FAILED, telemetry.key, detail={"reason": str(answer)}))
        elif answer is not None:
            records.append(answer)
            events.append(Event(AuditEvent.PREDICTION, answer.key, prediction=answer))
            alerts += self.rules.update(answer)
        return [*records, *alerts], events + [alert_event(alert) for alert in alerts]

    def notes(self) -> dict[str, str]:
        """What is to be kept of its alerts with the records, by name; nothing when it is kept already."""
        return {note_name(self.component_id): self.rules.note()} if self.rules.changed else {}


def score_together(readings: Sequence[tuple[Line, Telemetry]]) -> list[Answer]:
    """The model's answer to each reading, None where there is none yet; lines of one model share its runs."""
    due: dict[Scorer, list[tuple[int, Window]]] = {}
    for number, (line, telemetry) in enumerate(readings):
        window = line.window.push(telemetry) if line.window is not None else None
        if window is not None and line.scorer is not None:
            due.setdefault(line.scorer, []).append((number, window))
    answers: list[Answer] = [None] * len(readings)
    for scorer, windows in due.items():
        for start in range(0, len(windows), SCORED_TOGETHER_MAX):
            part = windows[start : start + SCORED_TOGETHER_MAX]
            found = scorer.score_many([window for _, window in part])
            for (number, _), answer in zip(part, found, strict=True):
                answers[number] = answer
    return answers
