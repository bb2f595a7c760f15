"""A component's report: one page of HTML with its plots inside, for A4 and for a screen. Pure."""

from collections.abc import Sequence
from html import escape

from control_plane.api.models import ComponentView, Freshness, Level
from control_plane.console import wording
from control_plane.report.alarms import alarms
from control_plane.report.facts import Facts
from control_plane.report.html import STYLE, table, written
from control_plane.report.life import life, said

_KINDS = {Level.ALARM: "bad", Level.WARNING: "warn", Level.NORMAL: "good"}
_MORE_STYLE = """
.warn { border-color: #b26a00; background: var(--warn) }
.none { border-color: #66727f; background: var(--none) }
.verdict strong { font-size: 1.15rem } .verdict ul { margin: .3rem 0 0; padding-left: 1.2rem }
h2 { border-bottom: 2px solid var(--text); padding-bottom: .15rem }
h3 { font-size: .95rem; margin: 1rem 0 .2rem }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.2rem; margin: .6rem 0 }
.facts dt { color: var(--muted) } .facts dd { margin: 0; overflow-wrap: anywhere }
.note { color: var(--muted); font-size: .85rem } svg { display: block; max-height: 16rem }
td, th { font-variant-numeric: tabular-nums }
@page { size: A4; margin: 14mm }
@media print { html { font-size: 10px } body { font-size: 1rem; max-width: none; padding: 0 }
  section, figure { break-inside: avoid }
  h2 { margin-top: 1rem } .verdict { -webkit-print-color-adjust: exact; print-color-adjust: exact } }
figure { margin: .4rem 0 }
@media screen { figure { overflow-x: auto } figure svg { min-width: 34rem } }
"""


def page(facts: Facts, command: str) -> str:
    """The page; `command` is what made it."""
    name, key = escape(wording.title(facts.place.component)), escape(facts.place.key)
    alarmed = alarms(facts.lake.alerts, facts.alerts, facts.changes, facts.made)
    sections = "".join(f"<section>{part}</section>" for part in (
        life(facts), alarmed, _sensors(facts), _model(facts), _completeness(facts), _record(facts),
    ))  # fmt: skip
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{key}: report</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width"><style>{STYLE}{_MORE_STYLE}</style></head><body>
<h1>{name}</h1>
<p>{key}, {escape(facts.view.component_type.replace("_", " "))}. As of {written(facts.made)}.</p>
{_verdict(facts)}
{sections}
<p class="note">Made {written(facts.made)} by <code>{escape(command)}</code>. Times are UTC. RUL is in cycles.
Advice to people who plan maintenance; it is no safety function and takes the place of no inspection.</p>
</body></html>
"""


def _verdict(facts: Facts) -> str:
    """How it is now, or that nothing is known of now."""
    view, (headline, unit) = facts.view, wording.rul_headline(facts.view.prediction)
    if view.freshness is Freshness.LIVE:
        detail = wording.rul_detail(view, facts.made)
        lead = f"{wording.LEVELS[view.level]}. RUL {headline[:1].lower()}{headline[1:]} {unit}".strip()
        told = f"{detail[:1].upper()}{detail[1:]}."
    else:
        lead, told = wording.silence(view, facts.made), ""
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in view.reasons)
    reasons = f"<ul>{reasons}</ul>" if reasons else ""
    return (
        f'<div class="verdict {_KINDS.get(view.level, "none")}"><strong>{escape(lead)}.</strong> '
        f"{escape(told)}{_last(view)}{reasons}</div>"
    )


def _last(view: ComponentView) -> str:
    """What was last said, where that is not of now."""
    last = view.last_prediction
    return "" if last is None else f" Last prediction, {written(last.timestamp)}: {escape(said(last))}."


def _sensors(facts: Facts) -> str:
    """Each tag's newest value and limits, and how often it gave none."""
    readings = facts.view.readings or facts.view.last_readings
    rows = []
    for reading in readings:
        quality = facts.lake.tags.get(reading.tag)
        bad = sorted(quality.bad.items()) if quality else []
        rows.append((
            wording.tag_name(reading), wording.reading_value(reading),
            wording.unit(reading.unit) if reading.value is not None else "",
            _limits(reading.low, reading.high),
            f"{quality.share_bad:.2%}" if quality else wording.NOTHING,
            ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in bad),
        ))  # fmt: skip
    when = f" Newest reading {written(facts.view.last_seen)}." if facts.view.last_seen else ""
    heads = ("sensor", "newest", "unit", "limits", "bad", "reasons, polls")
    return f"<h2>Sensors</h2><p>{facts.lake.rows:,} polls.{when}</p>{table(heads, rows)}"


def _limits(low: float | None, high: float | None) -> str:
    parts = [f"from {low:g}" if low is not None else "", f"to {high:g}" if high is not None else ""]
    return " ".join(part for part in parts if part)


def _model(facts: Facts) -> str:
    """The card of the release that made the newest prediction."""
    answer, card = facts.view.prediction or facts.view.last_prediction, facts.card
    if answer is None:
        return "<h2>Model</h2><p>No model has scored this component.</p>"
    title = f"<h2>Model {escape(answer.model.name)}/{answer.model.version}</h2>"
    digest = f"<dt>sha256</dt><dd><code>{answer.model.sha256}</code></dd>"
    if card is None:
        return (
            f'{title}<dl class="facts">{digest}</dl><p>No release of these bytes is published in this '
            "centre's repository, so nothing more is said of it.</p>"
        )
    pairs = [
        ("made", written(card.created)),
        ("training data", card.training_data_version),
        ("horizon", f"{card.horizon_cycles:g} cycles" if card.horizon_cycles else "no RUL model"),
        ("interval", wording.calibration(card.calibration)),
        ("looks at", f"{card.window_cycles} cycles of {len(card.tags)} tags"),
        ("limits", " ".join(card.limits)),
    ]
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in pairs)
    metrics = ((m.name, f"{m.value:.4g}", m.meaning) for m in card.metrics)
    return (
        f'{title}<dl class="facts">{digest}{listed}</dl>'
        f"{table(('metric', 'value', 'meaning'), metrics) if card.metrics else ''}"
    )


def _completeness(facts: Facts) -> str:
    """Of the whole site, because rows are numbered there."""
    rows = (
        (a.store_id, f"{a.produced:,}", f"{a.arrived:,}", f"{a.not_yet:,}", wording.explained(a),
         wording.unexplained(a), wording.verdict(a)[1])
        for a in facts.accounts
    )  # fmt: skip
    heads = ("store", "produced", "arrived", "not yet", "given up, by reason", "unexplained", "verdict")
    site = escape(facts.place.site_id)
    return f"<h2>Completeness of site {site}</h2>" + (
        table(heads, rows) if facts.accounts else "<p>Nothing has arrived from this site.</p>"
    )


def _record(facts: Facts) -> str:
    """Whether the site's audit log holds, and how many of the component's predictions stand on it."""
    title = "<h2>Audit record</h2>"
    counts = (
        f"<p>{facts.lake.predictions:,} predictions of this component in the lake, {facts.lake.entries:,} on "
        "the site's audit log.</p>"
    )
    if not facts.proofs:
        return f"{title}{counts}<p>The site's key is not known here, so its log was not checked.</p>"
    rows = (
        (r.site, r.source, f"{r.entries:,}", f"{r.checkpoints:,}", f"{r.witnessed:,}", f"{r.uncovered:,}",
         "holds" if r.verified else "DOES NOT HOLD")
        for r in facts.proofs
    )  # fmt: skip
    heads = ("log", "read from", "entries", "checkpoints", "co-signed", "not yet covered", "verdict")
    return f"{title}{counts}{table(heads, rows)}{_problems([p for r in facts.proofs for p in r.problems])}"


def _problems(problems: Sequence[str]) -> str:
    return "".join(f'<p class="wrong">{escape(problem)}</p>' for problem in problems)
