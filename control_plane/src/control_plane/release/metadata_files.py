"""TUF metadata files: read, write so that a reader never sees half, expiries, one writer at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError, SerializationError
from tuf.api.serialization.json import JSONSerializer

from shared.errors import Rejected

OFFLINE_EXPIRY = timedelta(days=400)  # root and targets: people sign once a year, with a month to do it in
ONLINE_EXPIRY = timedelta(days=30)  # snapshot, timestamp, director: renewed by the service
METADATA_BYTES_MAX = 1024 * 1024  # as a site's agent has it: what is larger never reaches one

S = TypeVar("S", Root, Targets, Snapshot, Timestamp)


def load(path: Path, kind: type[S]) -> Metadata[S]:
    """The metadata in a file; Rejected when it is none of this kind, or larger than a site would take."""
    try:
        with path.open("rb") as file:
            data = file.read(METADATA_BYTES_MAX + 1)
        found: Metadata[S] = Metadata.from_bytes(data)
        _ = found.signed_bytes  # JSON can hold what cannot be signed, for example 0.5
    except (DeserializationError, SerializationError, OSError) as error:
        raise Rejected(f"{path}: cannot be read as TUF metadata: {error}") from error
    if len(data) > METADATA_BYTES_MAX:
        raise Rejected(f"{path}: is longer than {METADATA_BYTES_MAX} bytes")
    if not isinstance(found.signed, kind):
        raise Rejected(f"{path}: holds {found.signed.type}, not {kind.type}")
    return found


def publish(metadata: Metadata[S], folder: Path) -> None:
    """Write `<version>.<role>.json`, then `<role>.json`.

    A client that fetches meanwhile asks for versions (TUF's consistent snapshots): it sees all of the
    old or all of the new.
    """
    role = metadata.signed.type
    if role != Timestamp.type:
        save(metadata, folder / f"{metadata.signed.version}.{role}.json")
    save(metadata, folder / f"{role}.json")


def save(metadata: Metadata[S], path: Path) -> None:
    """Write beside, flush, then rename: neither a reader nor a power cut sees half."""
    write(path, metadata.to_bytes(JSONSerializer(compact=False)))


def write(path: Path, data: bytes) -> None:
    """The same for any file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold a repository's metadata folder: a publication and a renewal must not take the same version."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def expires_in(term: timedelta, now: datetime | None = None) -> datetime:
    """An expiry `term` from now, in whole seconds as TUF has it."""
    return (now or datetime.now(UTC)).replace(microsecond=0) + term


def next_version(metadata: Metadata[S], term: timedelta, now: datetime | None = None) -> None:
    """Raise the version by one and renew the expiry; signatures of the old version are dropped."""
    metadata.signed.version += 1
    metadata.signed.expires = expires_in(term, now)
    metadata.signatures.clear()


def names_newest(folder: Path) -> bool:
    """Whether snapshot and timestamp name the targets that lie in `folder`; not when a writer was cut off."""
    if not (folder / "timestamp.json").exists():
        return False
    targets, snapshot = (
        load(folder / "targets.json", Targets).signed,
        load(folder / "snapshot.json", Snapshot).signed,
    )
    named = load(folder / "timestamp.json", Timestamp).signed.snapshot_meta.version
    return (snapshot.meta["targets.json"].version, named) == (targets.version, snapshot.version)


def renew(folder: Path, online: Signer, now: datetime | None = None) -> None:
    """Sign a new snapshot and timestamp over the targets metadata that lies in `folder`."""
    targets = load(folder / "targets.json", Targets)
    snapshot = _load_or_new(folder / "snapshot.json", Snapshot)
    timestamp = _load_or_new(folder / "timestamp.json", Timestamp)
    snapshot.signed.meta["targets.json"].version = targets.signed.version
    next_version(snapshot, ONLINE_EXPIRY, now)
    snapshot.sign(online)
    timestamp.signed.snapshot_meta.version = snapshot.signed.version
    next_version(timestamp, ONLINE_EXPIRY, now)
    timestamp.sign(online)
    publish(snapshot, folder)
    publish(timestamp, folder)


def _load_or_new(path: Path, kind: type[S]) -> Metadata[S]:
    if path.exists():
        return load(path, kind)
    fresh = Metadata(kind())
    fresh.signed.version = 0  # the first renewal makes it 1
    return fresh
