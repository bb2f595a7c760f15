"""The alarm list for the console and the API, and the one thing that may be asked of it: acknowledge."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from control_plane.access.visitor import visitor_of
from control_plane.alerts.lifecycle import UnknownAlert
from control_plane.alerts.models import AlertView
from control_plane.audit.centre_log import CentreAct
from control_plane.layout import Layout
from shared.errors import ConfigError, PmStackError, Rejected, Retryable
from shared.schemas import UtcTime
from shared.schemas.alert import REASON_CHARS_MAX

Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=REASON_CHARS_MAX)]


class Acknowledge(BaseModel):
    """What is to be noted with an alert that is taken on; in whose name says the session or the token.

    `seen` is the `changed_at` of the alert as the person saw it: what has come since is then not covered.
    """

    model_config = ConfigDict(extra="forbid")
    note: Note = ""
    seen: UtcTime | None = Field(default=None)


class AlertDesk:
    """The alarm list of one centre. Each acknowledgement is on the centre's record before it counts."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._store = layout.alert_store()

    def views(self) -> list[AlertView]:
        """The list, newest first. Blocking; Retryable or ConfigError where it cannot be read."""
        return self._store.views()

    def acknowledge(
        self, alert_ids: Sequence[str], who: str, note: str, seen: datetime | None = None
    ) -> list[AlertView]:
        """Acknowledge these, all or none. Blocking; UnknownAlert or Rejected say why not."""
        record = self._layout.centre_log()

        def on_record(alert: AlertView) -> None:
            place = f"{alert.site_id}/{alert.reactor_id}/{alert.component}"
            record.note(CentreAct.ALERT_ACKNOWLEDGED, alert.alert_id, by=who, note=note, component=place)

        return self._store.acknowledge(alert_ids, who, note, seen, on_record)

    async def ask(self, alert_ids: Sequence[str], who: str, note: str, seen: datetime) -> str:
        """The same for a page; why it was refused, or nothing."""
        try:
            await asyncio.to_thread(self.acknowledge, alert_ids, who, note.strip()[:REASON_CHARS_MAX], seen)
        except PmStackError as error:
            return str(error)
        return ""


def alert_router(desk: AlertDesk) -> APIRouter:
    """`/api/alerts/{alert_id}/acknowledge`; the list itself is the read model's `/api/alerts`."""
    router = APIRouter(prefix="/api", tags=["alerts"])

    @router.post("/alerts/{alert_id}/acknowledge")
    async def acknowledge(alert_id: str, asked: Acknowledge, request: Request) -> AlertView:
        """Take an alert on: 404 where there is none, 409 where it is acknowledged or over already."""
        try:
            who = visitor_of(request).caller.account
            [done] = await asyncio.to_thread(desk.acknowledge, [alert_id], who, asked.note, asked.seen)
        except UnknownAlert as error:
            raise HTTPException(404, str(error)) from error
        except Rejected as error:
            raise HTTPException(409, str(error)) from error
        except (Retryable, ConfigError) as error:
            raise HTTPException(503, str(error)) from error
        return done

    return router
