"""Committed rows into bundles in a folder; begun again, it goes on where it ended."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

from edge_agent.bundle.outbox_file import OutboxFile, StorePart
from shared.bundle import FILE_BYTES_MAX, SUFFIX, BundleRow, Manifest, Origin, cut, pack, unpack
from shared.checkpoint import VerifierKey
from shared.errors import Retryable, Untrusted
from shared.log_key import LogKey
from shared.schemas import utc_now

PART = ".part"  # a bundle that is being written


@dataclass
class Exported:
    """`bundles` were written, with `rows` rows in all; the folder's bundles held `rows_there` before.

    `corrupt` are `(store_id, row)` that are in no bundle, because they are not what was committed.
    """

    bundles: list[Path] = field(default_factory=list)
    rows: int = 0
    rows_there: int = 0
    corrupt: list[tuple[str, int]] = field(default_factory=list)

    def leave_out(self, store_id: str, row: int) -> None:
        """This one is not what was committed."""
        self.corrupt.append((store_id, row))


@dataclass(frozen=True)
class Signer:
    """The site, its configuration's hash and its log's key, under the log's name."""

    site_id: str
    config_hash: str
    name: str
    key: LogKey

    @property
    def verifier(self) -> VerifierKey:
        """What the bundles can be checked with."""
        return self.key.verifier(self.name)


def export(
    outbox: OutboxFile, since: datetime, folder: Path, signer: Signer, tell: Callable[[int], None]
) -> Exported:
    """Write what is committed since `since` and not yet in a bundle of `folder`; `tell` gets rows done.

    Each file appears whole or not at all. A row that is not what was committed is in none and is named.
    Retryable when the folder will not take it: what is there is whole, and the same call goes on from there.
    """
    done = Exported()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob(f"{signer.site_id}-*{SUFFIX}{PART}"):
            stale.unlink()
        for part in outbox.parts(since):
            origin = Origin(signer.site_id, part.store_id, signer.config_hash)
            there = _bundles_there(folder, origin, signer.verifier)
            done.rows_there += sum(manifest.rows for manifest in there)
            tell(done.rows_there)
            for missing in _missing(part, there):
                for rows in cut(outbox.rows(missing, partial(done.leave_out, part.store_id))):
                    _write(folder, origin, rows, signer, done)
                    tell(len(rows))
    except OSError as error:
        raise Retryable(
            f"{folder}: {error.strerror or error}; what is there is whole, run it again"
        ) from error
    return done


def _bundles_there(folder: Path, origin: Origin, key: VerifierKey) -> list[Manifest]:
    """What the whole bundles of this store in the folder hold, ascending."""
    found = []
    for path in folder.glob(f"{origin.site_id}-{origin.store_id}-*{SUFFIX}"):
        if path.stat().st_size <= FILE_BYTES_MAX:
            with suppress(Untrusted):  # torn by something else: its rows are written again
                found.append(unpack(path.read_bytes(), key).manifest)
    return sorted(found, key=lambda manifest: manifest.from_seq)


def _missing(part: StorePart, there: Iterable[Manifest]) -> Iterator[StorePart]:
    """The stretches of the part that no bundle covers: no new one reaches over an old one's rows."""
    first = part.first
    for manifest in there:
        if first < manifest.from_seq <= part.last:
            yield part._replace(first=first, last=manifest.from_seq - 1)
        first = max(first, manifest.to_seq + 1)
    if first <= part.last:
        yield part._replace(first=first)


def _write(folder: Path, origin: Origin, rows: list[BundleRow], signer: Signer, done: Exported) -> None:
    data = pack(origin, rows, signer.name, signer.key.private, utc_now())
    name = f"{origin.site_id}-{origin.store_id}-{rows[0].seq:012d}-{rows[-1].seq:012d}{SUFFIX}"
    path, temporary = folder / name, folder / f"{name}{PART}"
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    at = os.open(folder, os.O_RDONLY)
    os.fsync(at)
    os.close(at)
    done.bundles.append(path)
    done.rows += len(rows)
