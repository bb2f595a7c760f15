"""The answers as HTML: what the model said, why, and how variations compare. Pure; everything is escaped."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from control_plane.console.wording import number, unit
from control_plane.report.plots import Limit, Row, intervals
from control_plane.serving.client import Answer
from control_plane.viewer.explorer import Result, Trouble
from control_plane.viewer.sources import Loaded
from control_plane.viewer.variation import tag_words
from shared.operation import STANDSTILL
from shared.reactor_config import Tag
from shared.schemas import RulState
from shared.wording import MINUS, withheld

SHORT_DIGITS = 12  # of a SHA-256; the whole stands in its title

BANNER = (
    '<div class="explore" role="note"><strong>Exploration.</strong> No answer on this page is the plant\'s; '
    "they are on the audit record as <em>exploration</em>, and no alarm, dashboard or report sees them.</div>"
)
_HEADLINES = {
    RulState.BEYOND_HORIZON: "Beyond the horizon",
    RulState.WITHHELD: "No number",
    RulState.NOT_MODELLED: "Not modelled",
}


def trouble(found: Trouble) -> str:
    """What is wrong, and the remedy below."""
    return (
        f'<div class="trouble" role="alert"><strong>{escape(found.what)}</strong>'
        f"<p>{escape(found.remedy)}</p></div>"
    )


def loaded(found: Loaded) -> str:
    """What was loaded, and for which model."""
    manifest = found.manifest
    return (
        f'<p class="loaded">{escape(found.source)}. For <strong>{escape(manifest.folder)}</strong>, which '
        f"looks at {manifest.feature_spec.window_cycles} cycles.</p>"
    )


def answer(result: Result, found: Loaded) -> str:
    """One variation: its number with interval, or why there is none; flags, reasons, model and record."""
    name = f"<h3>{escape(result.variation.name)}</h3>"
    if result.answer is None:
        return name + trouble(result.trouble or Trouble("No answer.", ""))
    said = result.answer
    return name + headline(said) + flags(said) + why(said, found.tags) + _model(said, found)


def headline(said: Answer) -> str:
    """The number in large letters, its interval below."""
    if said.rul_state == RulState.OK:
        return (
            f'<p class="rul"><b>{said.predicted_rul:.0f}</b> cycles of remaining useful life</p>'
            f'<p class="interval">interval {said.rul_low:.0f} to {said.rul_high:.0f} cycles</p>'
        )
    state = RulState(said.rul_state)
    return (
        f'<p class="rul"><b>{_HEADLINES[state]}</b></p><p class="interval">{escape(_reason(said, state))}</p>'
    )


def flags(said: Answer) -> str:
    """Anomaly and distance from the training data, each against its threshold."""
    still = said.withheld_because in STANDSTILL
    words = ("not judged", "not judged") if still else ("abnormal", "normal")
    found = [
        _flag("Behaviour", *words, said.anomaly_score, said.anomaly_threshold),
        _flag("Input", "unlike the training data", "as in training", said.ood_score, said.ood_threshold),
    ]
    return f'<ul class="flags">{"".join(found)}</ul>'


def why(said: Answer, known: Mapping[str, Tag]) -> str:
    """Which tags the number hangs on, at most three, with bars of their size."""
    if not said.contributions:
        return (
            '<p class="quiet">No tag stands out: each is near what is usual, or the release does not say.</p>'
        )
    most = max(abs(each.effect) for each in said.contributions) or 1.0
    lines = [
        f'<tr><th scope="row">{escape(tag_words(c.tag, known.get(c.tag)))}</th>'
        f"<td>{_value(c.value, c.unit)}</td><td>{_value(c.normal, c.unit)}</td>"
        f"<td>{_effect(c.effect, c.of)}</td>"
        f'<td class="bar"><span style="width:{abs(c.effect) / most:.0%}" '
        f'class="{"less" if c.effect < 0 else "more"}"></span></td></tr>'
        for c in said.contributions
    ]
    heads = "<tr><th>Tag</th><th>Value</th><th>Usual</th><th>Effect</th><td></td></tr>"
    of = "the RUL" if said.contributions[0].of == "rul" else "the anomaly score"
    return f'<h4>What {of} hangs on</h4><table class="why">{heads}{"".join(lines)}</table>'


def comparison(results: Sequence[Result], found: Loaded) -> str:
    """Every variation in a plot and a table, against the first."""
    if not any(result.answer for result in results):
        return ""
    rows = [_row(result) for result in results]
    limits = []
    if found.component is not None:
        thresholds = found.component.thresholds
        limits = [
            Limit(thresholds.rul_warning, f"warning at {thresholds.rul_warning:g} cycles", "warning"),
            Limit(thresholds.rul_alarm, f"alarm at {thresholds.rul_alarm:g} cycles", "alarm"),
        ]
    plot = intervals("Remaining useful life of each variation, in cycles, with its interval", rows, limits)
    heads = (
        "Variation",
        "RUL",
        "Interval",
        "Against as loaded",
        "Anomaly score",
        "Distance from training",
        "Model",
    )
    lines = "".join(_line(result, results[0].answer) for result in results)
    head = "".join(f"<th>{each}</th>" for each in heads)
    dashed = f'<p class="quiet">Dashed: {", ".join(limit.text for limit in limits)}.</p>' if limits else ""
    around = '<div class="wide" tabindex="0" role="region" aria-label="Variations compared">'
    table = f'{around}<table class="compare"><tr>{head}</tr>{lines}</table></div>'
    return f"<h3>Side by side: remaining useful life, in cycles</h3>{plot}{dashed}{table}"


def tag_label(tag: str, known: Mapping[str, Tag], unit_of_release: str) -> str:
    """A tag in the words of the configuration, with its unit."""
    words = tag_words(tag, known.get(tag))
    written = unit(known[tag].unit if tag in known else unit_of_release)
    return f"{words}, {written}" if written else words


def tag_info(tag: str, found: Loaded) -> str:
    """What was loaded of it and what is usual."""
    newest, reference = found.newest()[tag], found.manifest.references.get(tag)
    parts = ["no reading was loaded" if newest is None else f"loaded {number(newest)}"]
    if reference is not None:
        low, high = min(reference.normal), max(reference.normal)
        parts.append(f"usual {number(low)}" + (f" to {number(high)}" if high > low else ""))
    return ", ".join(parts)


def _reason(said: Answer, state: RulState) -> str:
    if state is RulState.BEYOND_HORIZON:
        return "Healthy further than the model can tell."
    if state is RulState.NOT_MODELLED:
        return "This component type has no RUL model; the anomaly score below holds."
    kind = said.withheld_because.partition(":")[0]
    words = withheld(said.withheld_because)
    return f"Withheld: {words}. {_REMEDIES.get(kind, '')}".strip()


_REMEDIES = {
    "not_running": "Wear does not show in a component that stands still. Load cycles in which it runs.",
    "starting_up": "Load more cycles after the standstill.",
    "out_of_distribution": "The model was never shown such values, so its number would be a guess. Bring the "
    "changed tags nearer to what is usual, or train on data like these.",
    "sensor_invalid": "Give the sensor a value, or change fewer of the last cycles.",
    "sensor_stuck": "A sound sensor never stands still for so long. Load cycles in which it moves.",
    "no_reading": "Give at least one sensor a value.",
}


def _flag(name: str, above: str, below: str, score: float, threshold: float) -> str:
    over = score > threshold
    kind, word = ("over", above) if over else ("under", below)
    numbers = f"(score {score:.2f}, threshold {threshold:.4g})"
    return f'<li class="{kind}">{name}: <b>{word}</b> <span>{numbers}</span></li>'


def _model(said: Answer, found: Loaded) -> str:
    digest = escape(said.model_sha256)
    record = (
        f"on the audit record as exploration: <code>{escape(said.prediction_id)}</code>"
        if said.prediction_id
        else "not on the record: the server keeps none"
    )
    place = escape(found.window.component.key)
    return (
        f'<p class="model">Model <b>{escape(said.model_version)}</b>, sha256 <code title="{digest}">'
        f"{digest[:SHORT_DIGITS]}…</code>; asked as {place}; {record}</p>"
    )


def _value(value: float, of_unit: str) -> str:
    return f"{number(value)} {escape(unit(of_unit))}" if math.isfinite(value) else "no reading"


def _effect(effect: float, of: str) -> str:
    text = f"{effect:+.0f} cycles" if of == "rul" else f"{effect:.0%}"
    return text.replace("-", MINUS)


def _row(result: Result) -> Row:
    said = result.answer
    if said is None:
        return Row(result.variation.name, None, None, None, "no answer")
    if said.rul_state != RulState.OK:
        words = _HEADLINES[RulState(said.rul_state)]
        because = f": {withheld(said.withheld_because)}" if said.withheld_because else ""
        return Row(result.variation.name, None, None, None, words + because)
    return Row(result.variation.name, said.predicted_rul, said.rul_low, said.rul_high, "")


def _line(result: Result, first: Answer | None) -> str:
    said = result.answer
    if said is None:
        what = escape(result.trouble.what if result.trouble else "no answer")
        return f'<tr><th scope="row">{escape(result.variation.name)}</th><td colspan="6">{what}</td></tr>'
    known = said.rul_state == RulState.OK
    both = known and first is not None and first is not said and first.rul_state == RulState.OK
    away = f"{said.predicted_rul - first.predicted_rul:+.0f}".replace("-", MINUS) if both and first else ""
    cells = (
        f"{said.predicted_rul:.0f}" if known else _HEADLINES[RulState(said.rul_state)],
        f"{said.rul_low:.0f} to {said.rul_high:.0f}" if known else "",
        away,
        f"{said.anomaly_score:.2f}{', abnormal' if said.is_anomaly else ''}",
        f"{said.ood_score:.2f}{', unlike' if said.ood_score > said.ood_threshold else ''}",
        said.model_version,
    )
    data = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row">{escape(result.variation.name)}</th>{data}</tr>'
