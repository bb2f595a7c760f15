"""The certificate that a caller has shown."""

from typing import Any

import grpc
from cryptography import x509


def peer_certificate(context: grpc.aio.ServicerContext[Any, Any]) -> x509.Certificate | None:
    """The certificate that TLS has checked; None without mutual TLS."""
    pem = next(iter(context.auth_context().get("x509_pem_cert", ())), None)
    return x509.load_pem_x509_certificate(pem) if pem else None
