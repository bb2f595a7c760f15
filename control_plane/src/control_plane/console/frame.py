"""What stands around every page: name, ways, clock, theme, and the banners that overrule a page."""

from pathlib import Path

from nicegui import ui

from control_plane.access.roles import Permission
from control_plane.api.models import FleetSnapshot
from control_plane.console import wording
from control_plane.console.parts import Text, attribute, box, visible
from control_plane.console.who import may, visitor

HERE = Path(__file__).parent
WAYS = (
    ("Fleet", "/", Permission.SEE),
    ("Alerts", "/alerts", Permission.SEE),
    ("Records", "/completeness", Permission.SEE),
    ("Roll-outs", "/rollouts", Permission.SEE),
    ("Models", "/models", Permission.SEE),
    ("Audit", "/audit", Permission.AUDIT),
)
FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="6" '
    'fill="#2f3842"/><path d="M4 18h6l3-9 5 15 3-6h7" fill="none" stroke="#fff" stroke-width="2.6"/></svg>'
)


def head_html() -> str:
    """Style and script of every page, inside the page: nothing else is fetched for them."""
    style, script = (HERE / "console.css").read_text(), (HERE / "console.js").read_text()
    return f"<style>{style}</style>\n<script>{script}</script>"


class Frame:
    """Header and banners. Use as a context: what is made inside becomes the page's content.

    The clock is the server's: when it stops, the script in the page says that nothing is current.
    """

    def __init__(self, here: str) -> None:
        with box("top", "header"):
            with box("brand", "a").props('href="/" aria-label="pm-stack-smr: the fleet"'):
                box("brand-sign", "span").props("aria-hidden=true")
                Text("pm-stack-smr", tag="span")
            with box("ways", "nav"):
                for name, target, needs in WAYS:
                    if not may(needs):
                        continue
                    with box("way", "a").props(f'href="{target}"') as way:
                        attribute(way, "aria-current", "page" if name == here else None)
                        Text(name, tag="span")
                        if name == "Alerts":
                            self._count = Text("", "way-count", "span")
            self._clock = Text(classes="clock").props("data-beat data-testid=clock")
            with box("way account", "a").props('href="/account" data-testid="account"'):
                Text(visitor().caller.account, tag="span")
            with ui.element("button").classes("theme").props('type="button" data-testid="theme"') as theme:
                theme.props('aria-label="Theme: system, light or dark"')
                theme.on("click", js_handler="() => consoleTheme.next()")
                box("theme-sign", "span").props("aria-hidden=true")
        Text(
            "Connection to the console lost. No number on this page is current.",
            "banner banner-offline",
        ).props('role="alert" data-testid="offline"')
        self._problem = Text(classes="banner banner-problem").props('role="alert" data-testid="problem"')
        self.content = box("content", "main")

    def show(self, snapshot: FleetSnapshot) -> None:
        """Clock, number of events that stand, and whether the lake answers."""
        self._clock.show(wording.clock(snapshot.taken_at))
        standing = len({alert.event_id for alert in snapshot.standing_alerts})
        self._count.show(str(standing))
        visible(self._count, standing > 0)
        trouble = wording.trouble(snapshot)
        self._problem.show(trouble)
        visible(self._problem, bool(trouble))
