"""The inference server as its callers have it set up: where it is, who signed its certificate, and what they
show it: a bearer token, or the certificate of an enrolled site."""

import os
from pathlib import Path
from typing import NamedTuple

import grpc
from cryptography.x509 import load_pem_x509_certificates

from control_plane.serving.client import DEADLINE_S, RULInferenceClient
from shared.errors import ConfigError
from shared.listen import is_loopback, parse_endpoint
from shared.tls import IdentityFiles

TOKEN = "PM_INFERENCE_TOKEN"  # noqa: S105 - the variable with the bearer token
AUTHORITY_OPTION = "--inference-ca"


class ServerDialled(NamedTuple):
    """`address` is HOST:PORT; `authority` a file with the certificates (PEM) of who signed the server's;
    `identity` the folder in which `edge-agent enroll` left a site's certificate. With either it is TLS."""

    address: str
    token: str = ""
    authority: Path | None = None
    identity: Path | None = None

    def client(self, deadline_s: float = DEADLINE_S, purpose: str = "") -> RULInferenceClient:
        """ConfigError for what could not work, or would send readings and token in clear."""
        host, _ = parse_endpoint(self.address, "--inference")
        credentials = self._credentials()
        if credentials is None and not is_loopback(host):
            wanted = f"found {self.address!r}; beyond loopback inference speaks TLS: give {AUTHORITY_OPTION}"
            raise ConfigError("--inference", [wanted])
        return RULInferenceClient(
            self.address, credentials, token=self.token, purpose=purpose, deadline_s=deadline_s
        )

    def _credentials(self) -> grpc.ChannelCredentials | None:
        if self.identity is None:
            return grpc.ssl_channel_credentials(_pem(self.authority)) if self.authority else None
        own = IdentityFiles(self.identity)
        own.context()  # says what is missing, or does not fit
        trusted = _pem(self.authority or own.authority)
        return grpc.ssl_channel_credentials(trusted, own.key.read_bytes(), own.certificate.read_bytes())


def token_on_hand() -> str:
    """The environment's bearer token; none is an empty text."""
    return os.environ.get(TOKEN, "")


def _pem(authority: Path) -> bytes:
    try:
        pem = authority.read_bytes()
        load_pem_x509_certificates(pem)
    except (OSError, ValueError) as error:
        raise ConfigError(str(authority), [f"cannot be read as certificates in PEM: {error}"]) from error
    return pem
