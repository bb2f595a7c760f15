"""`/component/...`: one component in full, for whoever must find out why."""

from urllib.parse import urlencode

from nicegui import ui

from control_plane.access.roles import Permission
from control_plane.api.models import (
    ComponentHistory,
    ComponentView,
    FleetSnapshot,
    Freshness,
    PredictionLink,
    Reading,
)
from control_plane.console import charts, wording
from control_plane.console.alert_rows import AlertRows
from control_plane.console.component_card import AnomalyGauge, RulGauge
from control_plane.console.frame import Frame
from control_plane.console.parts import Chip, Text, attribute, box, listing, visible
from control_plane.console.who import may
from shared.schemas.prediction import CONTRIBUTIONS_MAX

SPANS_MINUTES = (5, 15, 60)
ALERTS_MAX = 20


class ComponentPage:
    """The page; `show` brings its numbers up to date, `show_history` its curves."""

    def __init__(self, component: ComponentView, history: ComponentHistory) -> None:
        self._frame = Frame("Component")
        with self._frame.content:
            self._build_head(component, history.minutes)
            self._alerts = AlertRows(ALERTS_MAX, "", with_place=False)
            self._facts = _Facts()
            with box("charts").props("data-testid=charts"):
                self._rul = _Chart("rul", wording.with_unit("Remaining useful life", "cycles"), "chart-tall")
                self._anomaly = _Chart("anomaly", "Anomaly score", "chart-tall")
                self._tags = {
                    s.tag: _Chart(s.tag, wording.with_unit(s.description or wording.title(s.tag), s.unit))
                    for s in history.tags
                }
            Text("Newest predictions", "section-title", "h2")
            self._newest = box()
            self._listed: list[PredictionLink] | None = None

    def _build_head(self, component: ComponentView, minutes: int) -> None:
        with box("page-head"):
            with box("crumbs", "nav"), box("crumb", "a").props('href="/"'):
                Text(f"Fleet / {component.site_id} / {component.reactor_id}", tag="span")
            Text(wording.title(component.component), "page-title", "h1")
            self._chip = Chip()
            self._silence = Text(classes="silence").props("data-testid=stale")
            self._reasons = Text(classes="muted")
            with box("spans", "nav").props('aria-label="Time span"'):
                for span in SPANS_MINUTES:
                    link = box("span", "a").props(f'href="/component/{component.key}?minutes={span}"')
                    attribute(link, "aria-current", "true" if span == minutes else None)
                    with link:
                        Text(f"{span} min", tag="span")
                with box("span", "a").props(f'href="/history/{component.key}" data-testid="history"'):
                    Text("History", tag="span")

    def show(self, component: ComponentView, snapshot: FleetSnapshot) -> None:
        """The component as it is now."""
        self._frame.show(snapshot)
        now, live = snapshot.taken_at, component.freshness is Freshness.LIVE
        self._chip.show(component.level)
        self._silence.show("" if live else wording.silence(component, now))
        visible(self._silence, not live)
        told = {alert.message for alert in component.alerts}
        self._reasons.show("; ".join(reason for reason in component.reasons if reason not in told))
        self._alerts.show(component.alerts, now)
        self._facts.show(component, snapshot)
        for reading in component.readings if live else component.last_readings:
            if reading.tag in self._tags:
                self._tags[reading.tag].show_now(reading, live)

    def show_history(self, component: ComponentView, history: ComponentHistory) -> None:
        """The curves as they are now."""
        self._rul.draw(charts.rul_options(component, history))
        self._anomaly.draw(charts.anomaly_options(history))
        for series in history.tags:
            self._tags[series.tag].draw(charts.tag_options(series, history))
        if history.newest != self._listed:
            self._listed = history.newest
            self._newest.clear()
            with self._newest:
                _newest(history.newest)


def _newest(found: list[PredictionLink]) -> None:
    """Predictions by their ids, each leading to its entry on the audit record for who may read that."""
    if not found:
        Text("None in this span.", "muted")
        return
    rows = [
        (
            each.prediction_id,
            f"{each.timestamp:%Y-%m-%d %H:%M:%S}",
            wording.NOTHING if each.cycle is None else str(each.cycle),
            each.rul_state.replace("_", " ") if each.rul is None else f"{each.rul:.1f} cycles",
        )
        for each in found
    ]
    may_look = may(Permission.AUDIT)
    links = [f"/audit?{urlencode({'id': each.prediction_id})}" if may_look else "" for each in found]
    listing(("Prediction", "Time (UTC)", "Cycle", "RUL"), rows, "newest", links)


class _Facts:
    """RUL, anomaly, the newest reading and the model, side by side."""

    def __init__(self) -> None:
        with box("facts"):
            with box("fact") as self._rul_box:
                self._rul = RulGauge()
            with box("fact") as self._anomaly_box:
                self._anomaly = AnomalyGauge()
                self._unlike = Text(classes="fact-detail")
            with box("fact").props("data-testid=contributions") as self._reasons_box:
                Text("What it hangs on", "figure-name")
                self._reasons = [Text(classes="fact-detail") for _ in range(CONTRIBUTIONS_MAX)]
            with box("fact"):
                Text("Last reading", "figure-name")
                self._age = Text(classes="fact-number")
                self._seen = Text(classes="fact-detail")
            with box("fact"):
                Text("Model", "figure-name")
                self._model = Text(classes="fact-number")
                self._digest = Text(classes="fact-detail")

    def show(self, component: ComponentView, snapshot: FleetSnapshot) -> None:
        now, live = snapshot.taken_at, component.freshness is Freshness.LIVE
        visible(self._rul_box, live)
        visible(self._anomaly_box, live)
        self._rul.show(component, now)
        self._anomaly.show(component)
        unlike = component.prediction is not None and component.prediction.is_ood
        self._unlike.show("input unlike the training data" if unlike else "")
        found = component.prediction.contributions if live and component.prediction else []
        visible(self._reasons_box, bool(found))
        for number, line in enumerate(self._reasons):
            line.show(wording.contribution(found[number]) if number < len(found) else "")
        self._age.show(f"{wording.age(component.age_s)} ago" if component.age_s is not None else "never")
        cycle = "" if component.cycle is None else f"cycle {component.cycle} · "
        self._seen.show(f"{cycle}{wording.clock(component.last_seen, now)}")
        answer = component.prediction or component.last_prediction
        self._model.show(f"{answer.model.name} v{answer.model.version}" if answer else "No model yet")
        self._digest.show(f"sha256 {answer.model.sha256[:16]}" if answer else "")
        attribute(self._digest, "title", answer.model.sha256 if answer else None)


class _Chart:
    """A named curve; `show_now` writes the newest number beside the name."""

    def __init__(self, name: str, heading: str, size: str = "") -> None:
        with box(f"chart-box {size}").props(f'data-testid="chart-{name}"'):
            with box("chart-head"):
                Text(heading, "chart-name", "h2")
                self._now = Text(classes="chart-now")
            self._plot = ui.echart({"series": []}, renderer="svg")

    def show_now(self, reading: Reading, live: bool) -> None:
        if not live:
            self._now.show("no current number")
            attribute(self._now, "data-state", "gone")
            return
        unit = f" {wording.unit(reading.unit)}" if reading.value is not None else ""
        self._now.show(f"{wording.reading_value(reading)}{unit}")
        attribute(
            self._now, "data-state", "bad" if reading.quality else "outside" if reading.outside else None
        )

    def draw(self, options: charts.Options) -> None:
        self._plot.options.update(options)
