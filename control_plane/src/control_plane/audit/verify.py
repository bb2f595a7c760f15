"""Does a site's record hold? Needs its entries, its checkpoints and public keys, nothing else."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from pydantic import ValidationError

from control_plane.audit.archive import AuditArchive, Leaf
from shared.checkpoint import Checkpoint, NoteError, VerifierKey, open_checkpoint
from shared.merkle import Frontier, leaf_hash
from shared.schemas import AuditEntry

PROBLEMS_MAX = 20  # a report names the first ones; thousands more say nothing new


@dataclass
class SiteVerification:
    """What was checked and what is wrong. `covered` entries stand under a checkpoint that holds."""

    site: str
    entries: int = 0
    checkpoints: int = 0
    witnessed: int = 0
    covered: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def verified(self) -> bool:
        """Nothing is wrong, and at least one checkpoint covers at least one entry."""
        return not self.problems and self.covered > 0

    @property
    def uncovered(self) -> int:
        """Entries newer than the last checkpoint."""
        return self.entries - self.covered

    def note(self, problem: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem)


def verify_site(
    archive: AuditArchive,
    site: str,
    key: VerifierKey,
    witnessed: Iterable[str] = (),
    witness_key: VerifierKey | None = None,
) -> SiteVerification:
    """Recompute the log from its leaves and hold every checkpoint, and every co-signed one, against it."""
    result = SiteVerification(site)
    roots = verify_log(
        result, archive.leaves(site), archive.checkpoints(site), key, partial(_entry_problem, site=site)
    )
    for note in witnessed:
        if witness_key is not None and _co_signed(result, note, witness_key):
            result.witnessed += _holds(result, note, key, roots)
    return result


def verify_log(
    result: SiteVerification,
    leaves: Iterable[Leaf],
    notes: Iterable[str],
    key: VerifierKey,
    entry_problem: Callable[[Leaf], str | None],
) -> list[bytes]:
    """Hold `notes` against a log of any kind of entries, into `result`; the root at every size."""
    roots = _roots(result, leaves, entry_problem)
    for note in notes:
        result.checkpoints += _holds(result, note, key, roots)
    return roots


def _roots(
    result: SiteVerification, leaves: Iterable[Leaf], entry_problem: Callable[[Leaf], str | None]
) -> list[bytes]:
    """The root at every size that the entries reach without a break; what breaks it is noted."""
    frontier = Frontier()
    roots = [frontier.root()]
    for leaf in leaves:
        if leaf.index != result.entries:
            what = "is there twice" if leaf.index < result.entries else f"follows {result.entries - 1}"
            result.note(f"entry {leaf.index} {what}: entries are missing, doubled or out of order")
            break
        problem = entry_problem(leaf)
        if problem:
            result.note(f"entry {leaf.index}: {problem}")
        frontier.append(leaf_hash(leaf.data))
        roots.append(frontier.root())
        result.entries += 1
    return roots


def _entry_problem(leaf: Leaf, site: str) -> str | None:
    try:
        entry = AuditEntry.model_validate_json(leaf.data)
    except ValidationError as error:
        return f"is no audit entry: {error.errors()[0]['msg']}"
    if entry.index != leaf.index or entry.site_id != site:
        return f"says it is entry {entry.index} of {entry.site_id}"
    return None if entry.leaf() == leaf.data else "is not in canonical form (RFC 8785)"


def _holds(result: SiteVerification, note: str, key: VerifierKey, roots: list[bytes]) -> bool:
    try:
        checkpoint = open_checkpoint(note, key)
    except NoteError as error:
        result.note(f"a checkpoint is not the log's own: {error}")
        return False
    problem = checkpoint_problem(checkpoint, key.name, roots)
    if problem:
        result.note(problem)
        return False
    result.covered = max(result.covered, checkpoint.size)
    return True


def checkpoint_problem(checkpoint: Checkpoint, origin: str, roots: list[bytes]) -> str | None:
    """Why a checkpoint does not fit the entries, or None. `roots[n]` is the root of the first n."""
    if checkpoint.origin != origin:
        return f"checkpoint at {checkpoint.size}: is of {checkpoint.origin}, not {origin}"
    if checkpoint.size >= len(roots):
        missing = checkpoint.size - len(roots) + 1
        return f"checkpoint at {checkpoint.size}: {missing} entries under it are missing"
    if checkpoint.root != roots[checkpoint.size]:
        return f"checkpoint at {checkpoint.size}: its root is not that of the entries"
    return None


def _co_signed(result: SiteVerification, note: str, witness_key: VerifierKey) -> bool:
    try:
        open_checkpoint(note, witness_key)
    except NoteError as error:
        result.note(f"a co-signed checkpoint is not the witness's: {error}")
        return False
    return True
