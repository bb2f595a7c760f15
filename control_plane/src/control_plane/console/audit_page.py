"""`/audit`: a prediction on its site's record or the centre's own, and its proof step by step."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from control_plane.api.audit_desk import ID_CHARS_MAX, AuditedPrediction, ProofStep, State, Verdict
from control_plane.api.models import FleetSnapshot
from control_plane.audit.inference_entry import Inference
from control_plane.audit.inference_log import INFERENCE, INFERENCE_LOG
from control_plane.console import wording
from control_plane.console.frame import Frame
from control_plane.console.parts import Text, attribute, box, facts_table, visible
from shared.errors import PmStackError
from shared.schemas import Prediction

STATES: dict[State, tuple[str, str]] = {  # the word, and the mark that repeats it
    "holds": ("Holds", "\N{CHECK MARK}"),
    "fails": ("Fails", "\N{BALLOT X}"),
    "not_checked": ("Not checked yet", "?"),
}
VERDICTS: dict[Verdict, tuple[State, str]] = {
    "proven": ("holds", "Proven: every step was checked and holds"),
    "failed": ("fails", "The proof fails"),
    "not_checked": ("not_checked", "Not proven yet: something could not be checked"),
}

Ask = Callable[[str], Awaitable[AuditedPrediction | None]]


class AuditPage:
    """The page; `look_up` shows a prediction. An answer to an older question is dropped."""

    def __init__(self, ask: Ask, sites: Sequence[str]) -> None:
        self._ask, self._typed, self._asked = ask, "", 0
        self._frame = Frame("Audit")
        with self._frame.content:
            with box("page-head"):
                Text("Audit", "page-title", "h1")
            with box("lookup", "form").props('role="search"') as form:
                form.on("submit.prevent", self._submitted)
                with box("", "label"):
                    Text("Prediction id", tag="span")
                    self._field = ui.element("input").props(
                        f'type="text" maxlength="{ID_CHARS_MAX}" data-testid="prediction-id" '
                        'autocomplete="off" spellcheck="false" size="40"'
                    )
                    self._field.on("input", self._typing, js_handler="(event) => emit(event.target.value)")
                with box("act", "button").props('type="submit" data-testid="look-up"'):
                    Text("Look up", tag="span")
            self._status = Text(classes="muted").props('role="status" data-testid="audit-status"')
            self._problem = Text(classes="refused").props('role="alert" data-testid="audit-problem"')
            self._result = box()
            _export(sites)
        visible(self._problem, False)
        self._status.show("Every prediction has an id: a component's page lists its newest ones.")

    def show(self, snapshot: FleetSnapshot) -> None:
        """Clock and banners."""
        self._frame.show(snapshot)

    async def look_up(self, prediction_id: str) -> None:
        """Ask for a prediction and show what is on record of it."""
        wanted, self._typed = prediction_id.strip(), prediction_id.strip()
        attribute(self._field, "value", wanted)
        if not wanted:
            return
        self._asked += 1
        mine = self._asked
        self._result.clear()
        visible(self._problem, False)
        self._status.show("Checking…")
        found, problem = None, f"No entry on any record holds the prediction {wanted}. "
        problem += "A prediction's entry arrives with it or within seconds; an older id may be mistyped."
        try:
            found = await self._ask(wanted)
        except PmStackError as error:
            problem = str(error)
        if mine != self._asked:
            return
        self._status.show("")
        self._problem.show("" if found else problem)
        visible(self._problem, found is None)
        if found is not None:
            with self._result:
                _proof(found)
                _record(found)
            ui.run_javascript(
                f"history.replaceState(history.state, '', {'/audit?' + urlencode({'id': wanted})!r})"
            )

    def _typing(self, event: Any) -> None:
        self._typed = str(event.args)

    async def _submitted(self) -> None:
        await self.look_up(self._typed)


def _export(sites: Sequence[str]) -> None:
    """The form by which an inspector takes a site's record away; the browser saves what comes."""
    Text("For an inspector", "section-title", "h2")
    Text(
        "A site's whole record as a zip: its log under the co-signed checkpoint, keys, proofs, tables, and "
        "report.html, which says what was checked and how to check it again elsewhere. It is made when you "
        "ask, which takes minutes for a long record; that you took it goes on the centre's own record.",
        "muted",
    )
    if not sites:
        Text("There is nothing to export yet: no site's record has been co-signed.", "muted")
        return
    with box("lookup", "form").props('method="post" action="/audit/export" data-testid="export"'):
        with box("", "label"):
            Text("Site", tag="span")
            with ui.element("select").props('name="site"'):
                for site in sites:
                    Text(site, tag="option")
        with box("act", "button").props('type="submit"'):
            Text("Download the record", tag="span")
    Text(
        "The record is being made. Leave this page open: the download begins by itself, after minutes for a "
        "long record.",
        "refused export-asked",
    ).props('role="status" hidden')


def _proof(found: AuditedPrediction) -> None:
    state, words = VERDICTS[found.verdict]
    with box("proof", "section").props('data-testid="proof"') as proof:
        attribute(proof, "data-state", state)
        with box("proof-head", "h2"):
            Text(STATES[state][1], "proof-mark", "span").props("aria-hidden=true")
            Text(words, tag="span")
        if found.why:
            Text(found.why, "proof-why")
        with box("proof-steps", "ol"):
            for step in found.steps:
                _step(step)


def _step(step: ProofStep) -> None:
    word, mark = STATES[step.state]
    with box("proof-step", "li").props('data-testid="proof-step"') as row:
        attribute(row, "data-state", step.state)
        Text(mark, "proof-mark", "span").props("aria-hidden=true")
        Text(word, "proof-word", "span")
        with box():
            Text(step.what[:1].upper() + step.what[1:], "proof-what")
            Text(step.detail, "muted proof-detail")


def _record(found: AuditedPrediction) -> None:
    covered = "none yet" if found.covered is None else f"the first {found.covered} entries"
    own = found.log == INFERENCE_LOG
    clock = "" if found.clock is None else f", clock {found.clock}"
    rows = [
        ("Prediction", found.prediction_id),
        ("Record", f"entry {found.index} of {INFERENCE if own else found.log}"),
        ("Co-signed checkpoint covers", covered),
        ("Of the time" if own else "Written", f"{found.timestamp:%Y-%m-%d %H:%M:%S} UTC{clock}"),
        ("Leaf hash", found.leaf_sha256),
    ]
    rows += _answer(found.prediction) if found.prediction else []
    rows += _own_answer(found.inference) if found.inference else []
    Text("On the record", "section-title", "h2")
    facts_table(rows, "audit-record")


def _own_answer(made: Inference) -> list[tuple[str, str]]:
    """What the centre's inference answered."""
    took = wording.NOTHING if made.inference_time_ms is None else f"{made.inference_time_ms:.3g} ms"
    return [
        ("Component", f"{made.site_id} / {made.reactor_id} / {made.component}"),
        ("Model", f"{made.model_name} v{made.model_version}, {made.mode}"),
        ("Model's SHA-256", made.model_sha256),
        ("Feature spec", made.feature_spec_sha256),
        ("Input window's SHA-256", made.window_sha256),
        ("RUL", _own_rul(made)),
        ("Flags", ", ".join(made.flags) or "none"),
        ("Raw output", "; ".join(f"{name} {values}" for name, values in made.raw.items())),
        ("Computed", f"by {made.runtime} in {took}"),
    ]


def _own_rul(made: Inference) -> str:
    if made.predicted_rul is None:
        return made.rul_state.replace("_", " ") or wording.NOTHING
    ends = (wording.NOTHING if value is None else f"{value:.4g}" for value in (made.rul_low, made.rul_high))
    return f"{made.predicted_rul:.4g} cycles, interval {' to '.join(ends)}"


def _answer(made: Prediction) -> list[tuple[str, str]]:
    flags = [name for name, up in (("abnormal", made.is_anomaly), ("unlike training", made.is_ood)) if up]
    missing = ", ".join(f"{tag} {count}" for tag, count in made.missing.items())
    return [
        ("Component", f"{made.site_id} / {made.reactor_id} / {made.component}"),
        ("Model", f"{made.model.name} v{made.model.version}, {made.model.mode}"),
        ("Model's SHA-256", made.model.sha256),
        ("Feature spec", made.feature_spec_hash),
        ("Input window's SHA-256", made.window_sha256),
        ("Cycle", wording.NOTHING if made.cycle is None else str(made.cycle)),
        ("RUL", wording.recorded_rul(made)),
        ("Anomaly score", f"{made.anomaly_score:.4g} (threshold {made.anomaly_threshold:.4g})"),
        ("Distance from training", f"{made.ood_score:.4g} (threshold {made.ood_threshold:.4g})"),
        ("Flags", ", ".join(flags) or "none"),
        ("Values missing in the window", missing or "none"),
        ("Raw output", "; ".join(f"{name} {values}" for name, values in made.raw.items())),
        ("Computed", f"by {made.runtime} in {made.inference_time_ms:.3g} ms"),
    ]
