"""A site's log with its checkpoints, in memory, and as the files that a witness makes of it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from control_plane.audit.archive import SIZE_MAX, Leaf
from control_plane.audit.tile_check import verify_tiles
from control_plane.audit.verify import SiteVerification, site_entry_problem
from control_plane.audit.witness import Witness
from edge_agent.audit import AuditLog
from shared.log_key import LogKey
from shared.schemas import AuditEvent

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SITE = "TX01"
KEY = LogKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
WITNESS_KEY = Ed25519PrivateKey.from_private_bytes(b"w" * 32)


class Memory:
    """An archive in memory."""

    def __init__(self, entries: int = 0, every: int = 4) -> None:
        self.log = AuditLog(SITE, KEY, [])
        self.kept: list[Leaf] = []
        self.notes: list[str] = []
        self.sizes: list[int] = []  # as the rows say, beside the notes
        for number in range(1, entries + 1):
            self.add()
            if number % every == 0:
                self.check()

    def add(self, value: int = 0) -> None:
        entry = self.log.append(
            AuditEvent.ALERT, "s", NOW + timedelta(seconds=self.log.size), detail={"value": value}
        )
        self.kept.append(Leaf(entry.index, entry.leaf()))

    def check(self) -> None:
        self.notes.append(self.log.checkpoint(NOW).note)
        self.sizes.append(self.log.size)

    def sites(self) -> list[str]:
        return [SITE]

    def leaves(self, log: str, first: int = 0) -> Iterator[Leaf]:
        return (leaf for leaf in self.kept if leaf.index >= first)

    def checkpoints(self, log: str, above: int = -1, up_to: int = SIZE_MAX) -> list[str]:
        return [note for size, note in zip(self.sizes, self.notes, strict=True) if above < size <= up_to]

    def checkpoint_count(self, log: str, up_to: int) -> int:
        return len(self.notes) - len(self.checkpoints(log, up_to))

    def prediction_leaf(self, prediction_id: str) -> bytes | None:
        return None

    def window(self, prediction_id: str) -> bytes | None:
        return None


def witness(archive: Memory, folder: Path) -> Witness:
    """A centre's witness whose notes and tiles lie in `folder`."""
    key = archive.log.verifier
    return Witness(WITNESS_KEY, folder / "witness", archive, lambda site: key, folder / "audit")


def as_files(entries: int, folder: Path) -> Path:
    """A log of `entries`, all of them under a co-signed checkpoint, as files; the site's folder."""
    archive = Memory(entries, every=entries)
    signed = witness(archive, folder).look(SITE)
    assert signed is not None
    assert signed.size == entries
    return folder / "audit" / SITE


def check_files(folder: Path) -> SiteVerification:
    """What verification says of a site's files, with its key and the witness's."""
    signer = LogKey(WITNESS_KEY).verifier("pm-stack-smr/witness")
    return verify_tiles(folder, SITE, KEY.verifier(f"pm-stack-smr/{SITE}"), signer, site_entry_problem(SITE))
