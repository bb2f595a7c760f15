"""Which configuration a row was made under: its header says so."""

CONFIG_HASHES_MAX = 100  # configurations that rows in the outbox were made under, since this process began


class ConfigHashes:
    """Hashes by row number; what an earlier process committed counts as made under the first."""

    def __init__(self, first: str) -> None:
        self._hashes = [(0, first)]  # after which row, newest last
        self._store_id = ""  # whose rows these are

    def changes(self, store_id: str, after_seq: int, config_hash: str) -> None:
        """Rows of this store after this one are made under another configuration."""
        self._store_id = store_id
        self._hashes = [*self._hashes, (after_seq, config_hash)][-CONFIG_HASHES_MAX:]

    def of(self, store_id: str, seq: int) -> str:
        """The hash for a row's header."""
        if store_id != self._store_id:  # a new outbox: its rows are all newer
            return self._hashes[-1][1]
        return next((found for after, found in reversed(self._hashes) if seq > after), self._hashes[0][1])
