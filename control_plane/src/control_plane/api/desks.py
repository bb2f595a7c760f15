"""What answers beside the view of now: roll-outs, alerts, histories, the audit record, model cards."""

from typing import NamedTuple, Self

from control_plane.api.alert_desk import AlertDesk
from control_plane.api.audit_desk import AuditDesk
from control_plane.api.long_history import HistoryDesk
from control_plane.api.model_cards import ModelDesk
from control_plane.api.record_export import ExportDesk
from control_plane.api.rollout_desk import RolloutDesk
from control_plane.layout import Layout
from shared.reactor_config import FleetConfig


class Desks(NamedTuple):
    """One of each, shared by all pages and routes."""

    rollouts: RolloutDesk
    alerts: AlertDesk
    history: HistoryDesk
    audit: AuditDesk
    exports: ExportDesk
    models: ModelDesk

    @classmethod
    def over(cls, layout: Layout, fleet: FleetConfig) -> Self:
        """All of them over one centre's folder."""
        history = HistoryDesk(layout.lake, fleet)
        audit, exports = AuditDesk(layout), ExportDesk(layout)
        return cls(RolloutDesk(layout), AlertDesk(layout), history, audit, exports, ModelDesk(layout))
