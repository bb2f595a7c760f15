"""Log lines: colours on a terminal, else one JSON object a line; the journal gets each line's priority."""

import logging
import os
import sys
from collections.abc import Mapping
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}  # sd-daemon(3)


def configure_logs(stream: TextIO | None = None, environment: Mapping[str, str] = os.environ) -> None:
    """Send this program's and its libraries' log to `stream` (standard output), from INFO up.

    Libraries log from WARNING up: what they say about one poll, the quality of its reading says.
    """
    out = stream or sys.stdout
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, *_form(out, environment)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(out),
    )
    logging.root.handlers = [_ToStructlog()]
    logging.root.setLevel(logging.WARNING)


def _form(out: TextIO, environment: Mapping[str, str]) -> list[Processor]:
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    if out.isatty():
        return [stamp, structlog.dev.ConsoleRenderer()]
    json: list[Processor] = [
        structlog.processors.format_exc_info,
        _event_first,
        structlog.processors.JSONRenderer(),
    ]
    if _is_journal(out, environment):  # which has a time of its own
        return [*json[:-1], _with_priority(structlog.processors.JSONRenderer())]
    return [stamp, *json]


def _is_journal(out: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether `out` is the stream that JOURNAL_STREAM names, as systemd.exec(5) says to find out."""
    try:
        found = os.fstat(out.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _event_first(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    first = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
    return first | dict(event)


def _with_priority(render: structlog.processors.JSONRenderer) -> Processor:
    def line(logger: WrappedLogger, name: str, event: EventDict) -> str:
        priority = PRIORITIES[event.pop("level")]
        return f"<{priority}>{render(logger, name, event)!s}"

    return line


class _ToStructlog(logging.Handler):
    """What a library logs, as a line like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        error = record.exc_info if record.exc_info and record.exc_info[0] else None
        log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=error)
