"""One prediction, as it stands on its site's record or the centre's own, and every step of its proof.

A proof is green only when every step was taken and held. What could not be checked is said to be so: it is
neither a proof nor a finding.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, Literal

from control_plane.api.lake_follower import LAKE_ERRORS
from control_plane.audit.inference_entry import Inference, InferenceEntry
from control_plane.audit.proofs import Missing, Step, check_prediction, locate, step_names
from control_plane.audit.tiles import TileStore
from control_plane.layout import Layout
from control_plane.release.image import ImageRepository
from shared.checkpoint import NoteError, read_checkpoint
from shared.errors import Rejected, Retryable
from shared.merkle import leaf_hash
from shared.schemas import AuditEntry, Frozen, Prediction, UtcTime

ID_CHARS_MAX = 200  # an id has 36; a longer one is none
LOOKUPS_MAX = 2  # at once: each searches the record
MODEL_STEP = "the model's bytes"

State = Literal["holds", "fails", "not_checked"]
Verdict = Literal["proven", "failed", "not_checked"]


class ProofStep(Frozen):
    """One thing that was, or was to be, checked."""

    what: str
    state: State
    detail: str


class AuditedPrediction(Frozen):
    """A prediction's entry, as it was written, and what of it could be proven.

    `log` is the site whose log has it, with `prediction`; or `inference`, the centre's own, with `inference`
    and without a clock state. `covered` is how many entries the newest co-signed checkpoint covers; None
    where there is none.
    """

    prediction_id: str
    verdict: Verdict
    why: str
    log: str
    site_id: str
    index: int
    covered: int | None
    timestamp: UtcTime
    leaf_sha256: str
    steps: list[ProofStep]
    clock: str | None = None
    prediction: Prediction | None = None
    inference: Inference | None = None


class AuditDesk:
    """Looks predictions up and checks them, in threads."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._turns = asyncio.Semaphore(LOOKUPS_MAX)

    async def prediction(self, prediction_id: str) -> AuditedPrediction | None:
        """None when no entry holds it; Rejected for what is no id, Retryable when there is no reading."""
        if not 0 < len(prediction_id) <= ID_CHARS_MAX or not prediction_id.isprintable():
            raise Rejected(f"a prediction's id has 1 to {ID_CHARS_MAX} printable characters")
        async with self._turns:
            try:
                return await asyncio.to_thread(self._prediction, prediction_id)
            except LAKE_ERRORS as error:
                raise Retryable(f"the record cannot be read: {error}") from error

    def _prediction(self, prediction_id: str) -> AuditedPrediction | None:
        try:
            found = locate(self._layout, prediction_id)
        except Missing:
            return None
        steps = proof_steps(check_prediction(self._layout, prediction_id).steps, step_names(found.log))
        told = _told(found.entry)
        model = told.pop("model")
        if model is not None:
            steps.append(self._model_step(*model))
        verdict, why = verdict_of(steps)
        return AuditedPrediction(
            prediction_id=prediction_id,
            verdict=verdict,
            why=why,
            log=found.log,
            index=found.index,
            covered=self._covered(found.log),
            leaf_sha256=leaf_hash(found.data).hex(),
            steps=steps,
            **told,
        )

    def _covered(self, log: str) -> int | None:
        try:
            note = TileStore(self._layout.tiles / log).checkpoint()
            return None if note is None else read_checkpoint(note).size
        except (OSError, NoteError):
            return None  # the step of the proof says so

    def _model_step(self, release: str, sha256: str) -> ProofStep:
        """Whether the bytes that people approved under this name are those on the record."""
        image = ImageRepository(self._layout.repository)
        try:
            if release not in image.releases():
                return ProofStep(
                    what=MODEL_STEP, state="not_checked", detail=f"{release} is not published at this centre"
                )
            _, data = image.release(release)
        except Rejected as error:
            return ProofStep(what=MODEL_STEP, state="fails", detail=str(error))
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            detail = f"the record says {sha256[:16]}..., {release} as approved is {found[:16]}..."
            return ProofStep(what=MODEL_STEP, state="fails", detail=detail)
        detail = f"{release} as approved: SHA-256 {found[:16]}..., {len(data):,} bytes"
        return ProofStep(what=MODEL_STEP, state="holds", detail=detail)


def _told(entry: AuditEntry | InferenceEntry) -> dict[str, Any]:
    """What an entry says; `model` is the release and the digest of its bytes, None without a prediction."""
    made = entry.prediction
    told: dict[str, Any] = {"timestamp": entry.timestamp}
    if isinstance(entry, AuditEntry):
        told |= {"site_id": entry.site_id, "clock": entry.clock, "prediction": made}
    else:
        told |= {"site_id": made.site_id if made else "", "inference": made}
    model = None
    if isinstance(made, Inference):
        model = f"{made.model_name}/{made.model_version}", made.model_sha256
    elif made is not None:
        model = f"{made.model.name}/{made.model.version}", made.model.sha256
    return told | {"model": model}


def proof_steps(taken: list[Step], names: Sequence[str]) -> list[ProofStep]:
    """Every step that a proof has, by `names`, those too that were not come to."""
    steps = [
        ProofStep(
            what=step.what,
            state="holds" if step.ok else "not_checked" if step.missing else "fails",
            detail=step.detail,
        )
        for step in taken
    ]
    left = [what for what in names if what not in {step.what for step in steps}]
    why = "rests on the step before it"
    return steps + [ProofStep(what=what, state="not_checked", detail=why) for what in left]


def verdict_of(steps: list[ProofStep]) -> tuple[Verdict, str]:
    """The whole of the steps in a word, with why where it is no proof."""
    for state, verdict in (("fails", "failed"), ("not_checked", "not_checked")):
        found = next((step for step in steps if step.state == state), None)
        if found is not None:
            return verdict, f"{found.what}: {found.detail}"  # type: ignore[return-value]
    return ("proven", "") if steps else ("not_checked", "nothing was checked")
