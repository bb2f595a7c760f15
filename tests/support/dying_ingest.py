"""An ingest that is killed with SIGKILL in the middle of its work: `dying_ingest.py LAKE KAFKA EVENT SEED`.

Events are the beginnings and ends of writes to the lake and of commits of offsets; a moment after event
number EVENT, drawn from SEED, the process is gone.
"""

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_STORED, Consumer, TopicPartition

import control_plane.sinks.lake as sinks_lake
from control_plane.ingest import consumer
from control_plane.ingest.known_rows import KnownRows
from control_plane.ingest.progress import FILE_NAME, Progress
from control_plane.sinks.lake import LakeReader, LakeWriter

BATCH_MESSAGES = 40
MOMENT_S = 0.02  # about what a write to a table takes


class Fate:
    """Counts events, and ends the process a moment after the chosen one."""

    def __init__(self, event: int, seed: int) -> None:
        self._left = event
        self._wait_s = random.Random(seed).choice([0.0, random.Random(seed).uniform(0, MOMENT_S)])

    def event(self) -> None:
        """One more."""
        self._left -= 1
        if self._left == 0:
            if self._wait_s:
                threading.Thread(target=self._end, daemon=True).start()
            else:
                self._end()

    def _end(self) -> None:
        time.sleep(self._wait_s)
        os.kill(os.getpid(), signal.SIGKILL)

    def around(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """`work` with an event before and after."""

        def marked(*arguments: Any, **settings: Any) -> Any:
            self.event()
            result = work(*arguments, **settings)
            self.event()
            return result

        return marked


class AtOnce(Consumer):
    """Takes every partition itself, from the offset committed for its group: no wait until the broker has
    noticed the death of the one before."""

    def subscribe(self, topics: list[str]) -> None:  # type: ignore[override]
        """All partitions of the topics, now."""
        known = self.list_topics(timeout=10.0).topics
        places = [TopicPartition(t, p, OFFSET_STORED) for t in topics for p in known[t].partitions]
        self.assign(places)


def hasten() -> None:
    """Small batches, and no wait for the group."""
    consumer.Consumer = AtOnce  # type: ignore[misc, assignment]
    consumer.BATCH_MESSAGES_MAX, consumer.BATCH_WAIT_S = BATCH_MESSAGES, 0.2


def main() -> None:
    """Ingest until fate comes."""
    lake, address, event, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    hasten()
    writer = LakeWriter(lake)
    writer.create()
    ingest = consumer.Ingest(
        address, [writer], KnownRows(LakeReader(lake).spans()), progress=Progress(lake / FILE_NAME)
    )
    fate = Fate(event, seed)
    sinks_lake.write_deltalake = fate.around(sinks_lake.write_deltalake)
    consumer._commit = fate.around(consumer._commit)
    ingest.run(threading.Event())


if __name__ == "__main__":
    main()
