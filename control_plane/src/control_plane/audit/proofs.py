"""Proofs of single entries, and what is behind one prediction, step by step."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

from control_plane.audit.archive import LakeArchive, Leaf
from control_plane.audit.inference_entry import InferenceEntry
from control_plane.audit.inference_log import INFERENCE, INFERENCE_LOG, InferenceLog
from control_plane.audit.tiles import TileStore
from control_plane.audit.tlog_proof import Proof, check_proof
from control_plane.audit.verify import site_entry_problem
from control_plane.audit.witness import WITNESS_NAME
from control_plane.layout import Layout
from control_plane.sinks.lake import LakeReader
from shared.checkpoint import NoteError, VerifierKey, open_note, parse_verifier_key, read_checkpoint
from shared.errors import PmStackError, Rejected, Retryable
from shared.schemas import AuditEntry


class Step(NamedTuple):
    """One thing that was checked."""

    what: str
    ok: bool
    detail: str
    missing: bool = False  # what it needs is not here (yet): it speaks neither for nor against


class Missing(Rejected):
    """What a check needs is not here, or not yet."""


class Verdict(NamedTuple):
    """What was checked of a prediction, up to the first thing that is wrong."""

    steps: list[Step]

    @property
    def ok(self) -> bool:
        """Every step held."""
        return bool(self.steps) and all(step.ok for step in self.steps)


def prove(store: TileStore, index: int) -> Proof:
    """The proof that the entry of this index is in the log; Rejected says why there is none."""
    try:
        note = store.checkpoint()
        if note is None:
            raise Missing(f"{store.folder}: nothing of this log has been co-signed yet")
        size = read_checkpoint(note).size
        if not 0 <= index < size:
            raise Missing(f"entry {index}: the newest co-signed checkpoint covers the first {size}")
        return Proof(store.entry(index), index, store.inclusion_proof(index), note)
    except (OSError, ValueError, IndexError) as error:
        raise Rejected(f"{store.folder}: damaged, `audit verify` says where: {error}") from error


@dataclass(frozen=True)
class Located:
    """An entry as it is in its log: a site's, or `INFERENCE_LOG`."""

    log: str
    index: int
    data: bytes
    entry: AuditEntry | InferenceEntry


def locate(layout: Layout, prediction_id: str) -> Located:
    """The entry that holds a prediction; Missing when there is none, Rejected when it cannot be read."""
    own = layout.inference_log().find_leaf(prediction_id) if layout.has_inference_log else None
    data = own[0].data if own else LakeArchive(LakeReader(layout.lake)).prediction_leaf(prediction_id)
    if data is None:
        raise Missing(f"no audit entry holds prediction {prediction_id}")
    try:
        if own is not None:
            return Located(INFERENCE_LOG, own[0].index, data, InferenceEntry.model_validate_json(data))
        entry = AuditEntry.model_validate_json(data)
    except ValueError as error:
        raise Rejected(f"the entry of prediction {prediction_id} is no audit entry") from error
    return Located(entry.site_id, entry.index, data, entry)


def step_names(log: str) -> tuple[str, ...]:
    """What `check_prediction` checks of an entry of this log, in order."""
    whose = "log" if log == INFERENCE_LOG else "site"
    return (
        "entry on the record", "input window", "place in the log", f"the {whose}'s signature",
        "the centre's co-signature",
    )  # fmt: skip


def check_prediction(layout: Layout, prediction_id: str) -> Verdict:
    """Is a prediction on its site's record, or that of the centre's inference, whole, under a checkpoint that
    the log and the centre's witness signed? Never raises for what is wrong: the last step says it."""
    steps: list[Step] = []
    with suppress(_Stopped):
        _check(layout, prediction_id, steps)
    return Verdict(steps)


class _Stopped(Exception):
    """A step did not hold."""


def _check(layout: Layout, prediction_id: str, steps: list[Step]) -> None:
    with _step(steps, "entry on the record") as said:
        found = locate(layout, prediction_id)
        own = found.log == INFERENCE_LOG
        problem_of = InferenceLog.entry_problem if own else site_entry_problem(found.log)
        _refuse(problem_of(Leaf(found.index, found.data)))
        whose = INFERENCE if own else found.log
        said.append(f"entry {found.index} of {whose}, {len(found.data):,} bytes")
    _, window, place, signature, co_signature = step_names(found.log)
    with _step(steps, window, needed=False) as said:
        said.append(_window(layout, found, prediction_id))
    with _step(steps, place) as said:
        proof = prove(TileStore(layout.tiles / found.log), found.index)
        _refuse(None if proof.entry == found.data else "the log holds another entry under this index")
        said.append(
            f"{len(proof.path)} hashes lead from it to the root of {read_checkpoint(proof.note).size}"
        )
    with _step(steps, signature) as said:
        key = layout.inference_log().verifier if own else _site_key(layout, found.log)
        check_proof(proof, key, None)
        said.append(f"{key.name}+{key.key_id.hex()}")
    with _step(steps, co_signature) as said:
        witness = layout.witness_key().verifier(WITNESS_NAME)
        open_note(proof.note, witness)
        said.append(f"{witness.name}+{witness.key_id.hex()}")


@contextmanager
def _step(steps: list[Step], what: str, needed: bool = True) -> Iterator[list[str]]:
    """Put down how a step went; _Stopped when it did not hold, unless it is missing and not `needed`."""
    said: list[str] = []
    try:
        yield said
    except (PmStackError, NoteError) as error:
        missing = isinstance(error, Missing | Retryable)
        steps.append(Step(what, False, str(error), missing))
        if missing and not needed:
            return
        raise _Stopped from error
    steps.append(Step(what, True, "; ".join(said)))


def _refuse(problem: str | None) -> None:
    if problem:
        raise Rejected(problem)


def _window(layout: Layout, found: Located, prediction_id: str) -> str:
    """The stored window against the entry's digest."""
    told = found.entry.prediction
    if told is None:
        raise Rejected("the entry holds no prediction")
    if found.log == INFERENCE_LOG:
        own = layout.inference_log().find_leaf(prediction_id)
        window = own[1] if own else None
    else:
        window = LakeArchive(LakeReader(layout.lake)).window(prediction_id)
    if window is None:
        raise Missing("has not arrived")
    digest = hashlib.sha256(window).hexdigest()
    if digest != told.window_sha256:
        raise Rejected("the stored window is not the one on the record")
    return f"SHA-256 {digest[:16]}..., {len(window):,} bytes"


def _site_key(layout: Layout, site: str) -> VerifierKey:
    text = layout.store().audit_key(site)
    if text is None:
        raise Missing(f"no verifier key of {site} is on file: it has never called")
    return parse_verifier_key(text)
