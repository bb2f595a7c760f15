"""One log line when a problem begins, one when it is over: never one a poll."""

import time
from collections.abc import Callable, Sequence

import structlog
from prometheus_client import Gauge

from edge_agent.health.judgement import CODES, Problem

log = structlog.get_logger()


class Changes:
    """Remembers what was wrong; `see` logs what changed and keeps the gauge by code."""

    def __init__(self, gauge: Gauge, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._gauge, self._monotonic = gauge, monotonic
        self._since: dict[str, float] = {}
        for code in CODES:
            gauge.labels(code).set(0)

    def see(self, problems: Sequence[Problem]) -> None:
        """What is wrong now."""
        now, present = self._monotonic(), {problem.code for problem in problems}
        for problem in problems:
            if problem.code not in self._since:
                self._since[problem.code] = now
                self._gauge.labels(problem.code).set(1)
                say = log.error if problem.down else log.warning
                say("problem", code=problem.code, reason=problem.text)
        for code in self._since.keys() - present:
            lasted_s = now - self._since.pop(code)
            self._gauge.labels(code).set(0)
            log.info("problem over", code=code, lasted_s=round(lasted_s, 1))
