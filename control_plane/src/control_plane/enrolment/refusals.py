"""Refusals on the centre's record: each once an hour for as long as it stays the same."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

import structlog

from control_plane.audit.centre_log import CentreAct, CentreLog

SAME_AGAIN_S = 3600.0  # a site that is shut out dials every half minute, and the record is for ever

PER_HOUR_MAX = 600  # lines altogether: a flood is on the record, and does not fill the disk

log = structlog.get_logger()


class Refusals:
    """Notes acts that were refused; safe from several threads."""

    def __init__(self, centre_log: CentreLog, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = centre_log, clock
        self._lock = threading.Lock()
        self._told: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    def note(self, act: CentreAct, subject: str, reason: str, **detail: str) -> None:
        """Put a refusal on the record, unless it was told within the hour. Blocking, milliseconds."""
        if self._is_news((act.value, subject, reason)):
            log.warning(act.value.replace("_", " "), subject=subject, reason=reason, **detail)
            self._log.note(act, subject, reason=reason, **detail)

    def _is_news(self, kind: tuple[str, str, str]) -> bool:
        now = self._clock()
        with self._lock:
            while self._told and next(iter(self._told.values())) <= now - SAME_AGAIN_S:
                self._told.popitem(last=False)
            if kind in self._told or len(self._told) >= PER_HOUR_MAX:
                return False
            self._told[kind] = now
            return True
