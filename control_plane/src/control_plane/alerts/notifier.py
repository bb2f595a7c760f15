"""Tells each channel every notice, in order, until it is told or a day old. Nothing here holds up ingest."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog

from control_plane.alerts.channels import Channel
from control_plane.alerts.store import AlertStore, Numbered
from control_plane.audit.centre_log import CentreAct, CentreLog
from shared.errors import PmStackError, Rejected, Retryable
from shared.schemas import utc_now

LOOK_PERIOD_S = 1.0  # how long a notice waits to be seen
BACK_OFF_FIRST_S, BACK_OFF_MAX_S = 1.0, 60.0  # doubled after each failure
GIVE_UP_AFTER = timedelta(hours=24)  # a call that is a day old calls nobody to anything: the list has it

log = structlog.get_logger()


class Notifier:
    """A task per channel, so that a mail server that hangs holds up no webhook."""

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

    async def run(self) -> None:
        """Until cancelled. A notice in hand is told and marked first, in its thread."""
        async with asyncio.TaskGroup() as tasks:
            for channel in self._channels:
                tasks.create_task(self._tell_all(channel))

    async def _tell_all(self, channel: Channel) -> None:
        wait_s = BACK_OFF_FIRST_S
        while True:
            try:
                while await asyncio.to_thread(self._tell_next, channel):
                    wait_s = BACK_OFF_FIRST_S
                await asyncio.sleep(LOOK_PERIOD_S)
                continue
            except Retryable as error:
                log.warning("notice not told yet", channel=channel.name, again_in_s=wait_s, reason=str(error))
            except Exception as error:  # a channel that breaks must not end the centre
                shown = error if not isinstance(error, PmStackError) else None
                log.error("notices cannot be told", channel=channel.name, reason=str(error), exc_info=shown)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, BACK_OFF_MAX_S)

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
