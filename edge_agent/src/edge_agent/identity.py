"""This site's identity towards the centre, where `edge-agent enroll` has left one."""

from pathlib import Path

import grpc

from edge_agent.update.fetcher import SiteFetcher
from shared.tls import IdentityFiles


class SiteIdentity:
    """What the fleet stream and the repositories' client show. `of` gives None where a site isn't enrolled:
    it then speaks in clear, on loopback only."""

    def __init__(self, files: IdentityFiles) -> None:
        self.files = files

    @classmethod
    def of(cls, data_dir: Path) -> "SiteIdentity | None":
        """The identity under the agent's data folder."""
        files = IdentityFiles(data_dir / "identity")
        return cls(files) if files.complete else None

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """For `FleetClient`; reads the files anew, so that a renewed certificate counts."""
        files = self.files
        return grpc.ssl_channel_credentials(
            files.authority.read_bytes(), files.key.read_bytes(), files.certificate.read_bytes()
        )

    def fetcher(self) -> SiteFetcher:
        """For `ReleaseClient`."""
        return SiteFetcher(self.files)
