"""Where audit evidence is read from."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

SIZE_MAX = 2**63 - 1  # what the lake's column holds
LEAVES_PER_QUERY = 20_000  # of about 1.5 KB each: what is in memory at once


@dataclass(frozen=True, slots=True)
class Leaf:
    """One entry as it arrived: the index it claims, and its exact bytes."""

    index: int
    data: bytes


class LogArchive(Protocol):
    """Entries and checkpoints of logs, each by its name; nothing in it is believed before it is checked.

    `leaves` come ordered by the index that each claims, from `first` on; `checkpoints` by the size that
    each row claims, those above `above` and not above `up_to`.
    """

    def leaves(self, log: str, /, first: int = 0) -> Iterator[Leaf]: ...
    def checkpoints(self, log: str, /, above: int = -1, up_to: int = SIZE_MAX) -> list[str]: ...
    def checkpoint_count(self, log: str, /, up_to: int) -> int: ...


class AuditArchive(LogArchive, Protocol):
    """The sites' logs, named as the sites are, and the windows of their predictions."""

    def sites(self) -> list[str]: ...
    def prediction_leaf(self, prediction_id: str) -> bytes | None: ...
    def window(self, prediction_id: str) -> bytes | None: ...


class Rows(Protocol):
    """Answers SQL: the lake's reader."""

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]: ...


class LakeArchive:
    """The archive over the lake's tables."""

    def __init__(self, lake: Rows) -> None:
        self._lake = lake

    def sites(self) -> list[str]:
        found = self._lake.rows("SELECT DISTINCT site_id FROM audit ORDER BY site_id")
        return [row["site_id"] for row in found]

    def leaves(self, log: str, first: int = 0) -> Iterator[Leaf]:
        """A range of indices at a time: a log may be larger than memory."""
        [last] = self._lake.rows('SELECT max("index") AS "index" FROM audit WHERE site_id = $site', site=log)
        sql = """SELECT "index", body FROM audit
            WHERE site_id = $site AND "index" >= $first AND "index" < $end ORDER BY "index" """
        for start in range(first, (last["index"] if last["index"] is not None else -1) + 1, LEAVES_PER_QUERY):
            for row in self._lake.rows(sql, site=log, first=start, end=start + LEAVES_PER_QUERY):
                yield Leaf(row["index"], row["body"].encode())

    def checkpoints(self, log: str, above: int = -1, up_to: int = SIZE_MAX) -> list[str]:
        sql = """SELECT note FROM checkpoints
            WHERE site_id = $site AND size > $above AND size <= $up_to ORDER BY size, seq"""
        return [row["note"] for row in self._lake.rows(sql, site=log, above=above, up_to=up_to)]

    def checkpoint_count(self, log: str, up_to: int) -> int:
        sql = "SELECT count(*) AS n FROM checkpoints WHERE site_id = $site AND size <= $up_to"
        return int(self._lake.rows(sql, site=log, up_to=up_to)[0]["n"])

    def prediction_leaf(self, prediction_id: str) -> bytes | None:
        sql = "SELECT body FROM audit WHERE event = 'prediction' AND contains(body, $id)"
        found = self._lake.rows(sql, id=f'"prediction_id":{json.dumps(prediction_id)}')
        return found[0]["body"].encode() if found else None

    def window(self, prediction_id: str) -> bytes | None:
        sql = '"window" FROM predictions WHERE prediction_id = $id'
        found = self._lake.rows(f"SELECT {sql}", id=prediction_id)
        return bytes(found[0]["window"]) if found else None
