"""`/models` and `/models/{name}/{version}`: what is published, and the card of each release."""

from control_plane.api.model_card_models import Metric, ModelCard, ModelCards, Validation
from control_plane.api.model_cards import INSTALLED
from control_plane.api.models import FleetSnapshot
from control_plane.console import wording
from control_plane.console.frame import Frame
from control_plane.console.parts import Text, box, facts_table, listing

COLUMNS = ("Release", "For", "Approved by", "Installed at", "Made (UTC)")
METRIC_COLUMNS = ("Metric", "Value", "Meaning")


class ModelsPage:
    """The list of what is published."""

    def __init__(self, found: ModelCards) -> None:
        self._frame = Frame("Models")
        with self._frame.content:
            with box("page-head"):
                Text("Models", "page-title", "h1")
            for problem in found.problems:
                Text(problem, "refused").props('role="alert" data-testid="models-problem"')
            if not found.cards and not found.problems:
                Text("No release has been published yet.", "muted")
            if found.cards:
                _releases(found.cards)

    def show(self, snapshot: FleetSnapshot) -> None:
        """Clock and banners."""
        self._frame.show(snapshot)


class ModelCardPage:
    """One release in full."""

    def __init__(self, card: ModelCard) -> None:
        self._frame = Frame("Models")
        with self._frame.content:
            with box("page-head"):
                with box("crumbs", "nav"), box("crumb", "a").props('href="/models"'):
                    Text("Models", tag="span")
                Text(f"{card.name} v{card.version}", "page-title", "h1")
                Text(f"for {wording.title(card.component_type).lower()}s", "muted")
            with box("card-columns").props('data-testid="model-card"'):
                with box("", "section"):
                    _words("Intended use", card.intended_use)
                    _words("Limits", card.limits)
                    _section("Where it is installed")
                    _sites(card)
                with box("", "section"):
                    _section("Approval")
                    facts_table(_approval(card), "approval")
                    _section("What it is")
                    facts_table(_identity(card), "identity")
            _section("As judged when it was trained")
            _metrics(card.metrics, "The release came without metrics.")
            _section("Input")
            _tags(card)
            _section("Validation")
            _validation(card.validation)

    def show(self, snapshot: FleetSnapshot) -> None:
        """Clock and banners."""
        self._frame.show(snapshot)


def _releases(cards: list[ModelCard]) -> None:
    rows = []
    for card in cards:
        in_use = [site.site_id for site in card.sites if site.state == INSTALLED]
        rows.append(
            (
                card.release,
                wording.title(card.component_type),
                _people(card),
                ", ".join(in_use) or "no site",
                f"{card.created:%Y-%m-%d %H:%M}",
            )
        )
    listing(COLUMNS, rows, "models", links=[f"/models/{card.release}" for card in cards])


def _people(card: ModelCard) -> str:
    approval = card.approval
    return f"{', '.join(approval.signed) or 'nobody'} ({len(approval.signed)} of {len(approval.could)})"


def _approval(card: ModelCard) -> list[tuple[str, str]]:
    approval = card.approval
    return [
        ("Signed by", ", ".join(approval.signed) or "nobody whose signature holds"),
        ("Needed", f"{approval.threshold} of {len(approval.could)}: {', '.join(approval.could)}"),
        ("Proposed by", approval.proposed_by or wording.NOTHING),
        ("Why", approval.reason or wording.NOTHING),
        ("Registered as", approval.registered or "no registered version: proposed from a folder"),
        ("Targets version", str(approval.targets_version)),
    ]


def _identity(card: ModelCard) -> list[tuple[str, str]]:
    return [
        ("Model's SHA-256", card.sha256),
        ("Made", f"{card.created:%Y-%m-%d %H:%M:%S} UTC"),
        ("Training data", card.training_data_version),
        ("RUL horizon", "no RUL" if card.horizon_cycles is None else f"{card.horizon_cycles:g} cycles"),
        ("Interval", wording.calibration(card.calibration)),
        ("Thresholds", f"anomaly {card.anomaly_threshold:g}, unlike training {card.ood_threshold:g}"),
        ("Golden windows", f"{card.golden_windows}, to within {card.golden_tolerance:g}"),
        ("Oldest agent", card.oldest_agent_version),
        ("Falls back to", ", ".join(card.fallback) or wording.NOTHING),
    ]


def _sites(card: ModelCard) -> None:
    if not card.sites:
        Text("At no site, and no roll-out has named it.", "muted")
        return
    rows = [(site.site_id, site.state, wording.seen(site.last_seen)) for site in card.sites]
    listing(("Site", "State", "Last heard of (UTC)"), rows, "model-sites")


def _metrics(found: list[Metric], empty: str) -> None:
    if not found:
        Text(empty, "muted")
        return
    rows = [(each.name, f"{each.value:.4g}", each.meaning or wording.NOTHING) for each in found]
    listing(METRIC_COLUMNS, rows, "metrics")


def _tags(card: ModelCard) -> None:
    about = f"{len(card.tags)} tags over {card.window_cycles} cycles make {card.features} features a cycle"
    Text(f"{about}; feature spec {card.feature_spec_hash[:16]}…", "muted").props(
        f'title="{card.feature_spec_hash}"'
    )
    rows = [
        (tag.tag, wording.unit(tag.unit) or wording.NOTHING, wording.normal(tag.normal)) for tag in card.tags
    ]
    listing(("Tag", "Unit", "Usual in normal operation"), rows, "model-tags")


def _validation(found: Validation | None) -> None:
    if found is None:
        Text("It was approved without a validation report.", "muted")
        return
    where = "the data it was trained on" if found.trained_on_it else "other data than it was trained on"
    Text(f"On {where} (SHA-256 {found.data_sha256[:16]}…), as its approvers had it before them.", "muted")
    _metrics(found.metrics, "The report has no metrics.")
    if found.importance:
        rows = [(tag, f"{cycles:.3g}") for tag, cycles in found.importance.items()]
        listing(("Tag", "Mean effect on the RUL (cycles)"), rows, "importance")


def _words(title: str, lines: list[str]) -> None:
    _section(title)
    with box("card-words", "ul"):
        for line in lines:
            Text(line, tag="li")


def _section(title: str) -> None:
    Text(title, "section-title", "h2")
