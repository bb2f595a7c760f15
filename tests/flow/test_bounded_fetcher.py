"""What a hostile repository server may do to a site's fetcher: hold it, cut it off, send it elsewhere."""

import time

import pytest
from tuf.api.exceptions import DownloadError, DownloadLengthMismatchError, SlowRetrievalError

from bench.attack_server import Handler, HostileServer
from edge_agent.update import bounded_fetcher
from edge_agent.update.bounded_fetcher import BoundedFetcher, RedirectRefused

BYTES_MAX = 1_000_000
DATA = bytes(300_000)


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded_fetcher, "HEAD_S_MAX", 0.5)
    monkeypatch.setattr(bounded_fetcher, "GRACE_S", 0.3)
    monkeypatch.setattr(bounded_fetcher, "RATE_BYTES_PER_S_MIN", 1_000)
    (tmp_path / "file").write_bytes(DATA)
    with HostileServer() as server:
        server.show(tmp_path)
        yield server


def fetch(server: HostileServer, trick=None) -> bytes:
    server.tricks = {"/file": trick} if trick else {}
    return BoundedFetcher().download_bytes(f"{server.url}/file", BYTES_MAX)


def drips(handler: Handler, piece: bytes) -> None:
    while True:
        handler.wfile.write(piece)
        time.sleep(0.05)


def test_a_file_is_fetched_whole_and_its_connection_used_again(server):
    fetcher = BoundedFetcher()
    for _ in range(2):
        assert fetcher.download_bytes(f"{server.url}/file", BYTES_MAX) == DATA
    assert len(server.callers) == 1


def test_a_chunked_answer_is_fetched_too(server):
    def chunked(handler: Handler) -> None:
        handler.begin(Transfer_Encoding="chunked")
        handler.wfile.write(b"5\r\nhello\r\n0\r\n\r\n")

    assert fetch(server, chunked) == b"hello"


def test_a_body_that_drips_is_given_up(server):
    """Each byte comes long before any timeout of a read."""

    def trick(handler: Handler) -> None:
        handler.begin(10_000)
        drips(handler, b" ")

    with pytest.raises(SlowRetrievalError, match="slower than"):
        fetch(server, trick)


def test_a_chunk_size_that_drips_is_given_up(server):
    def trick(handler: Handler) -> None:
        handler.begin(Transfer_Encoding="chunked")
        handler.wfile.write(b"5;")
        drips(handler, b"x")

    with pytest.raises(SlowRetrievalError, match="slower than"):
        fetch(server, trick)


def test_a_head_that_drips_is_given_up(server):
    with pytest.raises(DownloadError):
        fetch(server, lambda handler: drips(handler, b"H"))


def test_a_slow_but_steady_answer_is_waited_for(server):
    """At twice the least rate, for longer than the grace."""

    def trick(handler: Handler) -> None:
        handler.begin(1_000)
        for _ in range(10):
            handler.wfile.write(bytes(100))
            time.sleep(0.05)

    assert fetch(server, trick) == bytes(1_000)


def test_an_answer_that_breaks_off_is_a_download_error(server):
    def trick(handler: Handler) -> None:
        handler.begin(1_000)
        handler.wfile.write(bytes(50))

    with pytest.raises(DownloadError, match="broke off after 50 bytes"):
        fetch(server, trick)


def test_no_other_host_is_asked(server):
    with HostileServer() as elsewhere:
        with pytest.raises(RedirectRefused, match=elsewhere.url):
            fetch(server, lambda handler: handler.begin(0, 302, Location=f"{elsewhere.url}/file"))
        assert elsewhere.asked == []


def test_what_is_encoded_is_not_decoded(server):
    """A gigabyte that travels as a megabyte never unfolds."""

    def trick(handler: Handler) -> None:
        handler.begin(4, Content_Encoding="gzip")
        handler.wfile.write(b"\x1f\x8b\x08\x00")

    assert fetch(server, trick) == b"\x1f\x8b\x08\x00"


def test_an_answer_without_end_is_too_long(server):
    def trick(handler: Handler) -> None:
        handler.begin()
        while True:
            handler.wfile.write(bytes(65_536))

    with pytest.raises(DownloadLengthMismatchError):
        fetch(server, trick)
