"""`/history/...`: one component over hours or years; a stretch that is dragged over comes up finer."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from control_plane.api.history_models import LongHistory
from control_plane.api.long_history import SPAN_MAX, SPAN_MIN, Span
from control_plane.api.models import ComponentView, FleetSnapshot
from control_plane.console import history_charts, wording
from control_plane.console.charts import Options
from control_plane.console.frame import Frame
from control_plane.console.parts import Text, attribute, box, visible
from shared.errors import PmStackError
from shared.reactor_config import Tag
from shared.schemas import utc_now

PRESETS = (
    ("1 h", timedelta(hours=1)),
    ("6 h", timedelta(hours=6)),
    ("1 day", timedelta(days=1)),
    ("7 days", timedelta(days=7)),
    ("30 days", timedelta(days=30)),
    ("90 days", timedelta(days=90)),
    ("1 year", timedelta(days=365)),
)
DEFAULT_SPAN = timedelta(days=1)
STEPS = (("Earlier", -0.5, 1.0), ("Later", 0.5, 1.0), ("Zoom in", 0.0, 0.5), ("Zoom out", 0.0, 2.0))
_BRUSH = {
    "type": "takeGlobalCursor",
    "key": "brush",
    "brushOption": {"brushType": "lineX", "brushMode": "single"},
}

Ask = Callable[[Span], Awaitable[LongHistory]]


class HistoryPage:
    """The page; `go` shows a span. What comes late for a span that was left is dropped."""

    def __init__(self, component: ComponentView, tags: Mapping[str, Tag], ask: Ask) -> None:
        self._component, self._ask, self._asked = component, ask, 0
        self._span = Span(utc_now() - DEFAULT_SPAN, utc_now())
        self._frame = Frame("Component")
        with self._frame.content:
            self._build_head(component)
            self._status = Text(classes="muted history-status").props('role="status" data-testid=span')
            self._problem = Text(classes="refused").props('role="alert" data-testid=history-problem')
            with box("charts history").props("data-testid=charts") as self._charts:
                self._rul = self._chart(
                    "rul",
                    wording.with_unit("Remaining useful life, with its interval", "cycles"),
                    "chart-tall",
                )
                self._anomaly = self._chart("anomaly", "Anomaly score", "chart-tall")
                self._tags = {
                    name: self._chart(name, wording.tag_heading(name, tag)) for name, tag in tags.items()
                }
        visible(self._problem, False)

    def show(self, component: ComponentView, snapshot: FleetSnapshot) -> None:
        """Clock and banners; the curves stay as they were asked for."""
        self._component = component
        self._frame.show(snapshot)

    async def go(self, start: datetime, end: datetime) -> None:
        """Ask for a span and draw it."""
        self._asked += 1
        mine, self._span = self._asked, Span(start, end)
        self._say_span(None)
        attribute(self._charts, "aria-busy", "true")
        found, problem = None, ""
        try:
            found = await self._ask(self._span)
        except PmStackError as error:
            problem = str(error)
        if mine != self._asked:
            return
        attribute(self._charts, "aria-busy", None)
        visible(self._problem, found is None)
        self._problem.show("" if found else f"Nothing to show: {problem}")
        if found is None:
            self._status.show("")
            return
        self._say_span(found)
        self._draw(found)

    async def last(self, length: timedelta) -> None:
        """The newest stretch of this length."""
        now = utc_now()
        await self.go(now - length, now)

    def address(self) -> str:
        """Where this span is found again."""
        start, end = (time.strftime("%Y-%m-%dT%H:%M:%SZ") for time in self._span[:2])
        return f"/history/{self._component.key}?{urlencode({'from': start, 'to': end})}"

    def _build_head(self, component: ComponentView) -> None:
        with box("page-head"):
            with box("crumbs", "nav"), box("crumb", "a").props(f'href="/component/{component.key}"'):
                place = f"Fleet / {component.site_id} / {component.reactor_id}"
                Text(f"{place} / {wording.title(component.component)}", tag="span")
            Text(f"{wording.title(component.component)}: history", "page-title", "h1")
        with box("history-ways").props('role="group" aria-label="Time span"'):
            self._presets = {length: self._button(name, self._to(length)) for name, length in PRESETS}
            box("history-gap", "span")
            for name, shift, zoom in STEPS:
                self._button(name, self._by(shift, zoom))
            with box("history-times"):
                self._start = self._time("From (UTC)", "from")
                self._end = self._time("To (UTC)", "to")
        Text("Drag over a curve to look closer.", "muted")

    def _button(self, text: str, pressed: Callable[[], Awaitable[None]]) -> Any:
        with ui.element("button").classes("span").props('type="button"') as button:
            Text(text, tag="span")
            button.on("click", pressed)
        return button

    def _time(self, label: str, name: str) -> Any:
        with box("history-time", "label"):
            Text(label, tag="span")
            field = ui.element("input").props(f'type="datetime-local" step="1" data-testid="{name}"')
            field.on("change", self._typed(name), js_handler="(event) => emit(event.target.value)")
        return field

    def _to(self, length: timedelta) -> Callable[[], Awaitable[None]]:
        return lambda: self.last(length)

    def _by(self, shift: float, zoom: float) -> Callable[[], Awaitable[None]]:
        async def pressed() -> None:
            length = self._span.end - self._span.start
            middle = self._span.start + length / 2 + length * shift
            half = min(max(length * zoom, SPAN_MIN), SPAN_MAX) / 2
            await self.go(middle - half, middle + half)

        return pressed

    def _typed(self, name: str) -> Callable[[Any], Awaitable[None]]:
        async def changed(event: Any) -> None:
            try:
                time = datetime.fromisoformat(str(event.args)).replace(tzinfo=UTC)
            except ValueError:
                return  # half typed
            start, end = self._span[:2]
            await (self.go(time, end) if name == "from" else self.go(start, time))

        return changed

    async def _dragged(self, event: Any) -> None:
        """The stretch under the pointer; a click without a drag is none."""
        if isinstance(event.args, list) and len(event.args) == 2:
            start, end = (datetime.fromtimestamp(float(ms) / 1000, UTC) for ms in event.args)
            if end - start >= SPAN_MIN:
                await self.go(start, end)

    def _chart(self, name: str, heading: str, size: str = "") -> Any:
        with box(f"chart-box {size}").props(f'data-testid="chart-{name}"'):
            with box("chart-head"):
                Text(heading, "chart-name", "h2")
            plot = ui.echart({"series": []}, renderer="svg")
            plot.on(
                "chart:brushEnd", self._dragged, js_handler="(event) => emit(event.areas?.[0]?.coordRange)"
            )
        return plot

    def _draw(self, found: LongHistory) -> None:
        _redraw(self._rul, history_charts.rul_options(self._component, found))
        _redraw(self._anomaly, history_charts.anomaly_options(found))
        for series in found.telemetry.series:
            _redraw(self._tags[series.name], history_charts.tag_options(series, found))
        ui.run_javascript(f"history.replaceState(history.state, '', {self.address()!r})")

    def _say_span(self, found: LongHistory | None) -> None:
        start, end = self._span[:2]
        self._status.show(wording.long_history(found, start, end))
        for field, time in ((self._start, start), (self._end, end)):
            attribute(field, "value", f"{time:%Y-%m-%dT%H:%M:%S}")
        for length, button in self._presets.items():
            attribute(button, "aria-pressed", "true" if abs(end - start - length) < SPAN_MIN else "false")


def _redraw(plot: Any, options: Options) -> None:
    plot.options.update(options)
    plot.run_chart_method("dispatchAction", {"type": "brush", "areas": []})
    plot.run_chart_method("dispatchAction", _BRUSH)
