"""The site's log in the outbox file: its newest leaves, and what the older ones come to."""

import sqlite3
from collections.abc import Iterator, Sequence

from shared.merkle import Frontier, leaf_hash

FOLD_ROWS = 2_000  # leaves folded at a time: about 5 ms

_FOLDED = "audit_folded"  # in `meta`: the frontier under the oldest leaf that is kept, in hexadecimal


class Leaves:
    """Appends leaves and folds the oldest. Every call runs within the caller's transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._folded = Frontier()
        self.frontier = Frontier()

    @property
    def state(self) -> tuple[Frontier, Frontier]:
        """To go back to when the transaction fails."""
        return self._folded, self.frontier

    @state.setter
    def state(self, state: tuple[Frontier, Frontier]) -> None:
        self._folded, self.frontier = state

    def load(self) -> bool:
        """Hash what is there; False when the leaves do not follow each other."""
        found = self._db.execute("SELECT value FROM meta WHERE key = ?", (_FOLDED,)).fetchone()
        self._folded = Frontier.from_bytes(bytes.fromhex(found[0])) if found else Frontier()
        self.frontier = self._folded.copy()
        for index, leaf in self._db.execute("SELECT idx, leaf FROM audit_log ORDER BY idx"):
            if index != self.frontier.size:
                return False
            self.frontier.append(leaf_hash(leaf))
        return True

    def append(self, leaves: Sequence[bytes]) -> None:
        """Add leaves at the end."""
        size = self.frontier.size
        self._db.executemany("INSERT INTO audit_log (idx, leaf) VALUES (?, ?)", enumerate(leaves, size))
        self.frontier = self.frontier.copy()  # the old one stands when the transaction fails
        for leaf in leaves:
            self.frontier.append(leaf_hash(leaf))

    def fold(self, kept: int) -> None:
        """Keep the newest `kept` leaves and a little more; of the others, what they come to."""
        if self.frontier.size - self._folded.size < kept + FOLD_ROWS:
            return
        folded = self._folded.copy()
        for (leaf,) in self._db.execute("SELECT leaf FROM audit_log ORDER BY idx LIMIT ?", (FOLD_ROWS,)):
            folded.append(leaf_hash(leaf))
        self._db.execute("DELETE FROM audit_log WHERE idx < ?", (folded.size,))
        begin(self._db, folded)
        self._folded = folded

    def kept(self) -> Iterator[bytes]:
        """The leaves that are kept, in order."""
        for (leaf,) in self._db.execute("SELECT leaf FROM audit_log ORDER BY idx"):
            yield leaf


def begin(db: sqlite3.Connection, frontier: Frontier) -> None:
    """Let the leaves of this file follow a log that stands at `frontier`."""
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_FOLDED, frontier.to_bytes().hex()))
