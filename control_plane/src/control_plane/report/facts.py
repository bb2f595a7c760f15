"""Everything that a component's report says, gathered from the centre's folder."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from control_plane.alerts.models import AlertView
from control_plane.api.component_rules import Newest, component_view
from control_plane.api.history_models import LongHistory
from control_plane.api.lake_follower import LAKE_ERRORS
from control_plane.api.long_history import SPAN_MAX, HistoryDesk, Span
from control_plane.api.model_card_models import ModelCard
from control_plane.api.model_cards import ModelDesk
from control_plane.api.models import ComponentView
from control_plane.audit.evidence import keys_on_file, verify_centre
from control_plane.audit.verify import SiteVerification
from control_plane.ingest.completeness import Account, read_accounts
from control_plane.layout import FLEET_DATABASE, Layout
from control_plane.report.alarms import Change, changes
from control_plane.report.lake_facts import LakeFacts, lake_facts
from control_plane.sinks.lake import LakeReader
from shared.errors import Rejected, Retryable
from shared.reactor_config import FleetConfig
from shared.schemas import ComponentId

POINTS = 300  # of a curve: a plot across an A4 page can tell no more apart

Say = Callable[[str], None]


@dataclass(frozen=True)
class Facts:
    """As of `made`. `history` is None before any row; `card` where the release is not in this centre's
    repository; `alerts` newest first, None without an alarm list, `changes` of them too; `proofs` empty where
    the site's key is not known."""

    place: ComponentId
    made: datetime
    lake: LakeFacts
    view: ComponentView
    history: LongHistory | None
    alerts: list[AlertView] | None
    changes: list[Change]
    card: ModelCard | None
    accounts: list[Account]
    proofs: list[SiteVerification]


def gather(layout: Layout, fleet: FleetConfig, place: ComponentId, made: datetime, say: Say) -> Facts:
    """Rejected for a component that the fleet does not have, Retryable while the lake cannot be read."""
    try:
        return _gather(layout, fleet, place, made, say)
    except LAKE_ERRORS as error:
        raise Retryable(f"{layout.lake}: cannot be read: {error}") from error


def _gather(layout: Layout, fleet: FleetConfig, place: ComponentId, made: datetime, say: Say) -> Facts:
    config = fleet.components().get(place)
    if config is None:
        known = ", ".join(each.key for each in fleet.components())
        raise Rejected(f"no component {place.key} in the configuration; there are {known}")
    say("reading the lake")
    lake = lake_facts(LakeReader(layout.lake), place)
    alerts = _alerts(layout, place)
    newest = Newest(lake.telemetry, lake.prediction, [a for a in alerts or () if a.standing])
    view = component_view(place, config, fleet.sites[place.site_id].plant.poll_period_s, newest, made)
    history = _history(layout, fleet, place, lake)
    changed = changes(lake.alert_rows, layout.centre_log().entries(), place)
    say("counting rows")
    accounts = read_accounts(layout.lake, place.site_id)
    card = _card(layout, view)
    say("recomputing the audit log")
    proofs = _proofs(layout, place.site_id)
    return Facts(place, made, lake, view, history, alerts, changed, card, accounts, proofs)


def _alerts(layout: Layout, place: ComponentId) -> list[AlertView] | None:
    """The component's, from the operator's alarm list; None where there is no list to open."""
    if not (layout.data_dir / "alerts.db").exists():
        return None
    store = layout.alert_store()
    try:
        return [a for a in store.views() if (a.site_id, a.reactor_id, a.component) == place]
    finally:
        store.close()


def _history(layout: Layout, fleet: FleetConfig, place: ComponentId, lake: LakeFacts) -> LongHistory | None:
    if lake.first is None or lake.last is None:
        return None
    end = lake.last + timedelta(seconds=1)
    span = Span(max(lake.first, end - SPAN_MAX), end, POINTS)
    return asyncio.run(HistoryDesk(layout.lake, fleet).history(place, span))


def _card(layout: Layout, view: ComponentView) -> ModelCard | None:
    """Of the release that made the newest prediction, byte for byte."""
    answer = view.prediction or view.last_prediction
    if answer is None or not (layout.repository / "image" / "metadata" / "targets.json").exists():
        return None
    found = asyncio.run(ModelDesk(layout).card(f"{answer.model.name}/{answer.model.version}"))
    return found if found is not None and found.sha256 == answer.model.sha256 else None


def _proofs(layout: Layout, site_id: str) -> list[SiteVerification]:
    if not ((layout.data_dir / "fleet.db").exists() or os.environ.get(FLEET_DATABASE)):
        return []
    keys = keys_on_file(layout)
    return verify_centre(layout, keys, site_id) if site_id in keys else []
