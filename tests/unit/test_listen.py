"""What listens, listens on loopback (invariant 9)."""

import pytest

from shared.errors import ConfigError
from shared.listen import free_port, parse_endpoint, require_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_may_listen(host):
    """Every spelling of loopback is accepted."""
    require_loopback(host, "--listen")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_anything_else_is_refused_by_name(host):
    """An address beyond loopback is refused, and the message names the option."""
    with pytest.raises(ConfigError, match="--listen"):
        require_loopback(host, "--listen")


@pytest.mark.parametrize("text", ["", "9092", "host:", ":1", "h:70000", "h:http"])
def test_an_endpoint_needs_host_and_port(text):
    """What is no HOST:PORT is refused with an example."""
    with pytest.raises(ConfigError, match=r"expected HOST:PORT, for example 127\.0\.0\.1:9092"):
        parse_endpoint(text, "--kafka")


def test_an_ipv6_endpoint_is_understood():
    """Brackets belong to the notation, not to the host."""
    assert parse_endpoint("[::1]:8080", "--listen") == ("::1", 8080)


def test_a_free_port_is_given_once(monkeypatch):
    """Who asked first may not have bound it yet: the second gets another."""
    monkeypatch.setattr("shared.listen.LISTEN_PORTS", range(20_000, 20_064))
    ports = [free_port() for _ in range(32)]
    assert len(set(ports)) == len(ports)
