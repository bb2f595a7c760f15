"""The witness's rounds: each site's log as the lake has it, and the logs of the centre's own."""

from collections.abc import Iterator

from control_plane.audit.archive import SIZE_MAX, LakeArchive, Leaf
from control_plane.audit.witness import Witness, Witnessed
from control_plane.layout import Layout
from control_plane.release.fleet_store import FleetStore
from control_plane.sinks.lake import LakeReader
from shared.checkpoint import VerifierKey, parse_verifier_key
from shared.errors import ConfigError


class WitnessRounds:
    """Blocking. Whichever processes write the centre's own logs, the one that has the rounds co-signs."""

    def __init__(self, layout: Layout, store: FleetStore) -> None:
        self._layout, self._store = layout, store
        key = layout.witness_key().private
        lake, own = LakeArchive(LakeReader(layout.lake)), _OwnArchive(layout)
        self._sites = Witness(key, layout.witness, lake, self._site_key, layout.tiles)
        self._own = Witness(key, layout.witness, own, self._own_key, layout.tiles)

    def logs(self) -> list[str]:
        """What there is to look at, by name; the centre's own, which need no lake, first."""
        return [*self._layout.own_logs(), *(site["site_id"] for site in self._store.sites())]

    def look(self, log: str) -> Witnessed | None:
        """Check a log's new checkpoints and co-sign the newest, as `Witness.look`; what it returns is to be
        sent to the site. None of the centre's own, which are at home."""
        if log not in self._layout.own_logs():
            return self._sites.look(log)
        try:
            self._own.look(log)
        except ConfigError as error:  # the file is damaged: the sites' logs go on
            self._own.findings[log] = str(error)
        return None

    @property
    def findings(self) -> dict[str, str]:
        """What contradicts itself and is not co-signed any more, by log."""
        return self._sites.findings | self._own.findings

    def _site_key(self, site: str) -> VerifierKey | None:
        text = self._store.audit_key(site)
        return parse_verifier_key(text) if text else None

    def _own_key(self, log: str) -> VerifierKey:
        return self._layout.own_logs()[log].verifier


class _OwnArchive:
    """The centre's own logs, by name."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def leaves(self, log: str, /, first: int = 0) -> Iterator[Leaf]:
        return self._layout.own_logs()[log].leaves(first)

    def checkpoints(self, log: str, /, above: int = -1, up_to: int = SIZE_MAX) -> list[str]:
        return self._layout.own_logs()[log].checkpoints(above, up_to)

    def checkpoint_count(self, log: str, /, up_to: int) -> int:
        return self._layout.own_logs()[log].checkpoint_count(up_to)
