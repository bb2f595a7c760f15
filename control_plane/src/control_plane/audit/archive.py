"""Where audit evidence is read from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Leaf:
    """One entry as it arrived: the index it claims, and its exact bytes."""

    index: int
    data: bytes


class AuditArchive(Protocol):
    """Entries, checkpoints and windows; nothing in it is believed before it is checked."""

    def sites(self) -> list[str]: ...
    def leaves(self, site: str) -> Iterator[Leaf]: ...
    def checkpoints(self, site: str) -> list[str]: ...
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

    def leaves(self, site: str) -> Iterator[Leaf]:
        """Ordered by the index that each claims."""
        sql = 'SELECT "index", body FROM audit WHERE site_id = $site ORDER BY "index"'
        for row in self._lake.rows(sql, site=site):
            yield Leaf(row["index"], row["body"].encode())

    def checkpoints(self, site: str) -> list[str]:
        """Ordered by the size that each claims."""
        sql = "SELECT note FROM checkpoints WHERE site_id = $site ORDER BY size, seq"
        return [row["note"] for row in self._lake.rows(sql, site=site)]

    def prediction_leaf(self, prediction_id: str) -> bytes | None:
        sql = "SELECT body FROM audit WHERE event = 'prediction' AND contains(body, $id)"
        found = self._lake.rows(sql, id=f'"prediction_id":"{prediction_id}"')
        return found[0]["body"].encode() if found else None

    def window(self, prediction_id: str) -> bytes | None:
        sql = '"window" FROM predictions WHERE prediction_id = $id'
        found = self._lake.rows(f"SELECT {sql}", id=prediction_id)
        return bytes(found[0]["window"]) if found else None
