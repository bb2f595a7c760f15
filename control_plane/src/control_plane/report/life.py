"""The report's plots: how long the component lasts, how it is, and how often that was known. Pure."""

from datetime import UTC, datetime
from html import escape

from control_plane.api.history_models import LongHistory
from control_plane.api.models import ComponentView, PredictionView
from control_plane.console import wording
from control_plane.report.facts import Facts
from control_plane.report.html import table, written
from control_plane.report.plots import Limit, Moment, over_time
from shared.schemas import RulState
from shared.wording import withheld

SPAN_MIN_MS = 1_000  # of a plot: one reading alone has no span


def said(answer: PredictionView) -> str:
    """The number with its interval, or why there is none."""
    if answer.rul is None or answer.rul_low is None or answer.rul_high is None:
        why = f", {withheld(answer.withheld_because)}" if answer.rul_state is RulState.WITHHELD else ""
        return wording.rul_headline(answer)[0].lower() + why
    return f"RUL {answer.rul:.0f} cycles, interval {answer.rul_low:.0f} to {answer.rul_high:.0f}"


def life(facts: Facts) -> str:
    """RUL and anomaly score over time, what the newest number hangs on, how often there was none."""
    title = "<h2>Remaining useful life and health</h2>"
    if facts.history is None:
        return f"{title}<p>No reading has arrived.</p>"
    history = facts.history
    points = "Every answer is drawn." if history.raw else (
        f"A point is the mean of {wording.age(history.bucket_ms / 1000)}, its band lowest and highest."
    )  # fmt: skip
    start, end = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (history.start_ms, history.end_ms))
    return (
        f"{title}<h3>RUL in cycles, its interval</h3><figure>{_rul_plot(facts.view, history)}</figure>"
        f"<h3>Anomaly score</h3><figure>{_score_plot(history)}</figure>"
        f'<p class="note">{written(start)} to {written(end)}. {points} A break in a line: no number was '
        f"given, or none arrived.</p>{_reasons(facts)}{_answers(facts)}"
    )


def _rul_plot(view: ComponentView, history: LongHistory) -> str:
    series = {each.name: each for each in history.predictions.series}
    ends = series["rul"].mean, series["rul_low"].low, series["rul_high"].high
    moments = [Moment(*each) for each in zip(history.predictions.time_ms, *ends, strict=True)]
    limits = [
        Limit(view.rul_warning, f"warning {view.rul_warning:g}", "warning"),
        Limit(view.rul_alarm, f"alarm {view.rul_alarm:g}", "alarm"),
    ]
    return over_time("RUL over time", moments, _span_ms(history), limits)


def _score_plot(history: LongHistory) -> str:
    series = {each.name: each for each in history.predictions.series}
    ends = (getattr(series["anomaly_score"], name) for name in ("mean", "low", "high"))
    moments = [Moment(*each) for each in zip(history.predictions.time_ms, *ends, strict=True)]
    known = [each for each in series["anomaly_threshold"].mean if each is not None]
    limits = [Limit(known[-1], f"threshold {known[-1]:.2f}", "limit")] if known else []
    return over_time("Anomaly score over time", moments, _span_ms(history), limits)


def _span_ms(history: LongHistory) -> tuple[int, int]:
    return history.start_ms, max(history.end_ms, history.start_ms + SPAN_MIN_MS)


def _reasons(facts: Facts) -> str:
    answer = facts.view.prediction or facts.view.last_prediction
    if answer is None or not answer.contributions:
        return ""
    lines = "".join(f"<li>{escape(wording.contribution(each))}</li>" for each in answer.contributions)
    return f"<h3>What the newest number hangs on</h3><ul>{lines}</ul>"


def _answers(facts: Facts) -> str:
    """How often the active model gave a number, and why not."""
    total = sum(row["rows"] for row in facts.lake.said)
    if not total:
        return "<p>No model has scored it.</p>"
    rows = (
        (
            str(row["rul_state"]).replace("_", " "),
            withheld(row["withheld_because"]) if row["withheld_because"] else "",
            f"{row['rows']:,}",
            f"{row['rows'] / total:.1%}",
            f"{row['anomalies']:,}",
        )
        for row in facts.lake.said
    )
    return "<h3>Answers</h3>" + table(("state", "why", "answers", "share", "of them abnormal"), rows)
