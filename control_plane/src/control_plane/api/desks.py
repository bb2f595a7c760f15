"""What answers beside the view of now: roll-outs and histories."""

from typing import NamedTuple, Self

from control_plane.api.long_history import HistoryDesk
from control_plane.api.rollout_desk import RolloutDesk
from control_plane.layout import Layout
from shared.reactor_config import FleetConfig


class Desks(NamedTuple):
    """One of each, shared by all pages and routes."""

    rollouts: RolloutDesk
    history: HistoryDesk

    @classmethod
    def over(cls, layout: Layout, fleet: FleetConfig) -> Self:
        """All of them over one centre's folder."""
        return cls(RolloutDesk(layout), HistoryDesk(layout.lake, fleet))
