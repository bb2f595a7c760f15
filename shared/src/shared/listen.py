"""Closed by default: what listens, listens on loopback (invariant 9)."""

import ipaddress
import secrets
import socket
from contextlib import suppress

from shared.errors import ConfigError

LISTEN_PORTS = range(20_000, 32_768)  # below Linux's default net.ipv4.ip_local_port_range


def parse_endpoint(text: str, option: str) -> tuple[str, int]:
    """Split `HOST:PORT`; raise ConfigError naming `option` when it is not that."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ConfigError(option, [f"found {text!r}; expected HOST:PORT, for example 127.0.0.1:9092"])
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether what is said to `host` stays on this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_loopback(host: str, option: str) -> None:
    """Raise ConfigError unless `host` is a loopback address: for what listens without TLS and credential."""
    if not is_loopback(host):
        raise ConfigError(
            option, [f"found {host!r}; only loopback (127.0.0.1, ::1, localhost) may listen without TLS"]
        )


def listener(address: str, option: str, *, tls: bool = False) -> socket.socket:
    """A listening socket at HOST:PORT, on loopback unless TLS with a credential is spoken there; ConfigError
    naming `option` when it is not to be had."""
    host, port = parse_endpoint(address, option)
    if not tls:
        require_loopback(host, option)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(
            option,
            [f"{address} cannot be used: {error.strerror}; stop what listens there or take another port"],
        ) from error


_given: set[int] = set()  # by free_port in this process; what asked may not have bound it yet


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that was free a moment ago, which no outgoing connection is given; never one twice."""
    while True:
        port = secrets.choice([port for port in LISTEN_PORTS if port not in _given])
        _given.add(port)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((host, port))
            return port
