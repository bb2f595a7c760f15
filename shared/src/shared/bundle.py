"""Records of one outbox in one signed file: what a courier or a one-way gateway carries instead of Kafka.

A bundle is a C2SP signed note (text: TITLE, a line of JSON, see `Manifest`; signed with the key of the
site's log) and, right behind it, a gzip stream of JSON lines, one a row. `head -5` shows the note,
`tail -c +N | zcat` the rows. Pure: bytes in, bytes out.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field, ValidationError

from shared.checkpoint import NoteError, VerifierKey, open_note, sign_note
from shared.errors import Rejected, Untrusted
from shared.schemas.base import Frozen, Name, Outgoing, Sha256, UtcTime

TITLE = "pm-stack-smr bundle/1"  # no checkpoint begins with it: a signature of one never fits the other
SUFFIX = ".bundle"
ROWS_MAX = 50_000
PLAIN_BYTES_MAX = 32 * 1024 * 1024  # a bundle is held in memory once, on either side
LINE_BYTES_MAX = 4 * 1024 * 1024  # one row: four times what Kafka takes by default
FILE_BYTES_MAX = PLAIN_BYTES_MAX + LINE_BYTES_MAX + 65_536  # incompressible rows, and the note
NOTE_BYTES_MAX = 16_384  # a note has about 700
ZLIB_GZIP = 31  # zlib's name for a gzip stream with the largest window


class Manifest(Frozen):
    """What a bundle holds: `rows` rows of one store, ascending, from `from_seq` to `to_seq`.

    `plain_bytes` and `packed_bytes` are the sizes of the JSON lines and of their gzip stream, whose
    digest is `sha256`. `config_hash` is that of the site's configuration, as Kafka's header has it.
    """

    site_id: Name
    store_id: Name
    config_hash: Name
    from_seq: int = Field(ge=1)
    to_seq: int = Field(ge=1)
    rows: int = Field(ge=1, le=ROWS_MAX)
    plain_bytes: int = Field(ge=1, le=PLAIN_BYTES_MAX + LINE_BYTES_MAX)
    packed_bytes: int = Field(ge=1, le=FILE_BYTES_MAX)
    sha256: Sha256
    created: UtcTime


class BundleRow(NamedTuple):
    """A committed record and its row number."""

    seq: int
    record: Outgoing


class Bundle(NamedTuple):
    """A bundle whose every check passed."""

    manifest: Manifest
    rows: list[BundleRow]


class Origin(NamedTuple):
    """Whose rows they are."""

    site_id: str
    store_id: str
    config_hash: str


def line(row: BundleRow) -> bytes:
    """A row as a line of JSON; the body is a string that keeps every byte, whatever it is."""
    schema, key, time_ms, body = row.record
    text = body.decode(errors="surrogateescape")
    found = {"seq": row.seq, "schema": schema, "key": key, "time_ms": time_ms, "body": text}
    return json.dumps(found, separators=(",", ":")).encode() + b"\n"


def cut(rows: Iterable[BundleRow]) -> Iterator[list[BundleRow]]:
    """`rows` cut into bundles within the bounds; Rejected for a row that no bundle may hold."""
    chunk: list[BundleRow] = []
    size = 0
    for row in rows:
        length = len(line(row))
        if length > LINE_BYTES_MAX:
            raise Rejected(
                f"row {row.seq}: {length} bytes as a line; a bundle's has {LINE_BYTES_MAX} at most"
            )
        if chunk and (len(chunk) >= ROWS_MAX or size + length > PLAIN_BYTES_MAX):
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += length
    if chunk:
        yield chunk


def pack(
    origin: Origin, rows: Sequence[BundleRow], name: str, key: Ed25519PrivateKey, now: datetime
) -> bytes:
    """The bundle of `rows` (ascending, 1 to ROWS_MAX of them), signed as `name`."""
    plain = b"".join(line(row) for row in rows)
    packed = gzip.compress(plain, mtime=0)
    manifest = Manifest(
        **origin._asdict(),
        from_seq=rows[0].seq,
        to_seq=rows[-1].seq,
        rows=len(rows),
        plain_bytes=len(plain),
        packed_bytes=len(packed),
        sha256=hashlib.sha256(packed).hexdigest(),
        created=now,
    )
    return sign_note(f"{TITLE}\n{manifest.model_dump_json()}\n", name, key).encode() + packed


def claimed_site(data: bytes) -> str:
    """The site that a bundle says it is of, to find its key by; nothing of it is believed yet."""
    return _manifest(_split(data)[0].split("\n\n")[0] + "\n").site_id


def unpack(data: bytes, key: VerifierKey) -> Bundle:
    """The rows of a bundle that `key` signed; Untrusted names the check that failed.

    Nothing is unpacked before the signature and the digest fit, and never more than the manifest says.
    """
    note, packed = _split(data)
    try:
        text = open_note(note, key)
    except NoteError as error:
        raise Untrusted("bundle signature", str(error)) from error
    manifest = _manifest(text)
    if len(packed) != manifest.packed_bytes:
        raise Untrusted("bundle size", f"found {len(packed)} bytes; signed are {manifest.packed_bytes}")
    digest = hashlib.sha256(packed).hexdigest()
    if digest != manifest.sha256:
        raise Untrusted("bundle sha256", f"found {digest}; signed is {manifest.sha256}")
    return Bundle(manifest, _rows(_plain(packed, manifest.plain_bytes), manifest))


def _split(data: bytes) -> tuple[str, bytes]:
    """The note and what stands behind it."""
    text_end = data.find(b"\n\n", 0, NOTE_BYTES_MAX)
    end = data.find(b"\n", text_end + 2, NOTE_BYTES_MAX) + 1
    if text_end < 0 or not end:
        raise Untrusted("bundle form", f"no signed note in its first {NOTE_BYTES_MAX} bytes")
    try:
        return data[:end].decode(), data[end:]
    except UnicodeDecodeError as error:
        raise Untrusted("bundle form", f"the note is not UTF-8: {error}") from error


def _manifest(text: str) -> Manifest:
    title, _, rest = text.partition("\n")
    if title != TITLE:
        raise Untrusted("bundle form", f"found {title[:80]!r}; expected {TITLE!r}")
    try:
        return Manifest.model_validate_json(rest)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise Untrusted("bundle manifest", problems) from error


def _plain(packed: bytes, size: int) -> bytes:
    """Exactly `size` bytes; Untrusted when the stream holds more or less, or is no gzip stream."""
    unpacker = zlib.decompressobj(ZLIB_GZIP)
    try:
        plain = unpacker.decompress(packed, size + 1)
    except zlib.error as error:
        raise Untrusted("bundle gzip", str(error)) from error
    if len(plain) != size or not unpacker.eof or unpacker.unused_data:
        found = "more" if len(plain) > size else f"{len(plain)}"
        raise Untrusted("bundle size", f"unpacked are {found} bytes; signed are {size}, in one stream")
    return plain


def _rows(plain: bytes, manifest: Manifest) -> list[BundleRow]:
    rows = [_row(text, number) for number, text in enumerate(plain.removesuffix(b"\n").split(b"\n"), 1)]
    seqs = [row.seq for row in rows]
    if len(rows) != manifest.rows:
        raise Untrusted("bundle rows", f"found {len(rows)}; signed are {manifest.rows}")
    if any(a >= b for a, b in pairwise(seqs)):
        raise Untrusted("bundle order", "row numbers do not ascend")
    if (seqs[0], seqs[-1]) != (manifest.from_seq, manifest.to_seq):
        raise Untrusted(
            "bundle range",
            f"found rows {seqs[0]} to {seqs[-1]}; signed are {manifest.from_seq} to {manifest.to_seq}",
        )
    foreign = {row.record.key for row in rows if row.record.key.split("/", 1)[0] != manifest.site_id}
    if foreign:
        raise Untrusted("bundle site", f"found rows of {min(foreign)}; the bundle is of {manifest.site_id}")
    return rows


def _row(text: bytes, number: int) -> BundleRow:
    try:
        found = json.loads(text)
        body = str(found["body"]).encode(errors="surrogateescape")
        record = Outgoing(str(found["schema"]), str(found["key"]), int(found["time_ms"]), body)
        return BundleRow(int(found["seq"]), record)
    except (ValueError, KeyError, TypeError) as error:
        raise Untrusted("bundle rows", f"line {number} is no row: {error!r}") from error
