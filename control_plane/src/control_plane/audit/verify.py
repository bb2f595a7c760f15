"""Does a log hold? Needs its entries, its checkpoints and public keys, nothing else."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from pydantic import ValidationError

from control_plane.audit.archive import AuditArchive, Leaf
from shared.checkpoint import Checkpoint, NoteError, VerifierKey, open_checkpoint
from shared.merkle import Frontier, leaf_hash
from shared.schemas import AuditEntry

EntryProblem = Callable[[Leaf], str | None]
PROBLEMS_MAX = 20  # a report names the first ones; thousands more say nothing new


@dataclass
class SiteVerification:
    """What was checked and what is wrong. `covered` entries stand under a checkpoint that holds.

    `source` is where the entries were read: `lake` (the tables), `tiles` (the files) or `log`.
    """

    site: str
    source: str = "lake"
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
    def nothing(self) -> bool:
        """No entry, no checkpoint, and nothing wrong: a log that was opened and has not been written yet."""
        return not (self.entries or self.checkpoints or self.problems)

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
    result, notes = SiteVerification(site), archive.checkpoints(site)
    problem_of = site_entry_problem(site)
    verify_log(result, archive.leaves(site), notes, key, problem_of, witnessed, witness_key)
    return result


def verify_log(
    result: SiteVerification,
    leaves: Iterable[Leaf],
    notes: Sequence[str],
    key: VerifierKey,
    entry_problem: EntryProblem,
    witnessed: Iterable[str] = (),
    witness_key: VerifierKey | None = None,
) -> None:
    """Hold `notes` and co-signed ones against a log of any kind of entries, into `result`."""
    co_signed = list(witnessed) if witness_key is not None else []
    claims = [claim(f"checkpoint {n} of {len(notes)}", note, key) for n, note in enumerate(notes, 1)]
    claims += [claim("co-signed checkpoint", note, key, witness_key) for note in co_signed]
    held = _hold(result, leaves, claims, key.name, entry_problem)
    result.checkpoints, result.witnessed = sum(held[: len(notes)]), sum(held[len(notes) :])


def checkpoint_problem(checkpoint: Checkpoint, origin: str, entries: int, root: bytes | None) -> str | None:
    """Why a checkpoint does not fit a log of `entries`, whose root at the checkpoint's size is `root`."""
    if checkpoint.origin != origin:
        return f"checkpoint at {checkpoint.size}: is of {checkpoint.origin}, not {origin}"
    if root is None:
        return f"checkpoint at {checkpoint.size}: {checkpoint.size - entries} entries under it are missing"
    if checkpoint.root != root:
        return f"checkpoint at {checkpoint.size}: its root is not that of the entries"
    return None


def site_entry_problem(site: str) -> EntryProblem:
    """What finds the fault in an entry of a site's log, if there is one."""
    return partial(_entry_problem, site=site)


def canonical_problem(write: Callable[[], bytes], data: bytes) -> str | None:
    """Whether an entry that was read from `data` is written just so: what else it says would go unread."""
    try:
        return None if write() == data else "is not in canonical form (RFC 8785)"
    except ValueError as error:
        return f"cannot be written as RFC 8785 has it: {error}"


def _hold(
    result: SiteVerification,
    leaves: Iterable[Leaf],
    claims: list[Checkpoint | str],
    origin: str,
    entry_problem: EntryProblem,
) -> list[bool]:
    """Which of the claims hold; what does not is noted, the entries' own faults first."""
    roots = _roots(result, leaves, {c.size for c in claims if isinstance(c, Checkpoint)}, entry_problem)
    held = []
    for claim in claims:
        problem = claim if isinstance(claim, str) else _misfit(claim, origin, result.entries, roots)
        if problem:
            result.note(problem)
        elif isinstance(claim, Checkpoint):
            result.covered = max(result.covered, claim.size)
        held.append(problem is None)
    return held


def _misfit(claim: Checkpoint, origin: str, entries: int, roots: dict[int, bytes]) -> str | None:
    return checkpoint_problem(claim, origin, entries, roots.get(claim.size))


def _roots(
    result: SiteVerification, leaves: Iterable[Leaf], sizes: set[int], entry_problem: EntryProblem
) -> dict[int, bytes]:
    """The root at each of `sizes` that the entries reach without a break; what breaks it is noted."""
    frontier = Frontier()
    roots = {0: frontier.root()}
    for leaf in leaves:
        if leaf.index != result.entries:
            what = "is there twice" if leaf.index < result.entries else f"follows {result.entries - 1}"
            result.note(f"entry {leaf.index} {what}: entries are missing, doubled or out of order")
            break
        problem = entry_problem(leaf)
        if problem:
            result.note(f"entry {leaf.index}: {problem}")
        frontier.append(leaf_hash(leaf.data))
        result.entries += 1
        if result.entries in sizes:
            roots[result.entries] = frontier.root()
    return roots


def claim(what: str, note: str, key: VerifierKey, witness_key: VerifierKey | None = None) -> Checkpoint | str:
    """The checkpoint in a note that the log signed, and the witness where there is one; else why not."""
    try:
        if witness_key is not None:
            open_checkpoint(note, witness_key)
        return open_checkpoint(note, key)
    except NoteError as error:
        whose = "the log's own" if witness_key is None else "the log's own and the witness's"
        return f"{what}: is not {whose}: {error}"


def _entry_problem(leaf: Leaf, site: str) -> str | None:
    try:
        entry = AuditEntry.model_validate_json(leaf.data)
    except ValidationError as error:
        return f"is no audit entry: {error.errors()[0]['msg']}"
    if entry.index != leaf.index or entry.site_id != site:
        return f"says it is entry {entry.index} of {entry.site_id}"
    return canonical_problem(entry.leaf, leaf.data)
