"""`AuditLogger` (PRD 7.1): every answer of the centre's inference goes on its record.

The caller pays for one append to a file (see `spool`). What was appended is committed in groups to the
transparency log: by a thread where it is little, by a process beside it where it is much, because what
commits keeps the interpreter longer than what answers (see `committing`). Where several processes answer, one
of them commits for all. Nothing here raises to the caller: what could not be put on the record is counted,
and that is itself on the record at the next commit.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Self

import structlog

from control_plane.audit.committing import Committer, commit
from control_plane.audit.inference_log import InferenceLog
from control_plane.audit.prediction_spool import PredictionSpool
from control_plane.audit.troubles import Trouble, failure
from shared.errors import PmStackError

APART_BYTES_MIN = 128 * 1024  # of a group that a process commits: 50 answers or more, 10 ms of work
COMMIT_PERIOD_S = 0.5  # how long an answer waits for its checkpoint at most, when the disk takes it
RETRY_MAX_S = 30.0  # between tries while the log cannot be written
CLOSE_TIMEOUT_S = 30.0

log = structlog.get_logger()


class AuditLogger(PredictionSpool):
    """Puts predictions on the record in `folder`, its own and what others spooled; a context manager."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder, self._record = folder, InferenceLog.of(folder)
        self._wake = Event()
        self._committing = Lock()
        self._thread = Thread(target=self._commit_on, name="audit-commit", daemon=True)

    def __enter__(self) -> Self:
        """Commit what a killed process left; ConfigError when another server writes to the folder."""
        self._record.create()
        self._spool.take(after=self._record.position()[1])
        self.flush()
        self._thread.start()
        return self

    def tell(self, troubles: Sequence[Trouble]) -> None:
        """Another process that writes here had these; they go on the record."""
        for each in troubles:
            self._troubles.add(each)

    def flush(self) -> bool:
        """Commit all that was logged before this call; False when the log cannot be written now."""
        with self._committing:
            try:
                self._commit(partial(commit, self._record, self._spool))
            except (OSError, PmStackError) as error:
                self._troubles.note("late", error)
                return False
        return True

    def close(self) -> None:
        """Commit the rest. What cannot be committed now stays in the spool for the next start."""
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_TIMEOUT_S)
        self.flush()
        self._spool.close()

    def _commit_on(self) -> None:
        wait_s, committer = COMMIT_PERIOD_S, Committer(self._folder)

        def commit_segment(number: int) -> None:
            if self._spool.size(number) < APART_BYTES_MIN:
                commit(self._record, self._spool, number)
            else:
                committer.commit(number)

        while not self._wake.wait(wait_s):
            with self._committing:
                try:
                    self._commit(commit_segment)
                    wait_s = COMMIT_PERIOD_S
                except Exception as error:  # a thread that ended would leave all later calls uncommitted
                    self._troubles.note("late", error)
                    log.error("audit log not written; it is tried again", reason=str(error))
                    wait_s = min(2 * wait_s, RETRY_MAX_S)
        committer.close()

    def _commit(self, commit_segment: Callable[[int], None]) -> None:
        for number in self._spool.cut():
            commit_segment(number)
            self._spool.remove(number)
        troubles = self._troubles.now()
        if troubles:
            self._record.commit(None, lambda index: map(failure, count(index), troubles))
            self._troubles.settle(troubles)
