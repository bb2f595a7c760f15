"""What sites dial: the fleet service; with TLS also enrolment and the repositories.

    enrolment      TLS of the centre alone; the token is the credential
    fleet          mutual TLS; renewing a certificate too
    repositories   mutual TLS

Without names the fleet service is in clear, on loopback, and the repositories are the web server's.
"""

from collections.abc import Callable
from pathlib import Path

import grpc

from control_plane.enrolment.admission import Admission
from control_plane.enrolment.authority import ServerFiles
from control_plane.enrolment.refusals import Refusals
from control_plane.layout import Layout
from control_plane.rpc.enrolment import EnrolmentService, start_enrolment_server
from control_plane.rpc.fleet import FleetService, start_fleet_server
from control_plane.rpc.repositories import RepositoryServer
from shared.wire import enrolment_pb2_grpc


class SiteDoors:
    """Opens and closes them together. `names` are what sites dial, for the centre's certificate."""

    def __init__(self, data_dir: Path, names: tuple[str, ...]) -> None:
        self._layout, self._names = Layout(data_dir), names
        self._repositories: RepositoryServer | None = None
        self._register = self._layout.register()
        self._refusals = Refusals(self._layout.centre_log()) if names else None
        self.admission = Admission(self._register, self._refusals) if self._refusals else None

    async def open(
        self, service: FleetService, fleet: str, enrol: str, repositories: str, say: Callable[[str], None]
    ) -> list[grpc.aio.Server]:
        """The gRPC servers, for the caller to stop."""
        if self.admission is None or self._refusals is None:
            server = await start_fleet_server(service, fleet)
            say(f"fleet service      {fleet} (gRPC)")
            return [server]
        authority = self._layout.authority()
        files = authority.server_files(self._names)
        enrolling = EnrolmentService(self._layout.enrolment(self._register), self.admission, self._refusals)

        def renewing(server: grpc.aio.Server) -> None:
            enrolment_pb2_grpc.add_EnrolmentServicer_to_server(enrolling, server)

        servers = [await start_fleet_server(service, fleet, server_credentials(files, mutual=True), renewing)]
        servers.append(
            await start_enrolment_server(enrolling, enrol, server_credentials(files, mutual=False))
        )
        self._repositories = RepositoryServer(self._layout.repository, self.admission, repositories, files)
        say(f"fleet service      {fleet} (gRPC, mutual TLS)\nenrolment          {enrol} (gRPC, TLS)")
        say(f"repositories       https://{repositories}/repository/ (mutual TLS)")
        say(f"authority          {authority.fingerprint}")
        return servers

    def close(self) -> None:
        """End what `open` has not handed out."""
        if self._repositories is not None:
            self._repositories.stop()
        self._register.close()


def server_credentials(files: ServerFiles, *, mutual: bool) -> grpc.ServerCredentials:
    """For a gRPC server; `mutual` asks each client for a certificate of the authority."""
    pair = (files.key.read_bytes(), files.chain.read_bytes())
    authority = files.authority.read_bytes() if mutual else None
    return grpc.ssl_server_credentials([pair], authority, require_client_auth=mutual)
