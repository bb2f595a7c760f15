"""`/`: the fleet as sites, reactors and components, with what stands out on top."""

from control_plane.api.models import FleetSnapshot, Level, SiteHealth, SiteView
from control_plane.console import wording
from control_plane.console.alarm_summary import priority
from control_plane.console.alert_rows import AlertRows
from control_plane.console.component_card import ComponentCard
from control_plane.console.frame import Frame
from control_plane.console.parts import Text, attribute, box

BANNER_ALERTS_MAX = 3  # more would push the fleet off the screen


class FleetPage:
    """The page; `show` brings it up to date. Its shape is the configuration's and does not change."""

    def __init__(self, snapshot: FleetSnapshot) -> None:
        self._frame = Frame("Fleet")
        self._cards: dict[str, ComponentCard] = {}
        self._health: dict[str, Text] = {}
        with self._frame.content:
            with box("page-head"):
                Text("Fleet", "page-title", "h1")
                self._counts = {level: _Count(level) for level in Level}
            self._alerts = AlertRows(BANNER_ALERTS_MAX, "")
            with box("fleet").props("data-testid=fleet"):
                for site in snapshot.sites:
                    self._build_site(site)

    def _build_site(self, site: SiteView) -> None:
        parts = sum(len(reactor.components) for reactor in site.reactors)
        section = box("site", "section").style(f"--parts:{parts}").props(f'data-testid="site-{site.site_id}"')
        with section:
            with box("site-head"):
                Text(site.site_id, "site-name", "h2")
                self._health[site.site_id] = Text(classes="site-health")
            with box("reactors"):
                for reactor in site.reactors:
                    with box("reactor").style(f"--parts:{len(reactor.components)}"):
                        with box("reactor-head"):
                            Text(reactor.reactor_id, "reactor-name")
                            Text(wording.title(reactor.reactor_type), "muted")
                        with box("cards"):
                            for component in reactor.components:
                                self._cards[component.key] = ComponentCard(component)

    def show(self, snapshot: FleetSnapshot) -> None:
        """The fleet as it is now."""
        self._frame.show(snapshot)
        for level, count in self._counts.items():
            count.show(snapshot.counts[level])
        self._alerts.show(sorted(snapshot.standing_alerts, key=priority), snapshot.taken_at)
        for site in snapshot.sites:
            health = self._health[site.site_id]
            health.show(site_line(site.health))
            attribute(health, "data-silent", None if site.health.reporting else "")
        for component in snapshot.components:
            self._cards[component.key].show(component, snapshot.taken_at)


class _Count:
    """How many components have a level."""

    def __init__(self, level: Level) -> None:
        with box("count").props(f'data-level="{level.value}"') as self._box:
            box("shape", "span").props("aria-hidden=true")
            self._number = Text("0", "count-number", "span")
            Text(wording.LEVELS[level], tag="span")

    def show(self, number: int) -> None:
        self._number.show(str(number))
        attribute(self._box, "data-none", None if number else "")


def site_line(health: SiteHealth) -> str:
    """A site's health in one line."""
    if health.status_age_s is None:
        return "never reported"
    if not health.reporting:
        return f"site silent for {wording.age(health.status_age_s)}"
    words = [
        f"agent {health.agent_version}",
        f"reported {wording.age(health.status_age_s)} ago",
        f"{health.outbox_rows} rows waiting",
    ]
    if health.polls_failed:
        words.append(f"{health.polls_failed} of {health.polls} polls failed")
    if health.rows_given_up:
        words.append(f"{health.rows_given_up} rows given up")
    return " · ".join(words)
