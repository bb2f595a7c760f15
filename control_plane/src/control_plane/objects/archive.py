"""Copies the signed repositories and the audit logs to an object store: the same files under the same names.

What is named by others goes first, what names them last: whoever reads meanwhile finds all that is named.
A file that never changes once written is not sent twice, so a run that was cut off is run again.
"""

from collections.abc import Iterator
from pathlib import Path

from control_plane.audit.tiles import CHECKPOINT
from control_plane.layout import Layout
from control_plane.objects.bucket import Bucket, Stored

# Names of what is written anew in place, in the order in which it is sent after all else.
_LAST = ("root.json", "snapshot.json", "targets.json", "timestamp.json", CHECKPOINT)
_NOT_OURS = (".lock", ".new", ".tmp")  # of a writer at work


def files_of(layout: Layout) -> list[tuple[str, Path]]:
    """Object names with their files, in the order in which they are to be sent."""
    found = [*_below(layout.repository / "image", "repository/image")]
    found += _below(layout.repository / "director", "repository/director")
    found += _below(layout.repository / "evidence", "repository/evidence")
    found += _below(layout.tiles, "audit")
    found += _below(layout.audit_log, "audit_log.parquet")
    return sorted(found, key=lambda each: (_turn(each[1].name), each[0]))


def archive(layout: Layout, bucket: Bucket) -> Iterator[tuple[str, bool]]:
    """Send what is not there; the name of each file, and whether it was sent. Retryable when the store is
    away."""
    there = bucket.listing()
    for name, file in files_of(layout):
        same = _turn(file.name) < 0 and _is_there(there.get(name), file)
        if not same:
            bucket.put(name, file)
        yield name, not same


def _is_there(stored: Stored | None, file: Path) -> bool:
    """Whether this very file was sent before: one that was founded anew under the same name is newer."""
    found = file.stat()
    return stored is not None and stored.size == found.st_size and stored.written_s > found.st_mtime


def _below(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.endswith(_NOT_OURS):
            yield f"{name}/{path.relative_to(folder).as_posix()}", path


def _turn(name: str) -> int:
    return _LAST.index(name) if name in _LAST else -1
