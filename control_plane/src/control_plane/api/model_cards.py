"""A card for every published release: what it is, how good, who approved it, where it runs.

Enters: the image repository, the centre's own record of its sites and roll-outs. Nothing of a card comes
from MLflow: what was signed says what a release is.
"""

import hashlib
import json
from typing import Any

from control_plane.api.card_words import intended_use, limits, metrics
from control_plane.api.model_card_models import (
    CardTag,
    ModelCard,
    ModelCards,
    RunningAt,
    Validation,
)
from control_plane.api.single_flight import SingleFlight
from control_plane.layout import Layout
from control_plane.release.image import ImageRepository
from control_plane.release.published_approval import Approval, approval_of
from control_plane.release.rollout import Rollouts
from shared.errors import PmStackError, Rejected, Untrusted
from shared.schemas import Manifest

KEPT_S = 10.0  # a publication or a site's heartbeat may show this late
REPORT_FILE = "report.json"
INSTALLED = "installed"  # a site holds every release; it scores with those of its own component types
REPORT_BYTES_MAX = 1024 * 1024  # as it was taken in

Sites = list[dict[str, Any]]


class ModelDesk:
    """Reads every published release, its bytes checked against what was signed; shared for some seconds."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._cards = SingleFlight(self._read, KEPT_S)

    async def cards(self) -> ModelCards:
        """Every card, newest release first; `problems` names what could not be read."""
        return await self._cards.get()

    async def card(self, release: str) -> ModelCard | None:
        """The card of `name/version`; None when there is none."""
        return next((card for card in (await self.cards()).cards if card.release == release), None)

    def _read(self) -> ModelCards:
        cards, problems = [], []
        image = ImageRepository(self._layout.repository)
        try:
            releases = image.releases()
            store = self._layout.store()
            sites, rollouts = store.sites(), Rollouts(line.event for line in store.events())
        except PmStackError as error:
            return ModelCards(cards=[], problems=[str(error)])
        for release in releases:
            try:
                manifest, _ = image.release(release)
                cards.append(self._card(manifest, running_at(manifest, sites, rollouts)))
            except (Rejected, Untrusted, ValueError) as error:
                problems.append(f"{release}: {error}")
        cards.sort(key=lambda card: (card.component_type, -card.version, card.name))
        return ModelCards(cards=cards, problems=problems)

    def _card(self, manifest: Manifest, sites: list[RunningAt]) -> ModelCard:
        spec, approval = manifest.feature_spec, approval_of(self._layout.repository, manifest.folder)
        return ModelCard(
            name=manifest.name,
            version=manifest.version,
            release=manifest.folder,
            component_type=manifest.component_type,
            sha256=manifest.sha256,
            created=manifest.created,
            training_data_version=manifest.training_data_version,
            metrics=metrics(manifest.metrics),
            calibration=manifest.calibration,
            horizon_cycles=manifest.horizon_cycles,
            anomaly_threshold=manifest.anomaly_threshold,
            ood_threshold=manifest.ood_threshold,
            feature_spec_hash=manifest.feature_spec_hash,
            window_cycles=spec.window_cycles,
            features=spec.shape[1],
            tags=[_tag(manifest, tag) for tag in spec.tags],
            golden_windows=len(manifest.golden),
            golden_tolerance=manifest.golden_tolerance,
            fallback=manifest.fallback,
            oldest_agent_version=manifest.oldest_agent_version,
            approval=approval,
            sites=sites,
            intended_use=intended_use(manifest),
            limits=limits(manifest),
            validation=self._validation(manifest.folder, approval),
        )

    def _validation(self, release: str, approved: Approval) -> Validation | None:
        """The report that the approvers had before them; Rejected when it is another now."""
        path = self._layout.repository / "evidence" / release / REPORT_FILE
        if REPORT_FILE not in approved.evidence:
            return None
        if not path.exists():
            raise Rejected(f"evidence/{release}/{REPORT_FILE}, which was approved with it, is gone")
        data = path.read_bytes()[:REPORT_BYTES_MAX]
        if hashlib.sha256(data).hexdigest() != approved.evidence[REPORT_FILE]:
            raise Rejected(f"evidence/{release}/{REPORT_FILE} is not what was approved")
        report = json.loads(data)
        return Validation(
            data_sha256=str(report.get("data_sha256", "")),
            trained_on_it=bool(report.get("trained_on_it")),
            metrics=metrics(report.get("metrics", {})),
            importance={str(tag): float(value) for tag, value in report.get("importance", {}).items()},
        )


def running_at(manifest: Manifest, sites: Sites, rollouts: Rollouts) -> list[RunningAt]:
    """Sites whose own words name the release's bytes, then those that a roll-out tries to bring it to."""
    seen = {site["site_id"]: site["last_seen"] for site in sites}
    states = {
        site["site_id"]: INSTALLED
        for site in sites
        for model in site["models"]
        if model.get("sha256") == manifest.sha256
    }
    for rollout in list(rollouts):
        if rollout.release == manifest.folder:
            for name, site in rollout.sites.items():
                if states.get(name) != INSTALLED:
                    states[name] = site.where.replace("_", " ")
    return [
        RunningAt(site_id=site, state=state, last_seen=seen.get(site))
        for site, state in sorted(states.items(), key=lambda each: (each[1] != INSTALLED, each[0]))
    ]


def _tag(manifest: Manifest, tag: str) -> CardTag:
    reference = manifest.references.get(tag)
    if reference is None:
        return CardTag(tag=tag, unit="", normal=[])
    return CardTag(tag=tag, unit=reference.unit, normal=list(reference.normal))
