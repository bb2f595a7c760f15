"""Which configuration a row was made under, for its `config_hash` header."""

from typing import Final

MARKS_MAX: Final = 100  # changes since this process began that rows may still wait from


class ConfigMarks:
    """The hash by row number; the agent writes, the forwarder's thread reads.

    Rows from before this process began carry the hash that it began with.
    """

    def __init__(self, config_hash: str) -> None:
        self._marks = [(0, config_hash)]  # after which row, newest last
        self._store_id = ""  # whose rows these are

    def change(self, store_id: str, after_seq: int, config_hash: str) -> None:
        """Rows of this outbox after this one are made under another configuration."""
        self._store_id = store_id
        self._marks = [*self._marks, (after_seq, config_hash)][-MARKS_MAX:]

    def of(self, store_id: str, seq: int) -> str:
        """A row's hash; the rows of an outbox begun since the last change are all newer than it."""
        marks = self._marks
        if store_id != self._store_id:
            return marks[-1][1]
        return next((found for after, found in reversed(marks) if seq > after), marks[0][1])
