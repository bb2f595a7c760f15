"""Who looks at the page that is being made."""

from nicegui import ui

from control_plane.access.roles import Permission
from control_plane.access.visitor import Visitor


def visitor() -> Visitor:
    """The person signed in; the gate has let nobody else come here."""
    found: Visitor = ui.context.client.request.state.visitor
    return found


def may(permission: Permission) -> bool:
    """Whether to show them what needs it."""
    return visitor().may(permission)
