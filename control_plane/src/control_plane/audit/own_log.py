"""What the centre's own logs have in common: entries and signed checkpoints in one SQLite file, to be read
and verified."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError

from control_plane.audit.archive import SIZE_MAX, Leaf
from control_plane.audit.verify import SiteVerification, canonical_problem, verify_log
from shared.checkpoint import VerifierKey
from shared.log_key import LogKey


class OwnLog(ABC):
    """The log in `folder`, whose checkpoints `key` signs."""

    origin: ClassVar[str]
    title: ClassVar[str]  # beside sites' names, none of which has a space
    name: ClassVar[str]  # in words
    entry: ClassVar[Any]  # the class of an entry: `index`, and the bytes that are hashed as `leaf()`

    def __init__(self, folder: Path, key: LogKey) -> None:
        self._path, self._key = folder / "log.db", key

    @property
    def verifier(self) -> VerifierKey:
        """What the log's checkpoints are checked with."""
        return self._key.verifier(self.origin)

    def verify(
        self,
        key: VerifierKey | None = None,
        witnessed: Sequence[str] = (),
        witness_key: VerifierKey | None = None,
    ) -> SiteVerification:
        """Recompute the log from its leaves and hold every checkpoint, and every co-signed one, against it;
        `key` is the log's own unless one is given."""
        result, own, problem = SiteVerification(self.title, "log"), key or self.verifier, self.entry_problem
        verify_log(result, self.leaves(), self.checkpoints(), own, problem, witnessed, witness_key)
        return result

    def leaves(self, first: int = 0) -> Iterator[Leaf]:
        """Entries from index `first` on, in order; each is read when it is asked for."""
        sql = 'SELECT "index", body FROM entries WHERE "index" >= ? ORDER BY "index"'
        for index, body in self._rows(sql, first):
            yield Leaf(index, body.encode())

    def checkpoints(self, above: int = -1, up_to: int = SIZE_MAX) -> list[str]:
        """Signed notes, by size: those above `above` and not above `up_to`."""
        sql = "SELECT note FROM checkpoints WHERE size > ? AND size <= ? ORDER BY size"
        return [note for (note,) in self._rows(sql, above, up_to)]

    def checkpoint_count(self, up_to: int) -> int:
        """How many notes there are of that size or less."""
        counts = self._rows("SELECT count(*) FROM checkpoints WHERE size <= ?", up_to)
        return next((count for (count,) in counts), 0)

    @classmethod
    def entry_problem(cls, leaf: Leaf) -> str | None:
        """The fault in an entry of this log, if there is one."""
        try:
            entry = cls.entry.model_validate_json(leaf.data)
        except ValidationError as error:
            return f"is no entry of {cls.name}: {error.errors()[0]['msg']}"
        if entry.index != leaf.index:
            return f"says it is entry {entry.index}"
        return canonical_problem(entry.leaf, leaf.data)

    @abstractmethod
    def _rows(self, sql: str, *values: Any) -> Iterable[Sequence[Any]]:
        """The answer; nothing while the file is not there, ConfigError when it is damaged."""
