"""One writer at a time over a lake: what is new is decided in its memory."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import Retryable

FILE_NAME = "writer.lock"
LOOK_AGAIN_S = 0.2


@contextmanager
def lake_lock(lake: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lake for writing; Retryable when another process still does after `wait_s`.

    The kernel lets go of it with the process, however that ends.
    """
    lake.mkdir(parents=True, exist_ok=True)
    with (lake / FILE_NAME).open("a+") as file:
        deadline = time.monotonic() + wait_s
        while not _locked(file.fileno()):
            if time.monotonic() >= deadline:
                file.seek(0)
                raise Retryable(f"{lake}: process {file.read().strip() or 'unknown'} is writing to this lake")
            time.sleep(LOOK_AGAIN_S)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
