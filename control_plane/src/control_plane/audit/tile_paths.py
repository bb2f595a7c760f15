"""Which files a log of a given size has, and what is in them (c2sp.org/tlog-tiles). Pure."""

import re
from collections.abc import Iterable, Iterator

TILE_WIDTH = 256  # hashes of a full tile, entries of a full bundle
HASH_BYTES = 32
ENTRY_BYTES_MAX = 65_535  # a bundle gives each entry's length in 16 bits
ENTRIES = "entries"  # stands where a tile's path has its level

_NAME = re.compile(r"tile/(?:entries|0|[1-9]\d?)/(?:x\d{3}/)*\d{3}(?:\.p/[1-9]\d{0,2})?")


def tile_path(level: int | str, number: int, width: int = TILE_WIDTH) -> str:
    """The path of a tile, or of a bundle at level `ENTRIES`: 1234067 is `x001/x234/067`."""
    digits = f"{number:,}".split(",")
    parts = [f"{int(part):03}" for part in digits]
    name = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
    return f"tile/{level}/{name}" + ("" if width == TILE_WIDTH else f".p/{width}")


def is_tile_path(path: str) -> bool:
    """Whether a file of this name can be part of any log."""
    return _NAME.fullmatch(path) is not None


def tile_count(level: int, size: int) -> tuple[int, int]:
    """How many full tiles of a level a log has, and the width of the partial one after them."""
    hashes: int = size >> 8 * level
    return hashes // TILE_WIDTH, hashes % TILE_WIDTH


def levels(size: int) -> int:
    """How many levels have a tile."""
    return (size.bit_length() + 7) // 8


def tile_paths(size: int) -> Iterator[str]:
    """Every file of a log but its checkpoint."""
    for level in (ENTRIES, *range(levels(size))):
        full, width = tile_count(0 if isinstance(level, str) else level, size)
        yield from (tile_path(level, number) for number in range(full))
        if width:
            yield tile_path(level, full, width)


def bundle(entries: Iterable[bytes]) -> bytes:
    """Entries, each after its length in two bytes, big-endian; ValueError for one that is too long."""
    parts = []
    for entry in entries:
        if len(entry) > ENTRY_BYTES_MAX:
            raise ValueError(f"found an entry of {len(entry)} bytes; at most {ENTRY_BYTES_MAX} fit a bundle")
        parts += [len(entry).to_bytes(2, "big"), entry]
    return b"".join(parts)


def entries_of(data: bytes) -> list[bytes]:
    """The entries of a bundle; ValueError when it ends within one."""
    found: list[bytes] = []
    place = 0
    while place < len(data):
        start = place + 2
        place = start + int.from_bytes(data[place:start], "big")
        if place > len(data) or start > len(data):
            raise ValueError(f"ends within its entry {len(found)}")
        found.append(data[start:place])
    return found


def hashes_of(data: bytes) -> list[bytes]:
    """The hashes of a tile; ValueError when it ends within one."""
    if len(data) % HASH_BYTES:
        raise ValueError(f"has {len(data)} bytes, no whole number of hashes")
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]
