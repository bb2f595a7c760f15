"""An ingest to be killed at any moment: `killed_ingest.py LAKE KAFKA SEEN`.

It says "ready" when it begins to read. Before the lake each record goes to a second sink, a file of
`store_id seq` lines, as it would go to InfluxDB.
"""

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from control_plane.ingest import consumer
from control_plane.ingest.known_rows import KnownRows
from control_plane.ingest.progress import FILE_NAME, Progress
from control_plane.sinks.arrival import Arrival
from control_plane.sinks.lake import LakeReader, LakeWriter
from tests.support.dying_ingest import AtOnce

# So that a short life has several commits, and may end in the middle of one; at length: production's own.
BATCH_MESSAGES = int(os.environ.get("CONSUMER_BATCH", "5000"))


class Seen:
    """Appends what it is given to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def accept(self, batch: Sequence[Arrival]) -> None:
        lines = [f"{a.envelope.store_id} {a.envelope.seq}\n" for a in batch]
        with self._path.open("a") as file:
            file.write("".join(lines))


def main() -> None:
    """Ingest until killed."""
    lake, address, seen = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    consumer.Consumer = AtOnce  # type: ignore[misc, assignment]  # no wait for the group to miss the one before
    consumer.BATCH_MESSAGES_MAX = BATCH_MESSAGES
    writer = LakeWriter(lake)
    writer.create()
    known = KnownRows(LakeReader(lake).spans())
    ingest = consumer.Ingest(address, [Seen(seen), writer], known, progress=Progress(lake / FILE_NAME))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    ingest.run(threading.Event())


if __name__ == "__main__":
    main()
