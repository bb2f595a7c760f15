"""How far a long command is: one moving line on a terminal, plain lines otherwise, nothing for a script."""

import sys
import time
from typing import Self

from rich.console import Console
from rich.status import Status

LINE_EVERY_S = 1.0  # of plain lines: a log of thousands of components stays readable


class Steps:
    """Says each step; `quiet` says none."""

    def __init__(self, what: str, *, quiet: bool) -> None:
        self._what, self._quiet = what, quiet
        self._status: Status | None = None
        self._said = -LINE_EVERY_S

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and not self._quiet:
            self._status = Status(self._what, console=Console(stderr=True))
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, text: str) -> None:
        """Show a step; plain lines at most one each LINE_EVERY_S."""
        if self._quiet:
            return
        if self._status is not None:
            self._status.update(f"{self._what}: {text}")
        elif time.monotonic() - self._said >= LINE_EVERY_S:
            self._said = time.monotonic()
            print(f"{self._what}: {text}", file=sys.stderr, flush=True)
