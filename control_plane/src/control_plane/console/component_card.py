"""One component on the fleet's page: how it is, how long it lasts, how it runs, how old that is."""

from datetime import datetime

from control_plane.api.models import ComponentView, Freshness, Level, Reading
from control_plane.console import wording
from control_plane.console.parts import Bar, Chip, Text, attribute, box, visible

KEY_READINGS = 4  # the first tags of the configuration; an abnormal one is always shown
RUL_SCALE_WARNINGS = 5  # the scale ends at so many times the warning: near the end it must be fine


class ReadingRow:
    """A tag's name, its number or the reason for none, its unit."""

    def __init__(self) -> None:
        with box("reading") as self._row:
            self._name = Text(classes="reading-name")
            self._value = Text(classes="reading-value")
            self._unit = Text(classes="reading-unit")

    def show(self, reading: Reading, shown: bool) -> None:
        """Fill the row; `shown` is whether it has a place on the card."""
        visible(self._row, shown)
        self._name.show(wording.title(reading.tag))
        attribute(self._name, "title", wording.tag_name(reading))
        self._value.show(wording.reading_value(reading))
        self._unit.show(wording.unit(reading.unit) if reading.value is not None else "")
        state = "bad" if reading.quality else ("outside" if reading.outside else None)
        attribute(self._row, "data-state", state)


class RulGauge:
    """RUL with its interval over a scale that shows where warning and alarm lie."""

    def __init__(self) -> None:
        with box("figure"):
            with box("figure-head"):
                Text("RUL", "figure-name")
                self._detail = Text(classes="figure-detail")
            with box("figure-line") as self._line:
                self._number = Text(classes="figure-number")
                self._unit = Text(classes="figure-unit")
            self._bar = Bar(marks=2)

    def show(self, component: ComponentView, now: datetime) -> None:
        """The newest current answer."""
        prediction = component.prediction
        number, unit = wording.rul_headline(prediction)
        self._number.show(number)
        self._unit.show(unit)
        self._detail.show(wording.rul_detail(component, now))
        attribute(self._line, "data-word", None if unit else "")
        attribute(self._line, "data-level", _rul_level(component))
        limits = f"alarm at {component.rul_alarm:g}, warning at {component.rul_warning:g} cycles"
        attribute(self._line, "title", limits)
        end = RUL_SCALE_WARNINGS * component.rul_warning
        rul = prediction.rul if prediction else None
        low, high = (prediction.rul_low, prediction.rul_high) if prediction else (None, None)
        self._bar.show(
            None if rul is None else rul / end,
            None if low is None or high is None else (low / end, high / end),
            [component.rul_alarm / end, component.rul_warning / end],
        )


class AnomalyGauge:
    """The anomaly score against its threshold, which stands in the middle of the scale."""

    def __init__(self) -> None:
        with box("figure"):
            with box("figure-head"):
                Text("Anomaly", "figure-name")
                self._word = Text(classes="figure-word")
                self._score = Text(classes="figure-detail")
            self._bar = Bar(marks=1)

    def show(self, component: ComponentView) -> None:
        """The newest current answer."""
        prediction = component.prediction
        self._score.show(wording.anomaly(prediction))
        abnormal = prediction is not None and prediction.is_anomaly
        self._word.show(wording.anomaly_word(prediction))
        attribute(self._word, "data-level", Level.WARNING.value if abnormal else None)
        share = None
        if prediction and prediction.anomaly_score is not None and prediction.anomaly_threshold:
            share = prediction.anomaly_score / prediction.anomaly_threshold / 2
        self._bar.show(share, None if share is None else (0.0, share), [0.5])


class ComponentCard:
    """The card; `show` brings it up to date."""

    def __init__(self, component: ComponentView) -> None:
        with box("card", "article").props(f'data-testid="component-{component.key}"') as self._card:
            with box("card-head"):
                with box("card-link", "a").props(f'href="/component/{component.key}"'):
                    Text(wording.title(component.component), "card-name", "h3")
                self._chip = Chip()
            self._reason = Text(classes="card-reason")
            with box("card-live") as self._live:
                self._rul = RulGauge()
                self._anomaly = AnomalyGauge()
            with box("card-gone") as self._gone:
                self._silence = Text(classes="silence").props("data-testid=stale")
                self._last = Text(classes="muted")
            count = max(len(component.readings), len(component.last_readings))
            self._readings: list[ReadingRow] = []
            self._rows = box("readings")
            self._grow(count)
            with box("card-foot"):
                self._age = Text()
                self._model = Text(classes="card-model")

    def _grow(self, count: int) -> None:
        with self._rows:
            self._readings += [ReadingRow() for _ in range(count - len(self._readings))]

    def show(self, component: ComponentView, now: datetime) -> None:
        """The component at `now`."""
        live = component.freshness is Freshness.LIVE
        attribute(self._card, "data-level", component.level.value)
        self._chip.show(component.level)
        self._show_reason(component, now)
        visible(self._live, live)
        visible(self._gone, not live)
        if live:
            self._rul.show(component, now)
            self._anomaly.show(component)
        else:
            self._silence.show(wording.silence(component, now))
            self._last.show(_last_known(component, now))
        self._show_readings(component.readings if live else component.last_readings, live)
        self._age.show(_age_line(component) if live else "")
        self._model.show(wording.model(component.prediction or component.last_prediction))

    def _show_reason(self, component: ComponentView, now: datetime) -> None:
        reason = wording.reason(component, now) if component.reasons else ""
        self._reason.show(reason)  # its line stays: cards align
        attribute(self._reason, "title", "; ".join(component.reasons) or None)

    def _show_readings(self, readings: list[Reading], live: bool) -> None:
        attribute(self._rows, "data-last-known", None if live else "")
        self._grow(len(readings))
        for index, (row, reading) in enumerate(zip(self._readings, readings, strict=False)):
            abnormal = reading.quality is not None or reading.outside is not None
            row.show(reading, index < KEY_READINGS or (live and abnormal))


def _rul_level(component: ComponentView) -> str | None:
    rul = component.prediction.rul if component.prediction else None
    if rul is None or rul > component.rul_warning:
        return None
    return (Level.ALARM if rul <= component.rul_alarm else Level.WARNING).value


def _last_known(component: ComponentView, now: datetime) -> str:
    if component.last_seen is None:
        return "nothing has arrived from this component"
    return f"Last known at {wording.clock(component.last_seen, now)}"


def _age_line(component: ComponentView) -> str:
    cycle = "cycle unknown" if component.cycle is None else f"cycle {component.cycle}"
    return f"{wording.age(component.age_s or 0.0)} ago · {cycle}"
