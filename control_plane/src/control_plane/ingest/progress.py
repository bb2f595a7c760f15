"""How far ingest has come, beside the lake that it fills: a small file, replaced as a whole.

It is a note for the completeness ledger and never decides what is new; without it less can be said.
"""

import json
import os
from collections import defaultdict
from pathlib import Path

import structlog

FILE_NAME = "ingest.json"

log = structlog.get_logger()


class Progress:
    """By store: `final_seq`, the row up to which nothing is under way any more; `repeats` dropped.

    A site says which rows it will not send again (`note_settled`). Once ingest has read all that Kafka
    held after that was said (`caught_up`), a row up to there that is not in the lake will never be.
    Repeats are counted at least: those since the last `save` go uncounted when the process is killed.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._settled: dict[str, int] = {}
        self.final_seq: dict[str, int] = {}
        self.repeats: defaultdict[str, int] = defaultdict(int)
        if path is not None and path.exists():
            self._load(path)

    def _load(self, path: Path) -> None:
        try:
            found = json.loads(path.read_text())
            self.final_seq = {str(store): int(seq) for store, seq in found["final_seq"].items()}
            self.repeats.update({str(store): int(count) for store, count in found["repeats"].items()})
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            log.warning("ingest's own note cannot be read; begun anew", path=str(path), reason=str(error))

    def count_repeat(self, store_id: str, rows: int = 1) -> None:
        """So many more rows of the store that were there already."""
        self.repeats[store_id] += rows

    def note_settled(self, store_id: str, seq: int) -> None:
        """The site said so, and the lake holds that it did."""
        self._settled[store_id] = max(seq, self._settled.get(store_id, 0))

    @property
    def has_news(self) -> bool:
        """Whether a site has settled rows since ingest last caught up."""
        return bool(self._settled)

    def caught_up(self) -> None:
        """Everything that Kafka held is in the lake: what was settled before is final now."""
        for store_id, seq in self._settled.items():
            self.final_seq[store_id] = max(seq, self.final_seq.get(store_id, 0))
        self._settled.clear()

    def save(self) -> None:
        """Replace the file; a process killed meanwhile leaves the old one."""
        if self._path is None:
            return
        temporary = self._path.with_suffix(".new")
        with temporary.open("w") as file:
            json.dump({"final_seq": self.final_seq, "repeats": self.repeats}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
