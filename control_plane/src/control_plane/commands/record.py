"""What a command did, or was refused, goes on the centre's record."""

from collections.abc import Iterator
from contextlib import contextmanager

from control_plane.audit.centre_log import CentreAct
from control_plane.layout import Layout
from shared.errors import PmStackError


@contextmanager
def on_record(layout: Layout, done: CentreAct, refused: CentreAct, subject: str) -> Iterator[dict[str, str]]:
    """Note what was done, or why it was refused; yields what to note with it."""
    detail: dict[str, str] = {}
    log = layout.centre_log()
    try:
        yield detail
    except PmStackError as error:
        log.note(refused, subject, **(detail | {"asked": done.value, "problem": str(error)}))
        raise
    log.note(done, subject, **detail)
