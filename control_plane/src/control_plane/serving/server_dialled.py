"""The inference server as its callers have it set up: where it is, whose certificate it shows, the token."""

import os
from pathlib import Path
from typing import NamedTuple

import grpc
from cryptography.x509 import load_pem_x509_certificates

from control_plane.serving.client import DEADLINE_S, RULInferenceClient
from shared.errors import ConfigError
from shared.listen import is_loopback, parse_endpoint

TOKEN = "PM_INFERENCE_TOKEN"  # noqa: S105 - the variable with the bearer token
AUTHORITY_OPTION = "--inference-ca"


class ServerDialled(NamedTuple):
    """`address` is HOST:PORT; `authority` a file with the certificates (PEM) of who signed the server's:
    with it the channel is TLS."""

    address: str
    token: str = ""
    authority: Path | None = None

    def client(self, deadline_s: float = DEADLINE_S, purpose: str = "") -> RULInferenceClient:
        """ConfigError for what could not work, or would send readings and token in clear."""
        host, _ = parse_endpoint(self.address, "--inference")
        if self.authority is None and not is_loopback(host):
            wanted = f"found {self.address!r}; beyond loopback inference speaks TLS: give {AUTHORITY_OPTION}"
            raise ConfigError("--inference", [wanted])
        trust = _trust(self.authority) if self.authority is not None else None
        return RULInferenceClient(
            self.address, trust, token=self.token, purpose=purpose, deadline_s=deadline_s
        )


def token_on_hand() -> str:
    """The environment's bearer token; none is an empty text."""
    return os.environ.get(TOKEN, "")


def _trust(authority: Path) -> grpc.ChannelCredentials:
    try:
        pem = authority.read_bytes()
        load_pem_x509_certificates(pem)
    except (OSError, ValueError) as error:
        raise ConfigError(str(authority), [f"cannot be read as certificates in PEM: {error}"]) from error
    return grpc.ssl_channel_credentials(pem)
