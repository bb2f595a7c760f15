"""What must be known of the outbox even when its file is not readable: one small block beside it.

Written after every commit, without a flush of its own: it survives a killed process, and after a power
loss it is a little behind the file, never ahead of it. So a file that is behind its anchor is not the
file that was committed to: it was damaged, deleted, or put back from a copy.
"""

import os
import struct
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from shared.merkle import Frontier

BLOCK_BYTES = 4_096  # one page: written at once; a frontier of 64 peaks needs 2,056
_HEAD = struct.Struct("<8s36sQQQH")
_MARK = b"outbox\x00\x01"


class Anchor(NamedTuple):
    """`last_seq`: newest row; no row before `first_pending` was pending; `base` and `store_id`: its store."""

    store_id: str
    base: int
    last_seq: int
    first_pending: int
    log: Frontier

    def block(self) -> bytes:
        """The bytes on the disk."""
        log = self.log.to_bytes()
        numbers = (self.base, self.last_seq, self.first_pending, len(log))
        body = _HEAD.pack(_MARK, self.store_id.encode(), *numbers) + log
        return body + crc32(body).to_bytes(4, "little")


def read(path: Path) -> Anchor | None:
    """The anchor of the outbox at `path`; None when there is none that holds."""
    try:
        block = _file(path).read_bytes()[:BLOCK_BYTES]
        mark, store_id, base, last_seq, first_pending, length = _HEAD.unpack_from(block)
        end = _HEAD.size + length
        if mark != _MARK or crc32(block[:end]) != int.from_bytes(block[end : end + 4], "little"):
            return None
        log = Frontier.from_bytes(block[_HEAD.size : end])
    except (OSError, struct.error, ValueError):
        return None
    return Anchor(store_id.decode(), base, last_seq, first_pending, log)


class AnchorWriter:
    """Keeps the block up to date. It helps after a damage: that it cannot be written stops nothing."""

    def __init__(self, path: Path) -> None:
        self._descriptor = -1
        try:
            self._descriptor = os.open(_file(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if os.fstat(self._descriptor).st_size < BLOCK_BYTES:
                os.pwrite(self._descriptor, bytes(BLOCK_BYTES), 0)  # no space is needed later
        except OSError:
            return

    def write(self, anchor: Anchor) -> None:
        """Replace what it says."""
        try:
            os.pwrite(self._descriptor, anchor.block(), 0)
        except OSError:
            return

    def close(self) -> None:
        """Let the file go."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _file(path: Path) -> Path:
    return path.with_name(f"{path.name}.anchor")
