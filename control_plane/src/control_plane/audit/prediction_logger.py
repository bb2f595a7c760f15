"""`AuditLogger` (PRD 7.1): every answer of the centre's inference goes on its record.

The caller pays for one append to a file (see `spool`). What was appended is committed in groups to the
transparency log: by a thread where it is little, by a process beside it where it is much, because what
commits keeps the interpreter longer than what answers (see `committing`). Nothing here raises to the caller:
what could not be put on the record is counted, and that is itself on the record at the next commit.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import count
from operator import methodcaller
from pathlib import Path
from random import Random
from threading import Event, Lock, Thread
from typing import Self

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from control_plane.audit.committing import Committer, commit
from control_plane.audit.inference_log import InferenceLog
from control_plane.audit.spool import Spool
from control_plane.audit.troubles import Troubles, failure
from shared.errors import PmStackError

APART_BYTES_MIN = 128 * 1024  # of a group that a process commits: 50 answers or more, 10 ms of work
COMMIT_PERIOD_S = 0.5  # how long an answer waits for its checkpoint at most, when the disk takes it
RETRY_MAX_S = 30.0  # between tries while the log cannot be written
CLOSE_TIMEOUT_S = 30.0

log = structlog.get_logger()

_numbers = methodcaller("tolist")  # of numpy; what else JSON does not know is counted as lost
_encode = msgspec.json.Encoder(enc_hook=_numbers).encode  # NaN becomes null
_CHANCE = Random()  # noqa: S311 - ids are unique, no secrets; seeded by the system, asked no more per call

Features = Sequence[float] | NDArray[np.float32]


class AuditLogger:
    """Puts predictions on the record in `folder`; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._record, self._spool = folder, InferenceLog.of(folder), Spool.of(folder)
        self._troubles = Troubles()
        self._wake = Event()
        self._committing = Lock()
        self._thread = Thread(target=self._commit_on, name="audit-commit", daemon=True)

    def __enter__(self) -> Self:
        """Commit what a killed process left; ConfigError when another server writes to the folder."""
        self._record.create()
        self._spool.open(after=self._record.position()[1])
        self.flush()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def failed(self) -> int:
        """Calls since the start that could not be put on the record."""
        return self._troubles.failed

    def log_prediction(
        self,
        site_id: str,
        reactor_id: str,
        component: str,
        model_version: str,
        input_features: Features,
        predicted_rul: float | None,
        timestamp: str | datetime,
        *,
        component_type: str = "",
        model_name: str = "",
        model_sha256: str = "",
        mode: str = "active",
        feature_spec_sha256: str = "",
        rul_low: float | None = None,
        rul_high: float | None = None,
        rul_state: str = "",
        raw: Mapping[str, Sequence[float]] | None = None,
        flags: Sequence[str] = (),
        inference_time_ms: float | None = None,
        runtime: str = "",
    ) -> str:
        """Put an answer on the record; its prediction id. Never raises; survives `kill -9` of the caller.

        `input_features` is the raw window, row by row, float32; cycles for all RULs, not a number where
        there is none; `timestamp` RFC 3339. `raw` holds every output of the model for a replay.
        """
        now = time.time()
        prediction_id = _new_id(now)
        try:
            when = timestamp if isinstance(timestamp, str) else timestamp.isoformat()
            head = (
                prediction_id, now, when, site_id, reactor_id, component, component_type, model_name,
                model_version, model_sha256, mode, feature_spec_sha256, predicted_rul, rul_low, rul_high,
                rul_state, raw or {}, tuple(flags), inference_time_ms, runtime,
            )  # fmt: skip
            window = np.asarray(input_features, dtype="<f4").tobytes()
            self._spool.append(_encoded(head) + b"\n" + window)
        except Exception as error:  # the caller's answer is not lost with its record
            self._troubles.note("lost", error)
        return prediction_id

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


def _encoded(head: tuple[object, ...]) -> bytes:
    try:
        return _encode(head)
    except UnicodeEncodeError:  # half a pair of surrogates in somebody's text
        return json.dumps(head, default=_numbers).encode()


def _new_id(now_s: float) -> str:
    """A UUID of version 7 (RFC 9562): ids that grow with time keep the index of the log small to write."""
    drawn = _CHANCE.getrandbits(74)
    number = int(now_s * 1000) << 80 | 0x7 << 76 | drawn >> 62 << 64 | 0b10 << 62 | drawn & (1 << 62) - 1
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
