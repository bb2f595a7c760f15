"""The witness's rounds: each site's log as the lake has it, and the log of the centre's inference."""

from collections.abc import Iterator

from control_plane.audit.archive import SIZE_MAX, LakeArchive, Leaf
from control_plane.audit.inference_log import INFERENCE_LOG, InferenceLog
from control_plane.audit.witness import Witness, Witnessed
from control_plane.layout import Layout
from control_plane.release.fleet_store import FleetStore
from control_plane.sinks.lake import LakeReader
from shared.checkpoint import VerifierKey, parse_verifier_key


class WitnessRounds:
    """Blocking. Whichever process infers, the one that has the rounds co-signs."""

    def __init__(self, layout: Layout, store: FleetStore) -> None:
        self._layout, self._store = layout, store
        key = layout.witness_key().private
        lake, own = LakeArchive(LakeReader(layout.lake)), _OwnArchive(layout)
        self._sites = Witness(key, layout.witness, lake, self._site_key, layout.tiles)
        self._own = Witness(key, layout.witness, own, self._own_key, layout.tiles)

    def logs(self) -> list[str]:
        """What there is to look at, by name."""
        sites = [site["site_id"] for site in self._store.sites()]
        return [INFERENCE_LOG, *sites] if self._layout.has_inference_log else sites

    def look(self, log: str) -> Witnessed | None:
        """Check a log's new checkpoints and co-sign the newest, as `Witness.look`; what it returns is to be
        sent to the site. None of the inference log, which is at home."""
        if log != INFERENCE_LOG:
            return self._sites.look(log)
        self._own.look(log)
        return None

    @property
    def findings(self) -> dict[str, str]:
        """What contradicts itself and is not co-signed any more, by log."""
        return self._sites.findings | self._own.findings

    def _site_key(self, site: str) -> VerifierKey | None:
        text = self._store.audit_key(site)
        return parse_verifier_key(text) if text else None

    def _own_key(self, _log: str) -> VerifierKey:
        return self._layout.inference_log().verifier


class _OwnArchive:
    """The inference log, the only one here."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def leaves(self, _name: str, /, first: int = 0) -> Iterator[Leaf]:
        return self._log.leaves(first)

    def checkpoints(self, _name: str, /, above: int = -1, up_to: int = SIZE_MAX) -> list[str]:
        return self._log.checkpoints(above, up_to)

    def checkpoint_count(self, _name: str, /, up_to: int) -> int:
        return self._log.checkpoint_count(up_to)

    @property
    def _log(self) -> InferenceLog:
        return self._layout.inference_log()
