"""Spooled records become entries of the log: here, or in a process of its own beside the one that answers.

The process is `python -m control_plane.audit.committing FOLDER`. It reads segment numbers, a line each, and
answers each with a line of JSON: what was wrong, "" when the segment is in the log. It ends with its input.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from control_plane.audit.inference_log import InferenceLog, Written
from control_plane.audit.spool import Segment, Spool
from control_plane.audit.spooled import decode
from control_plane.audit.troubles import Trouble, failure, said
from shared.errors import Retryable

END_TIMEOUT_S = 30.0  # for the segment in hand


def commit(record: InferenceLog, spool: Spool, number: int) -> None:
    """Put a segment's records on the log; OSError or ConfigError when it cannot be written now."""
    record.commit(number, partial(_entries, spool.read(number)))


def _entries(segment: Segment, first: int) -> Iterator[Written]:
    """The segment's records as entries from index `first` on; what is none is itself an entry."""
    for index, record in enumerate(segment.records, first):
        try:
            yield decode(index, record)
        except (ValueError, TypeError) as error:  # pydantic's ValidationError is a ValueError
            yield failure(index, Trouble.of("lost", f"unreadable: {error}"))
    if segment.torn_bytes:
        torn = Trouble.of("lost", f"a record was cut off after {segment.torn_bytes} bytes")
        yield failure(first + len(segment.records), torn)


class Committer:
    """The process, as its parent has it: begun with the first segment, and again where it ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None

    def commit(self, number: int) -> None:
        """Returns when the segment is in the log; Retryable when it is not."""
        try:
            problem = self._ask(number)
        except (OSError, ValueError) as error:  # a closed pipe, or half a line
            self.close()
            raise Retryable(f"the process that commits ended: {error}") from error
        if problem:
            raise Retryable(problem)

    def _ask(self, number: int) -> str:
        if self._process is None:
            command = [sys.executable, "-m", "control_plane.audit.committing", str(self._folder)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None  # noqa: S101 - both are pipes, as ordered above
        assert answers is not None  # noqa: S101
        asked.write(f"{number}\n")
        asked.flush()
        return str(json.loads(answers.readline()))

    def close(self) -> None:
        """Let it end with the segment in hand."""
        if self._process is None:
            return
        with suppress(OSError, subprocess.TimeoutExpired):
            self._process.communicate(timeout=END_TIMEOUT_S)
        self._process.kill()
        self._process.wait()
        self._process = None


def main() -> None:
    """Commit what is asked for; signals of the terminal and the service manager are the parent's to heed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    folder = Path(sys.argv[1])
    record, spool = InferenceLog.of(folder), Spool.of(folder)
    for line in sys.stdin:
        try:
            commit(record, spool, int(line))
            problem = ""
        except Exception as error:  # whatever it is, the parent keeps the segment and asks again
            problem = said(error)
        print(json.dumps(problem), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
