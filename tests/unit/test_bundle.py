"""A bundle gives back the rows that went in, or is refused, with the check that failed."""

import gzip
import hashlib
import re
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from shared import bundle
from shared.bundle import TITLE, BundleRow, Manifest, Origin, claimed_site, cut, pack, unpack
from shared.checkpoint import Checkpoint, sign_note, verifier_key
from shared.errors import Rejected, Untrusted
from shared.schemas import Outgoing

NAME = "pm-stack-smr/TX01"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = verifier_key(NAME, PRIVATE.public_key())
ORIGIN = Origin("TX01", "0b7c0e1a-3f60-4c3f-9a39-0d6d6a4f6c11", "c" * 64)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def row(seq: int, body: bytes = b'{"flow_rate": 97.25}') -> BundleRow:
    return BundleRow(seq, Outgoing("telemetry/1", "TX01/R1/coolant_pump", 1_700_000_000_000 + seq, body))


ROWS = [row(3), row(4, b'\xff\xed\xb2\x80 \\ " \n \xc3\xa9'), row(7)]
WHOLE = pack(ORIGIN, ROWS, NAME, PRIVATE, NOW)


def signed(plain: bytes, **changes: object) -> bytes:
    """A bundle that its site's key signed, whatever is in it."""
    packed = gzip.compress(plain, mtime=0)
    facts = {"from_seq": 3, "to_seq": 7, "rows": 3, "plain_bytes": len(plain), "packed_bytes": len(packed)}
    facts |= {"sha256": hashlib.sha256(packed).hexdigest(), "created": NOW} | ORIGIN._asdict() | changes
    text = f"{TITLE}\n{Manifest.model_validate(facts).model_dump_json()}\n"
    return sign_note(text, NAME, PRIVATE).encode() + packed


PLAIN = b"".join(bundle.line(each) for each in ROWS)


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=20), st.integers(1, 10**15))
def test_every_byte_of_every_row_comes_back(bodies, first):
    """Whatever the bodies are, UTF-8 or not, and the same rows make the same bytes."""
    rows = [row(first + 2 * i, body) for i, body in enumerate(bodies)]
    data = pack(ORIGIN, rows, NAME, PRIVATE, NOW)
    found = unpack(data, KEY)
    assert found.rows == rows
    assert (found.manifest.from_seq, found.manifest.rows) == (first, len(rows))
    assert claimed_site(data) == "TX01"
    assert pack(ORIGIN, rows, NAME, PRIVATE, NOW) == data


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused(place, change):
    """Wherever it is: title, manifest, signature, gzip header or rows."""
    data = bytearray(WHOLE)
    data[place] ^= change
    with pytest.raises(Untrusted):
        unpack(bytes(data), KEY)


@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=40))
@example(WHOLE.find(b"\n\n") + 30, b"\xc2\x80")  # a signature that is not even ASCII
def test_any_truncation_insertion_or_addition_is_refused(place, more):
    """A bundle is whole, and ends where it ends."""
    for data in (WHOLE[:place], WHOLE[:place] + more + WHOLE[place:], WHOLE + more, more + WHOLE):
        with pytest.raises(Untrusted):
            unpack(data, KEY)


@given(st.permutations(WHOLE.splitlines(keepends=True)))
def test_any_other_order_of_its_parts_is_refused(parts):
    """The same lines in another order are no bundle."""
    data = b"".join(parts)
    if data != WHOLE:
        with pytest.raises(Untrusted):
            unpack(data, KEY)


LINES = PLAIN.splitlines(keepends=True)
FOREIGN = bundle.line(BundleRow(7, ROWS[2].record._replace(key="ID01/R1/coolant_pump")))


@pytest.mark.parametrize(
    ("data", "check"),
    [
        (signed(PLAIN, plain_bytes=len(PLAIN) - 1), "bundle size: unpacked are more bytes"),
        (signed(PLAIN, plain_bytes=len(PLAIN) + 1), f"bundle size: unpacked are {len(PLAIN)} bytes"),
        (signed(b"\0" * 20_000_000, plain_bytes=100), "bundle size: unpacked are more bytes; signed are 100"),
        (signed(LINES[0] + LINES[1]), "bundle rows: found 2; signed are 3"),
        (signed(LINES[0] + LINES[2] + LINES[1]), "bundle order"),
        (signed(LINES[0] + LINES[1] + LINES[1]), "bundle order"),
        (signed(PLAIN, to_seq=9), "bundle range: found rows 3 to 7; signed are 3 to 9"),
        (signed(LINES[0] + LINES[1] + FOREIGN), "bundle site: found rows of ID01/R1/coolant_pump"),
        (signed(LINES[0] + LINES[1] + b"{}\n"), "bundle rows: line 3 is no row"),
        (signed(PLAIN, packed_bytes=5), "bundle size: found"),
        (signed(PLAIN, sha256="0" * 64), "bundle sha256"),
        (WHOLE.replace(b'"rows":3', b'"rows":2'), "bundle signature"),
        (WHOLE.replace(TITLE.encode(), b"pm-stack-smr bundle/2"), "bundle signature"),
        (b"", "bundle form"),
        (sign_note(Checkpoint(NAME, 7, bytes(32)).text, NAME, PRIVATE).encode(), "bundle form: found"),
    ],
)
def test_what_does_not_add_up_is_refused_even_when_signed(data, check):
    """The message names the check, what was found and what would be right."""
    with pytest.raises(Untrusted, match=re.escape(check)):
        unpack(data, KEY)


def test_another_sites_key_signs_nothing_here():
    """A site's bundle is checked with that site's key alone."""
    other = verifier_key("pm-stack-smr/ID01", Ed25519PrivateKey.generate().public_key())
    with pytest.raises(Untrusted, match="bundle signature: not signed by pm-stack-smr/ID01"):
        unpack(WHOLE, other)


def test_rows_are_cut_into_bundles_within_the_bounds(monkeypatch):
    """Neither rows nor bytes exceed the bounds, nothing is left out, and a giant row is named."""
    monkeypatch.setattr(bundle, "ROWS_MAX", 4)
    monkeypatch.setattr(bundle, "PLAIN_BYTES_MAX", 1_000)
    monkeypatch.setattr(bundle, "LINE_BYTES_MAX", 900)
    rows = [row(seq, b"x" * (300 if seq % 5 else 10)) for seq in range(1, 40)]
    chunks = list(cut(rows))
    assert [each for chunk in chunks for each in chunk] == rows
    assert max(len(chunk) for chunk in chunks) <= 4
    assert max(sum(len(bundle.line(each)) for each in chunk) for chunk in chunks) <= 1_000
    with pytest.raises(Rejected, match=r"row 40: \d+ bytes as a line"):
        list(cut([row(40, b"x" * 1_000)]))
