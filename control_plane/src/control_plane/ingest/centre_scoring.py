"""The sink `scoring` (PRD 5.3): telemetry of sites that do not score -> windows -> predictions, RUL alarms.

A prediction has the row number of the telemetry row that ended its window, in a store of its own whose id
begins with `centre-`. So a row that comes again after a death is known by what the lake holds, and is not
predicted twice. An inference server that is away costs ingest a moment every `AWAY_S`. The windows of that
time are scored afterwards, from the lake, beside those that come (decision 0039); they raise no alert.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import structlog

from control_plane.ingest.answer_record import prediction_of
from control_plane.ingest.known_rows import KnownRows
from control_plane.ingest.missed_windows import Due, MissedWindows
from control_plane.ingest.rul_alarm import RulAlarm
from control_plane.serving.client import Answer, RULInferenceClient
from control_plane.sinks.arrival import CENTRE_STORE, Arrival, Sink
from control_plane.sinks.lake import LakeReader
from shared.errors import PmStackError, Rejected, Retryable
from shared.features import FeatureSpec
from shared.reactor_config import FleetConfig
from shared.schemas import (
    Alert,
    AlertState,
    ComponentId,
    PredictionRecord,
    Record,
    Telemetry,
    Window,
)
from shared.window_buffer import WindowBuffer

PREDICTIONS, ALERTS = CENTRE_STORE, f"{CENTRE_STORE}alerts-"  # how store ids begin; a site's own follows
BATCH_S_MAX = 5.0  # for the windows of one batch: 2,000 take 1 s, and a site's session with Kafka 10 s
CATCH_UP_S_MAX = 1.0  # beside it, for windows that were missed before
AWAY_S = 10.0  # before a server that did not answer is asked again

log = structlog.get_logger()

SpecOf = Callable[[str], FeatureSpec]


class CentreScoring:
    """A sink. `spec_of` gives the features that a component type's release takes, or raises Rejected.

    What is predicted goes to `sinks` in turn, the lake last; `known` is what the lake holds, `missed` finds
    there what was not predicted.
    """

    def __init__(
        self,
        client: RULInferenceClient,
        spec_of: SpecOf,
        fleet: FleetConfig,
        sinks: Sequence[Sink],
        known: KnownRows,
        missed: MissedWindows,
        standing: Sequence[Alert] = (),
    ) -> None:
        """`standing` are alerts that this sink raised before, and that have not cleared."""
        self._client, self._spec_of, self._sinks, self._known = client, spec_of, sinks, known
        self._missed = missed
        self._began: dict[ComponentId, datetime] = {}  # each component's first window
        self._whole: set[ComponentId] = set()  # components whose last window was answered
        self._components = fleet.components()
        self._windows: dict[ComponentId, WindowBuffer] = {}
        self._alarms = {place: RulAlarm(place, part) for place, part in self._components.items()}
        for alert in standing:
            if (alarm := self._alarms.get(alert.component_id)) is not None:
                alarm.resume(alert)
        self._left: deque[tuple[Sink, list[Arrival]]] = deque()  # of the batch that is being retried
        self._away_until = 0.0
        self.predicted = self.unscored = 0

    def accept(self, batch: Sequence[Arrival]) -> None:
        """Returns when the predictions of the batch are in every sink; Retryable when one cannot take them
        now: then the same batch comes again, and nothing is predicted anew."""
        if not self._left:
            found = [*self._caught_up(), *self._found(self._due(batch))]
            if found:
                self._left.extend((sink, found) for sink in self._sinks)
        while self._left:
            sink, found = self._left[0]
            sink.accept(found)
            self._left.popleft()

    def _due(self, batch: Sequence[Arrival]) -> list[Due]:
        """The windows that end with a row of the batch and have no prediction yet."""
        due: list[Due] = []
        for arrival in batch:
            record = arrival.record
            if isinstance(record, Telemetry) and (window := self._pushed(record)) is not None:
                new = self._known.add(PREDICTIONS + arrival.envelope.store_id, arrival.envelope.seq)
                self._began.setdefault(window.component, window.timestamp)
                due += [Due(arrival, window)] if new else []
        return due

    def _pushed(self, record: Telemetry) -> Window | None:
        place = record.component_id
        if place not in self._components:
            return None
        kind = self._components[place].type
        try:
            spec = self._spec_of(kind)
        except Rejected:  # a type without a model
            return None
        buffer = self._windows.get(place)
        if buffer is None or buffer.spec != spec:
            buffer = self._windows[place] = WindowBuffer(place, kind, spec)
        return buffer.push(record)

    def _fresh(self, place: ComponentId) -> WindowBuffer:
        return WindowBuffer(place, self._components[place].type, self._windows[place].spec)

    def _caught_up(self) -> Iterator[Arrival]:
        """What is said of some windows that were missed; the batches before this one are in the lake."""
        step = self._missed.step(self._fresh) if time.monotonic() >= self._away_until else None
        if step is None:
            return
        end, done = time.monotonic() + CATCH_UP_S_MAX, 0
        for each, answer in zip(step.due, self._client.predict_many(d.window for d in step.due), strict=True):
            if isinstance(answer, Retryable):
                self._away_until = time.monotonic() + AWAY_S
                break
            if (record := self._record(each, answer)) is not None:
                done += 1
                self._known.add(PREDICTIONS + each.arrival.envelope.store_id, each.arrival.envelope.seq)
                yield _arrival(each.arrival, record, PREDICTIONS)
            self._missed.looked(step.component, each.window.timestamp)
            if time.monotonic() > end:
                break
        else:
            self._missed.looked(step.component, step.end)
        self.predicted += done
        if done:
            log.info("missed windows scored", windows=done, component=step.component.key)

    def _found(self, due: Sequence[Due]) -> Iterator[Arrival]:
        """What is said of each window, in order, within the bounds."""
        if not due:
            return
        end, done, reason = time.monotonic() + BATCH_S_MAX, 0, "the inference server is away"
        answered = 0
        if time.monotonic() >= self._away_until:
            for each, answer in zip(due, self._client.predict_many(d.window for d in due), strict=True):
                if isinstance(answer, Retryable) or time.monotonic() > end:
                    self._away_until = time.monotonic() + AWAY_S
                    reason = str(answer) if isinstance(answer, Retryable) else f"more than {BATCH_S_MAX:g} s"
                    break
                answered += 1
                self._resumed(each.window)
                arrivals = list(self._said(each, answer))
                done += bool(arrivals)
                yield from arrivals
            else:
                reason = "refused, see above"
        self._whole -= {each.window.component for each in due[answered:]}
        self.predicted += done
        if done < len(due):
            self.unscored += len(due) - done
            log.warning("windows not scored", windows=len(due) - done, of=len(due), reason=reason)

    def _resumed(self, window: Window) -> None:
        """The first answer after a start, or after none: what lies before it may be missing."""
        place = window.component
        if place not in self._whole:
            self._missed.begin(place, self._began[place], window.timestamp)
            self._whole.add(place)

    def _said(self, due: Due, answer: Answer | PmStackError) -> Iterator[Arrival]:
        """A prediction, and the alert that it raises or clears; nothing where there is no answer."""
        record = self._record(due, answer)
        if record is None:
            return
        yield _arrival(due.arrival, record, PREDICTIONS)
        alert = self._alarms[record.component_id].after(record)
        if alert is not None:
            yield _arrival(due.arrival, alert, ALERTS)

    def _record(self, due: Due, answer: Answer | PmStackError) -> PredictionRecord | None:
        """What was answered; None, and why in the log, where it is no answer to this window."""
        window, spec = due.window, self._windows[due.window.component].spec
        if isinstance(answer, PmStackError):
            log.warning("window refused", component=window.component.key, reason=str(answer))
            return None
        if answer.feature_spec_sha256 != spec.hash():
            log.warning(
                "window refused", component=window.component.key,
                reason=f"{answer.model_version} takes other features; the window is made anew",
            )  # fmt: skip
            return None
        return prediction_of(window, answer)


def standing_alerts(lake: LakeReader) -> list[Alert]:
    """What this sink raised before it was last stopped, and has not cleared."""
    columns = ", ".join(Alert.model_fields)
    rows = lake.rows(
        f"SELECT {columns} FROM alerts WHERE starts_with(store_id, $store) QUALIFY row_number() OVER "  # noqa: S608
        "(PARTITION BY site_id, reactor_id, component ORDER BY timestamp DESC, seq DESC) = 1",
        store=ALERTS,
    )
    alerts = [Alert(**row) for row in rows]
    return [alert for alert in alerts if alert.state is AlertState.RAISED]


def _arrival(of: Arrival, record: Record, store: str) -> Arrival:
    envelope = of.envelope._replace(schema=record.SCHEMA, store_id=store + of.envelope.store_id)
    return Arrival(record, record.outgoing().body, envelope)
