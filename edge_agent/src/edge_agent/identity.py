"""This site's identity towards the centre, where `edge-agent enroll` has left one."""

import asyncio
import random
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import structlog

from edge_agent.enrolment import TIMEOUT_S, checked, refusal, signing_request
from edge_agent.update.bounded_fetcher import BoundedFetcher
from edge_agent.update.site_connections import SiteConnections
from shared.errors import ConfigError, PmStackError
from shared.listen import is_loopback, parse_endpoint
from shared.schemas import utc_now
from shared.tls import IdentityFiles, load_certificate, renewal_due, site_of
from shared.wire import enrolment_pb2, enrolment_pb2_grpc

LOOK_PERIOD_S = (
    1800.0  # at how old the certificate is; sites that were enrolled together spread by half of it
)

log = structlog.get_logger()


def require_secure(data_dir: Path, site: str, fleet: str, repository: str) -> None:
    """ConfigError unless what is said to the centre is encrypted, or stays on this machine."""
    identity, problems = SiteIdentity.of(data_dir), []
    url = urlsplit(repository)
    if identity is not None:
        if (named := site_of(load_certificate(identity.files.certificate))) != site:
            problems.append(
                f"--site: {data_dir}/identity is that of {named}; enrol {site} with a folder of its own"
            )
        if url.scheme != "https":
            problems.append(f"--repository: found {repository}; an enrolled site fetches by https")
    else:
        host, _ = parse_endpoint(fleet, "--fleet")
        for option, name in (("--fleet", host), ("--repository", url.hostname or "")):
            if not is_loopback(name):
                problems.append(f"{option}: {name} is not on this machine; `edge-agent enroll` comes first")
    if problems:
        raise ConfigError("edge-agent run", problems)


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

    def fetcher(self) -> BoundedFetcher:
        """For `ReleaseClient`."""
        return BoundedFetcher(SiteConnections(self.files))

    async def keep(self, fleet: str, period_s: float = LOOK_PERIOD_S) -> None:
        """Renew the certificate at the fleet service's address once two thirds of its life are over."""
        told = ""
        while True:
            try:
                if renewal_due(load_certificate(self.files.certificate), utc_now()):
                    await self.renew(fleet)
                told = ""
            except PmStackError as error:
                if str(error) != told:
                    told = str(error)
                    log.error("certificate not renewed", reason=told)
            await asyncio.sleep(period_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret

    async def renew(self, fleet: str) -> None:
        """Get the next certificate, for the same key; the one before stays until it has come."""
        site, key = site_of(load_certificate(self.files.certificate)), self.files.load_or_create_key()
        request = enrolment_pb2.RenewRequest(certificate_request=signing_request(site, key))
        try:
            async with grpc.aio.secure_channel(fleet, self.channel_credentials()) as channel:
                stub = enrolment_pb2_grpc.EnrolmentStub(channel)
                granted = await stub.Renew(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise refusal(fleet, error) from error
        authority = self.files.authority.read_bytes()
        certificate = checked(granted.certificate, authority, site, self.files)
        await asyncio.to_thread(self.files.write, granted.certificate.encode(), authority)
        log.info("certificate renewed", until=f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
