"""Proofs of single entries, and what is behind one prediction, step by step."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from control_plane.audit.archive import AuditArchive, LakeArchive, Leaf
from control_plane.audit.inference_entry import InferenceEntry
from control_plane.audit.inference_log import INFERENCE, InferenceLog
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


def locate(archive: AuditArchive, prediction_id: str) -> tuple[AuditEntry, bytes]:
    """The entry that holds a prediction, as it is and as it is read; Rejected when there is none."""
    data = archive.prediction_leaf(prediction_id)
    if data is None:
        raise Missing(f"no audit entry holds prediction {prediction_id}")
    try:
        return AuditEntry.model_validate_json(data), data
    except ValueError as error:
        raise Rejected(f"the entry of prediction {prediction_id} is no audit entry") from error


def check_prediction(layout: Layout, prediction_id: str) -> Verdict:
    """Is a prediction on its site's record, whole, under a checkpoint that the site and the centre signed?

    One that the centre's own inference made is looked for in its log, which is recomputed as a whole (about
    40 us an entry). Never raises for what is wrong: the last step says it.
    """
    steps: list[Step] = []
    found = layout.inference_log().find(prediction_id) if layout.has_inference_log else None
    with suppress(_Stopped):
        if found is not None:
            _check_inference(layout.inference_log(), *found, steps)
        else:
            _check(layout, LakeArchive(LakeReader(layout.lake)), prediction_id, steps)
    return Verdict(steps)


class _Stopped(Exception):
    """A step did not hold."""


def _check(layout: Layout, archive: AuditArchive, prediction_id: str, steps: list[Step]) -> None:
    with _step(steps, "entry on the record") as said:
        entry, data = locate(archive, prediction_id)
        site = entry.site_id
        _refuse(site_entry_problem(site)(Leaf(entry.index, data)))
        said.append(f"entry {entry.index} of {site}, {len(data):,} bytes")
    with _step(steps, "input window", needed=False) as said:
        if entry.prediction is None:
            raise Rejected("the entry holds no prediction")
        said.append(_digest(archive.window(prediction_id), entry.prediction.window_sha256))
    with _step(steps, "place in the log") as said:
        proof = prove(TileStore(layout.tiles / site), entry.index)
        _refuse(None if proof.entry == data else "the log holds another entry under this index")
        said.append(
            f"{len(proof.path)} hashes lead from it to the root of {read_checkpoint(proof.note).size}"
        )
    with _step(steps, "the site's signature") as said:
        key = _site_key(layout, site)
        check_proof(proof, key, None)
        said.append(f"{key.name}+{key.key_id.hex()}")
    with _step(steps, "the centre's co-signature") as said:
        witness = layout.witness_key().verifier(WITNESS_NAME)
        open_note(proof.note, witness)
        said.append(f"{witness.name}+{witness.key_id.hex()}")


def _check_inference(log: InferenceLog, entry: InferenceEntry, window: bytes, steps: list[Step]) -> None:
    with _step(steps, "entry on the record") as said:
        if entry.prediction is None:
            raise Rejected("the entry holds no prediction")
        said.append(f"entry {entry.index} of {INFERENCE}")
    with _step(steps, "input window") as said:
        said.append(_digest(window, entry.prediction.window_sha256))
    with _step(steps, "place in the log") as said:
        result = log.verify()
        _refuse(result.problems[0] if result.problems else None)
        if entry.index >= result.covered:
            raise Missing("no checkpoint covers it yet")
        said.append(f"under a checkpoint of {result.covered} entries")
    with _step(steps, "the log's signature") as said:
        said.append(f"{log.verifier.name}+{log.verifier.key_id.hex()}")


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


def _digest(window: bytes | None, recorded: str) -> str:
    if window is None:
        raise Missing("has not arrived")
    digest = hashlib.sha256(window).hexdigest()
    if digest != recorded:
        raise Rejected("the stored window is not the one on the record")
    return f"SHA-256 {digest[:16]}..., {len(window):,} bytes"


def _site_key(layout: Layout, site: str) -> VerifierKey:
    text = layout.store().audit_key(site)
    if text is None:
        raise Missing(f"no verifier key of {site} is on file: it has never called")
    return parse_verifier_key(text)
