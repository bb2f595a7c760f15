"""Tells each channel every notice, in order, until it is told or a day old. Nothing here holds up ingest."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

import structlog

from control_plane.alerts.channels import Channel
from control_plane.alerts.store import AlertStore, Numbered
from control_plane.audit.centre_log import CentreAct, CentreLog
from shared.errors import PmStackError, Rejected, Retryable
from shared.schemas import utc_now

LOOK_PERIOD_S = 1.0  # how long a notice waits to be seen
BACK_OFF_FIRST_S, BACK_OFF_MAX_S = 1.0, 60.0  # doubled after each failure
STOP_DEADLINE_S = 5.0  # for a notice in hand; one that hangs longer is told again at the next start
GIVE_UP_AFTER = timedelta(hours=24)  # a call that is a day old calls nobody to anything: the list has it

log = structlog.get_logger()


class Notifier:
    """A thread per channel, so that a mail server that hangs holds up no webhook."""

    def __init__(
        self,
        store: AlertStore,
        channels: Sequence[Channel],
        record: CentreLog,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store, self._channels, self._record, self._clock = store, channels, record, clock

    def follow(self) -> None:
        """Make the channels known to the store, before anything can be raised. Blocking."""
        for channel in self._channels:
            self._store.follow(channel.name)

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Tell people meanwhile; at the end a notice in hand is told and marked first, if that is soon."""
        stop = threading.Event()
        threads = [
            threading.Thread(target=self._tell_all, args=(way, stop), name=f"notices-{way.name}", daemon=True)
            for way in self._channels
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            deadline = time.monotonic() + STOP_DEADLINE_S
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))

    def _tell_all(self, channel: Channel, stop: threading.Event) -> None:
        wait_s, back_off_s = 0.0, BACK_OFF_FIRST_S
        while not stop.wait(wait_s):
            try:
                wait_s = 0.0 if self._tell_next(channel) else LOOK_PERIOD_S
                back_off_s = BACK_OFF_FIRST_S
                continue
            except Retryable as error:
                log.warning(
                    "notice not told yet", channel=channel.name, again_in_s=back_off_s, reason=str(error)
                )
            except Exception as error:  # a channel that breaks must not end the centre
                shown = error if not isinstance(error, PmStackError) else None
                log.error("notices cannot be told", channel=channel.name, reason=str(error), exc_info=shown)
            wait_s, back_off_s = back_off_s, min(2 * back_off_s, BACK_OFF_MAX_S)

    def _tell_next(self, channel: Channel) -> bool:
        """Tell one notice and mark it; whether there was one."""
        found = self._store.next_notice(channel.name)
        if found is None:
            return False
        if self._clock() - found.notice.at > GIVE_UP_AFTER:
            self._give_up(channel, found, f"could not be told for {GIVE_UP_AFTER}")
            return True
        try:
            channel.send(found.notice)
        except Rejected as error:
            self._give_up(channel, found, str(error))
            return True
        self._store.settle(channel.name, found.number)
        return True

    def _give_up(self, channel: Channel, found: Numbered, reason: str) -> None:
        """What nobody is told is on the record; the alert itself stays on the list."""
        notice = found.notice
        log.error("notice given up", channel=channel.name, alert=notice.alert.alert_id, reason=reason)
        self._record.note(
            CentreAct.NOTICE_GIVEN_UP,
            notice.alert.alert_id,
            channel=channel.name,
            notice=notice.notice.value,
            reason=reason,
        )
        self._store.settle(channel.name, found.number)
