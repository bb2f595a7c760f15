"""What went wrong with the record of inference, kept until that is itself on the record."""

from threading import Lock
from typing import NamedTuple, Self

from control_plane.audit.inference_entry import InferenceEntry, InferenceEvent
from control_plane.audit.inference_log import Written
from shared.schemas import utc_now

REASON_CHARS_MAX = 300  # of an error's own words, which may hold what a caller sent


class Trouble(NamedTuple):
    """`what` is `lost` (no record of a call) or `late` (the log could not be written); the last reason."""

    what: str
    times: int
    reason: str

    @classmethod
    def of(cls, what: str, reason: str, times: int = 1) -> Self:
        """With the reason cut short, and fit to be written."""
        return cls(what, times, reason[:REASON_CHARS_MAX].encode(errors="replace").decode())


def said(error: Exception) -> str:
    """An error in words."""
    return f"{type(error).__name__}: {error}"


class Troubles:
    """What went wrong and is not on the record yet."""

    def __init__(self) -> None:
        self.failed = 0
        self._lock = Lock()
        self._open: dict[str, Trouble] = {}

    def note(self, what: str, error: Exception) -> None:
        """One more."""
        self.add(Trouble.of(what, said(error)))

    def add(self, trouble: Trouble) -> None:
        """As often as it says."""
        what = trouble.what
        with self._lock:
            times = self._open[what].times if what in self._open else 0
            self._open[what] = trouble._replace(times=times + trouble.times)
            self.failed += trouble.times * (what == "lost")

    def now(self) -> list[Trouble]:
        """All of them."""
        with self._lock:
            return list(self._open.values())

    def settle(self, recorded: list[Trouble]) -> None:
        """Forget those that are on the record; what came meanwhile stays."""
        with self._lock:
            for each in recorded:
                left = self._open[each.what].times - each.times
                if left:
                    self._open[each.what] = self._open[each.what]._replace(times=left)
                else:
                    del self._open[each.what]


def failure(index: int, trouble: Trouble) -> Written:
    """The entry that says so."""
    now, event = utc_now(), InferenceEvent.AUDIT_FAILURE
    entry = InferenceEntry(index=index, timestamp=now, logged_at=now, event=event, detail=trouble._asdict())
    return Written(entry.leaf())
